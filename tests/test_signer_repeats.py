"""An opening asked twice, at once, or after an answer was lost: charged once, and no nonce is ever signed twice."""

import itertools
import os
import threading
import time

import pytest

from signing.pm.ceilings import SenderFunds
from tests import signer_stage
from tests.repeats_stage import check_no_nonce_twice, follow_up, opening, two
from tests.signer_stage import Answer, Client, Stage, offer, rows

__all__ = ["two"]

pytestmark = pytest.mark.django_db(transaction=True)


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
