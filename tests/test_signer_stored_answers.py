"""What a session keeps of its last answer: little, and whoever asks again gets every byte of it."""

from typing import Any

import pytest
from django.db import connection

from accounts.models import Customer
from tests import signer_stage
from tests.repeats_stage import follow_up, opening, two
from tests.signer_stage import Answer, Client, Stage, offer, rows

__all__ = ["two"]

pytestmark = pytest.mark.django_db(transaction=True)

_APPS = ["", "app-1", "<b>&amp;</b>", 'é \u2028 \U0001f4b0 "quoted" \\ end']


def _stored(owner: Customer) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_answer FROM signing_session WHERE customer_id = %s", [owner.pk])
        [(kept,)] = cursor.fetchall()
    return bytes(kept)


def _as_former_signers_kept_it(owner: Customer, answer: Answer) -> None:
    signer_stage.execute("UPDATE signing_session SET last_answer = %s WHERE customer_id = %s", answer.body, owner.pk)


@pytest.mark.parametrize("app", _APPS)
@pytest.mark.parametrize(
    "work", [{"type": "fixed"}, {"type": "lv2v"}, {"inPixels": 7}, {"inPixels": 10**13}], ids=["1", "s", "7", "10**13"]
)
def test_every_byte_comes_again_at_every_step(two: tuple[Stage, Stage], app: str, work: dict[str, Any]) -> None:
    here, there = two
    gateway, owner = here.gateway(dollars_nano=10**13)
    other = Client(there.url, gateway.key)
    price = (9 * 10**8, 7) if work.get("type") == "fixed" else (7, 10**6)
    request = {"orchestrator": offer(price=price), "app": app, **work}
    for _ in range(3):
        answer = gateway.pay(**request)
        assert answer.status in (200, 482), answer.body
        if answer.status == 482:
            break
        assert {client.pay(**request).body for client in (other, gateway)} == {answer.body}
        request = {**request, "state": answer.json["state"], "ManifestID": "m"}
    assert len(rows(owner)) >= 1


def test_a_row_keeps_what_was_signed_and_no_state(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    answer = gateway.pay(**opening())
    kept = _stored(owner)
    assert len(kept) < len(answer.body) // 2
    assert b"StateID" not in kept
    assert answer.state["StateID"].encode() not in kept


@pytest.mark.parametrize("is_new", [True, False], ids=["opening", "follow-up"])
def test_what_a_former_signer_answered_comes_again(two: tuple[Stage, Stage], is_new: bool) -> None:
    here, there = two
    gateway, owner = here.gateway()
    request = opening() if is_new else follow_up(gateway.pay(**opening()))
    answer = gateway.pay(**request)
    _as_former_signers_kept_it(owner, answer)
    assert {client.pay(**request).body for client in (gateway, Client(there.url, gateway.key))} == {answer.body}
    assert gateway.pay(**follow_up(answer)).state["SequenceNumber"] == answer.state["SequenceNumber"] + 1
    assert len(rows(owner)) == (2 if is_new else 3)


@pytest.mark.parametrize("is_former", [True, False], ids=["former", "now"])
def test_with_a_new_offer_the_lost_payment_comes_again(stage: Stage, is_former: bool) -> None:
    gateway, owner = stage.gateway()
    request = follow_up(gateway.pay(**opening()))
    lost = gateway.pay(**request)
    if is_former:
        _as_former_signers_kept_it(owner, lost)
    again = gateway.pay(**{**request, "orchestrator": opening()["orchestrator"]})
    assert again.status == 200, again.body
    assert (again.json["payment"], again.json["state"]) == (lost.json["payment"], lost.json["state"])
    assert len(rows(owner)) == 2
