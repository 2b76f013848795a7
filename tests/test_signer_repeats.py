"""Asked twice, at once, or after an answer was lost: charged once, and no nonce is ever signed twice."""

import base64
import itertools
import os
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import psycopg
import pytest
from django.conf import settings

from signing.pm import livepeer_pb2 as pb
from signing.pm.ceilings import SenderFunds
from tests import signer_stage
from tests.signer_stage import (
    L1_BLOCK,
    RECIPIENT,
    Answer,
    Client,
    HeldChain,
    Stage,
    offer,
    rows,
    running_signer,
    wallet,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with running_signer() as running:
        yield running


@pytest.fixture
def two(stage: Stage) -> Iterator[tuple[Stage, Stage]]:
    """Two signers over one database."""
    with running_signer(stage.chain) as other:
        yield stage, other


def opening(**changes: Any) -> dict[str, Any]:
    return {"orchestrator": offer(price=(9 * 10**11, 1)), "type": "fixed", **changes}


def follow_up(first: Answer, **changes: Any) -> dict[str, Any]:
    return {**opening(), "state": first.json["state"], "ManifestID": "m", **changes}


def check_no_nonce_twice(paid: list[dict[str, Any]]) -> None:
    issued = [
        (bytes(row["recipient_rand_hash"]), nonce)
        for row in paid
        for nonce in range(row["first_nonce"], row["first_nonce"] + row["tickets"])
    ]
    assert len(set(issued)) == len(issued)


def test_an_opening_asked_again_gets_its_answer_again(two: tuple[Stage, Stage]) -> None:
    here, there = two
    gateway, owner = here.gateway()
    request = opening()
    first = gateway.pay(**request)
    again = [client.pay(**request) for client in (gateway, Client(there.url, gateway.key), gateway)]
    assert {answer.body for answer in again} == {first.body}
    assert len(rows(owner)) == 1


def test_an_opening_that_used_the_last_nonces_is_still_answered_again(two: tuple[Stage, Stage]) -> None:
    here, there = two
    gateway, owner = here.gateway(dollars_nano=10**12)
    shared = offer(price=(1, 1), face_value=10**12)
    requests = [{"orchestrator": shared, "inPixels": 999 * 10**8, "ManifestID": f"m{n}"} for n in range(5)]
    answers = [gateway.pay(**members) for members in requests]
    assert answers[-1].nonces[-1] == 500
    again = [client.pay(**requests[-1]) for client in (gateway, Client(there.url, gateway.key))]
    assert [answer.status for answer in again] == [200, 200]
    assert {answer.body for answer in again} == {answers[-1].body}
    sixth = [client.pay(**{**requests[-1], "ManifestID": "m5"}) for client in (gateway, Client(there.url, gateway.key))]
    assert [answer.code for answer in sixth] == ["refresh_session"] * 2
    assert len(rows(owner)) == 5


def test_a_follow_up_that_used_the_last_nonces_is_still_answered_again(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=10**12)
    shared = offer(price=(1, 1), face_value=10**12)
    work = {"orchestrator": shared, "inPixels": 999 * 10**8, "ManifestID": "m"}
    answer = gateway.pay(**work)
    for _ in range(4):
        request = {**work, "state": answer.json["state"]}
        answer = gateway.pay(**request)
    assert answer.nonces[-1] == 500
    assert gateway.pay(**request).body == answer.body
    assert gateway.pay(**{**work, "state": answer.json["state"]}).code == "refresh_session"
    assert len(rows(owner)) == 5


def test_an_opening_is_answered_again_although_our_deposit_fell_meanwhile(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    request = opening()
    first = gateway.pay(**request)
    stage.chain.change(funds=SenderFunds(deposit_wei=0, reserve_wei=1, withdraw_round=0))
    assert gateway.pay(**request).body == first.body
    assert gateway.pay(**opening()).code == "no_deposit"
    assert len(rows(owner)) == 1


def test_an_opening_asked_with_other_spelling_is_the_same_request(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    request = opening()
    first = gateway.pay(**request)
    respelled = {"TYPE": "fixed", "Orchestrator": request["orchestrator"] + "\n", "state": None, "extra": 1}
    assert gateway.pay(**respelled).body == first.body
    assert len(rows(owner)) == 1


def test_after_two_minutes_the_same_opening_is_a_new_one(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    request = opening()
    first = gateway.pay(**request)
    signer_stage.execute(
        "UPDATE signing_session SET opened_at = opened_at - interval '121 s' WHERE customer_id = %s", owner.pk
    )
    later = gateway.pay(**request)
    assert (first.nonces, later.nonces) == ([1], [2])
    assert first.state["StateID"] != later.state["StateID"]
    assert len(rows(owner)) == 2


def test_an_opening_that_went_on_is_not_repeated(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    request = opening()
    first = gateway.pay(**request)
    assert gateway.pay(**follow_up(first)).status == 200
    assert gateway.pay(**request).state["StateID"] != first.state["StateID"]
    assert len(rows(owner)) == 3


def test_an_opening_with_another_auth_token_is_another_session(stage: Stage) -> None:
    """The token says to whom the orchestrator credits a payment; without a state nothing says that one was lost."""
    gateway, owner = stage.gateway()
    kept = {"price": (9 * 10**11, 1), "rand_hash": os.urandom(32)}
    tokens = [offer(**kept, expires=int(time.time()) + 1800 + seconds) for seconds in (0, 1)]
    answers = [gateway.pay(**opening(orchestrator=each)) for each in tokens]
    assert [answer.nonces for answer in answers] == [[1], [2]]
    assert answers[0].state["StateID"] != answers[1].state["StateID"]
    assert [gateway.pay(**opening(orchestrator=each)).body for each in tokens] == [answer.body for answer in answers]
    assert len(rows(owner)) == 2


def test_the_same_opening_of_two_customers_is_two_openings(stage: Stage) -> None:
    request = opening()
    answers = [stage.gateway()[0].pay(**request) for _ in range(2)]
    assert [answer.nonces for answer in answers] == [[1], [2]]


def test_one_opening_asked_many_times_at_once_is_charged_once(two: tuple[Stage, Stage]) -> None:
    here, there = two
    gateway, owner = here.gateway()
    request = opening()
    with_both = [gateway, Client(there.url, gateway.key)]
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda asked: answers.extend(asked.pay_all([request] * 8)), args=[client])
        for client in with_both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(rows(owner)) == 1


def test_a_follow_up_asked_again_gets_its_answer_again(two: tuple[Stage, Stage]) -> None:
    here, there = two
    gateway, owner = here.gateway()
    request = follow_up(gateway.pay(**opening()))
    second = gateway.pay(**request)
    again = [client.pay(**request) for client in (gateway, Client(there.url, gateway.key), gateway)]
    assert {answer.body for answer in again} == {second.body}
    assert len(rows(owner)) == 2
    assert wallet(owner) == 10**10 - sum(row["charge_nano_usd"] for row in rows(owner))


def test_parallel_requests_on_one_state_pass_one_after_the_other(two: tuple[Stage, Stage]) -> None:
    here, there = two
    gateway, owner = here.gateway(dollars_nano=10**11)
    first = gateway.pay(**opening())
    requests = [follow_up(first, inPixels=number) for number in range(8)]
    answers: list[Answer] = []
    other = threading.Thread(target=lambda: answers.extend(Client(there.url, gateway.key).pay_all(requests[4:])))
    other.start()
    answers.extend(gateway.pay_all(requests[:4]))
    other.join()
    assert {answer.status for answer in answers} == {200}
    assert sorted(answer.state["SequenceNumber"] for answer in answers) == list(range(1, 9))
    assert len(rows(owner)) == 9
    check_no_nonce_twice(rows(owner))


def test_equal_parallel_requests_on_one_state_are_charged_once(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    request = follow_up(gateway.pay(**opening()))
    answers = gateway.pay_all([request] * 8)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(rows(owner)) == 2


def test_parallel_sessions_on_one_set_of_ticket_params_share_no_nonce(two: tuple[Stage, Stage]) -> None:
    here, there = two
    gateway, owner = here.gateway(dollars_nano=10**11)
    shared = opening()["orchestrator"]
    requests = [opening(orchestrator=shared, ManifestID=f"m{number}") for number in range(24)]
    answers: list[Answer] = []
    other = threading.Thread(target=lambda: answers.extend(Client(there.url, gateway.key).pay_all(requests[12:])))
    other.start()
    answers.extend(gateway.pay_all(requests[:12]))
    other.join()
    assert {answer.status for answer in answers} == {200}
    nonces = list(itertools.chain.from_iterable(answer.nonces for answer in answers))
    assert sorted(nonces) == sorted(set(nonces))
    assert len(rows(owner)) == 24
    check_no_nonce_twice(rows(owner))


def test_a_forked_state_goes_on_from_the_row(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    first = gateway.pay(**opening())
    straight = gateway.pay(**follow_up(first))
    fork = gateway.pay(**follow_up(first, inPixels=1))
    assert fork.status == 200
    assert (straight.state["SequenceNumber"], fork.state["SequenceNumber"]) == (1, 2)
    assert fork.state["LastUpdate"] > straight.state["LastUpdate"]
    assert len(rows(owner)) == 3
    check_no_nonce_twice(rows(owner))


def test_an_older_state_gives_a_session_no_second_kind_of_work(stage: Stage) -> None:
    """Work that had no kind yet takes one, once; the row knows it although the older state does not."""
    gateway, owner = stage.gateway()
    first = gateway.pay(orchestrator=offer(price=(9 * 10**11, 1)), inPixels=1)
    assert gateway.pay(**follow_up(first, type="live")).status == 200
    other = gateway.pay(**follow_up(first, type="fixed"))
    assert (other.status, other.code) == (400, "job_type_mismatch")
    assert len(rows(owner)) == 2


def test_an_older_state_brings_back_neither_time_nor_balance(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    second_wei = 9 * 10**11

    def pay(state: Answer | None, manifest_id: str) -> Answer:
        given = {"state": state.json["state"]} if state else {}
        return gateway.pay(orchestrator=offer(price=(second_wei, 1)), type="live", ManifestID=manifest_id, **given)

    first = pay(None, "m")
    time.sleep(1.1)
    second = pay(first, "m")
    older = pay(first, "n")
    assert (second.state["SequenceNumber"], older.state["SequenceNumber"]) == (1, 2)
    assert older.state["LastUpdate"] > second.state["LastUpdate"]
    opened, followed, forked = (row["billed_units"] for row in rows(owner))
    # From the first state on, two seconds or more had passed; from the row's own time on, less than one.
    assert (opened, forked) == (10, 1)
    assert followed >= 2


def test_a_lost_answer_comes_again_with_the_new_credentials(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    request = follow_up(gateway.pay(**opening()))
    lost = gateway.pay(**request)
    fresh = offer(price=(9 * 10**11, 1), expires=int(time.time()) + 1234)
    again = [gateway.pay(**{**request, "orchestrator": fresh}) for _ in range(2)]
    assert [answer.status for answer in again] == [200, 200]
    assert again[0].body == again[1].body
    assert again[0].json["payment"] == lost.json["payment"]
    assert again[0].json["state"] == lost.json["state"]
    segment = pb.SegData.FromString(base64.b64decode(again[0].json["segCreds"]))
    assert segment.auth_token == pb.OrchestratorInfo.FromString(base64.b64decode(fresh)).auth_token
    assert len(rows(owner)) == 2


def test_a_lost_answer_comes_again_where_only_the_auth_token_is_new(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    kept = {"price": (9 * 10**11, 1), "rand_hash": os.urandom(32)}
    request = follow_up(gateway.pay(**opening()))
    lost = gateway.pay(**{**request, "orchestrator": offer(**kept)})
    renewed = offer(**kept, expires=int(time.time()) + 1234)
    again = gateway.pay(**{**request, "orchestrator": renewed})
    assert (again.status, again.json["payment"], again.json["state"]) == (200, lost.json["payment"], lost.json["state"])
    segment = pb.SegData.FromString(base64.b64decode(again.json["segCreds"]))
    assert segment.auth_token == pb.OrchestratorInfo.FromString(base64.b64decode(renewed)).auth_token
    assert len(rows(owner)) == 2
    # Anything else that differs is another piece of work.
    other = gateway.pay(**{**request, "orchestrator": offer(**kept | {"price": (8 * 10**11, 1)})})
    assert other.status == 200
    assert other.json["payment"] != lost.json["payment"]
    assert len(rows(owner)) == 3


def test_a_lost_answer_pays_nobody_but_whom_it_was_made_for(stage: Stage) -> None:
    """The orchestrator is the same, and wants its tickets to go to another address now."""
    other = b"\x1c" * 20
    stage.chain.change(active_recipients=frozenset({RECIPIENT, other}))
    gateway, owner = stage.gateway()
    request = follow_up(gateway.pay(**opening()))
    lost = gateway.pay(**request)
    again = gateway.pay(**{**request, "orchestrator": offer(price=(9 * 10**11, 1), recipient=other)})
    assert (lost.payment.ticket_params.recipient, again.payment.ticket_params.recipient) == (RECIPIENT, other)
    assert len(rows(owner)) == 3


def test_a_lost_answer_whose_tickets_expired_is_charged_anew(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    request = follow_up(gateway.pay(**opening()))
    lost = gateway.pay(**request)
    stage.chain.change(l1_block=L1_BLOCK + 100)
    fresh = offer(price=(9 * 10**11, 1), expiration_block=L1_BLOCK + 140)
    again = gateway.pay(**{**request, "orchestrator": fresh})
    assert again.status == 200
    assert again.json["payment"] != lost.json["payment"]
    assert again.state["SequenceNumber"] == 2
    assert len(rows(owner)) == 3


def test_an_unknown_session_of_ours_is_refused(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    first = gateway.pay(**opening())
    signer_stage.execute("DELETE FROM signing_session WHERE customer_id = %s", owner.pk)
    answer = gateway.pay(**follow_up(first))
    assert (answer.status, answer.code) == (400, "unknown_session")


def test_a_signer_whose_clock_is_off_asks_the_database_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, owner = stage.gateway()
    right = time.monotonic_ns
    monkeypatch.setattr(time, "monotonic_ns", lambda: right() + 60 * 10**9)
    assert gateway.pay(**opening()).status == 200
    with database_line() as line:
        ahead = line.execute(
            "SELECT last_update > clock_timestamp() FROM signing_session WHERE customer_id = %s", [owner.pk]
        ).fetchone()
    assert ahead == (False,)


# -- The database in trouble


def database_line() -> psycopg.Connection[Any]:
    given: dict[str, Any] = settings.DATABASES["default"]
    return psycopg.connect(
        dbname=given["NAME"], user=given["USER"], password=given["PASSWORD"], host=given["HOST"], port=given["PORT"]
    )


def test_a_locked_wallet_delays_its_own_customer_only(stage: Stage) -> None:
    slow, slow_owner = stage.gateway()
    quick, quick_owner = stage.gateway()
    with database_line() as line:
        line.execute("SELECT 1 FROM billing_wallet WHERE customer_id = %s FOR UPDATE", [slow_owner.pk])
        answers: list[Answer] = []
        # Several of them: a lock that one of them did not get is not waited for by the next.
        waiting = threading.Thread(target=lambda: answers.extend(slow.pay_all([opening() for _ in range(8)])))
        started = time.monotonic()
        waiting.start()
        time.sleep(0.05)
        others = quick.pay_all([opening() for _ in range(4)])
        waiting.join()
        assert time.monotonic() - started < 2
    assert [answer.status for answer in others] == [200] * 4
    assert {(answer.status, answer.headers["retry-after"]) for answer in answers} == {(503, "1")}
    assert (len(rows(quick_owner)), len(rows(slow_owner))) == (4, 0)
    assert slow.pay(**opening()).status == 200


def test_the_signer_finds_a_database_that_lost_its_connections(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    assert gateway.pay(**opening()).status == 200
    with database_line() as line:
        line.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'clearinghouse-signer'"
            " AND datname = current_database()"
        )
    deadline = time.monotonic() + 10
    request = opening()
    while (answer := gateway.pay(**request)).status != 200:
        assert answer.status == 503
        assert time.monotonic() < deadline
    assert len(rows(owner)) == 2


def test_one_payment_the_database_cannot_take_spoils_no_other() -> None:
    limits: dict[str, Any] = {"MAX_TICKET_EV_WEI": Fraction(10**50), "MAX_TOTAL_EV_WEI": Fraction(10**50)}
    limits |= {"MAX_FACE_VALUE_WEI": 10**40}
    chain = HeldChain(funds=SenderFunds(deposit_wei=10**60, reserve_wei=1, withdraw_round=0))
    with running_signer(chain, **limits) as stage:
        gateway, owner = stage.gateway(dollars_nano=10**11)
        # Its price in nano-dollars fits no wallet.
        poison = opening(orchestrator=offer(price=(1, 1), face_value=10**40))
        answers = gateway.pay_all([poison, *[opening() for _ in range(7)]])
        assert [answer.status for answer in answers] == [503] + [200] * 7
        assert answers[0].code == "not_committed"
        assert len(rows(owner)) == 7
