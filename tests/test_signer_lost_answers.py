"""A session asked again, at once, or after an answer was lost: its follow-ups are charged once, in their order."""

import base64
import os
import threading
import time

import pytest

from signing.pm import livepeer_pb2 as pb
from tests import signer_stage
from tests.held_chain import L1_BLOCK, RECIPIENT
from tests.repeats_stage import check_no_nonce_twice, follow_up, opening, two
from tests.signer_stage import Answer, Client, Stage, offer, rows, wallet

__all__ = ["two"]

pytestmark = pytest.mark.django_db(transaction=True)


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
