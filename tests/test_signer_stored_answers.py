"""What a session keeps of its last answer: little, and whoever asks again gets every byte of it."""

from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Customer
from signing.pm.quotes import rational_text
from signing.pm.state import PaymentState, address_text, open_state, pm_session_id, seal
from signing.signer.sessions import auth_id
from signing.signer.stored_answers import answer_text, kept, told
from tests import asked_payments, signer_stage
from tests.asked_payments import Account, commit
from tests.asked_payments import follow_up as follow_up_row
from tests.repeats_stage import follow_up, opening, two
from tests.signer_stage import Answer, Client, Stage, offer, rows

__all__ = ["two"]

pytestmark = pytest.mark.django_db(transaction=True)

_APPS = ["", "app-1", "<b>&amp;</b>", 'é \u2028 \U0001f4b0 "quoted" \\ end']
_PIXELS, _TICKETS = {"inPixels": 9 * 10**11}, {"inPixels": 10**13}
_FIXED = {"type": "fixed"}
_KEYS = (b"one" * 11, b"two" * 11)


def _stored(owner: Customer) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_answer FROM signing_session WHERE customer_id = %s", [owner.pk])
        [(stored,)] = cursor.fetchall()
    return bytes(stored)


def _as_former_signers_kept_it(owner: Customer, answer: Answer) -> None:
    signer_stage.execute("UPDATE signing_session SET last_answer = %s WHERE customer_id = %s", answer.body, owner.pk)


@pytest.mark.parametrize("app", _APPS)
@pytest.mark.parametrize(
    ("price", "works"),
    [
        ((9 * 10**11, 1), [_FIXED, _FIXED, _FIXED]),
        ((1, 1), [_PIXELS, _PIXELS, _TICKETS]),
        ((9 * 10**11, 1), [{"inPixels": 1}, _FIXED, _FIXED]),
        ((7, 10**6), [{"type": "lv2v"}]),
        ((7, 1), [{"type": "live"}]),
    ],
    ids=["fixed", "pixels", "kind named later", "lv2v", "live"],
)
def test_every_byte_comes_again_at_every_step(
    two: tuple[Stage, Stage], app: str, price: tuple[int, int], works: list[dict[str, Any]]
) -> None:
    here, there = two
    gateway, owner = here.gateway(dollars_nano=10**13)
    other = Client(there.url, gateway.key)
    more: dict[str, Any] = {}
    for count, work in enumerate(works, 1):
        request = {"orchestrator": offer(price=price), "app": app, **work, **more}
        answer = gateway.pay(**request)
        assert answer.status == 200, answer.body
        assert len(answer.nonces) > 1 if work is _TICKETS else len(answer.nonces) == 1
        assert {client.pay(**request).body for client in (other, gateway)} == {answer.body}
        assert len(rows(owner)) == count
        more = {"state": answer.json["state"], "ManifestID": "m"}


_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_INT64 = st.integers(0, 2**63 - 1)
_STATES = st.builds(
    PaymentState,
    state_id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    pm_session_id=st.binary(min_size=32, max_size=32).map(pm_session_id),
    last_update_ns=st.integers(1, 2**50).map(lambda microseconds: microseconds * 1000),
    orchestrator_address=st.binary(min_size=20, max_size=20).map(address_text),
    app=_TEXTS,
    auth_expiry=st.just(0),
    sender_nonce=st.integers(0, 2**32 - 1),
    balance_wei=st.fractions(),
    initial_price_per_unit=_INT64,
    initial_pixels_per_unit=_INT64,
    kind=st.sampled_from(["", "lv2v", "live", "fixed"]),
    sequence_number=_INT64,
    auth_id=_INT64.map(auth_id),
)


def _row(state: PaymentState, stored: bytes) -> dict[str, Any]:
    """What the commit tells of a session that was answered with this state."""
    assert state.last_update_ns
    return {
        "session": state.state_id,
        "rand_hash": state.pm_session_id[2:],
        "at": state.last_update_ns // 1000,
        "orchestrator": state.orchestrator_address,
        "app": state.app,
        "nonce": state.sender_nonce,
        "balance": rational_text(state.balance_wei),
        "price_per_unit": state.initial_price_per_unit,
        "pixels_per_unit": state.initial_pixels_per_unit,
        "kind": state.kind,
        "sequence": state.sequence_number,
        "stored": stored.hex(),
    }


@given(
    state=_STATES,
    payment=st.binary(max_size=300),
    seg_creds=st.binary(max_size=300),
    sealed_with=st.sampled_from(_KEYS),
)
def test_what_is_kept_and_the_row_make_the_answer(
    state: PaymentState, payment: bytes, seg_creds: bytes, sealed_with: bytes
) -> None:
    sealed = seal(state, [sealed_with])
    again = told(_row(state, kept(payment, seg_creds, sealed)), int(state.auth_id[9:]), _KEYS)
    assert again
    assert again.text() == answer_text(payment, seg_creds, sealed).encode()


@given(state=_STATES)
def test_a_row_that_says_something_else_now_is_sealed_as_it_is(state: PaymentState) -> None:
    row = _row(state, kept(b"p", b"s", seal(state, _KEYS))) | {"app": state.app + "x"}
    again = told(row, int(state.auth_id[9:]), _KEYS)
    assert again
    assert open_state(again.state, _KEYS) == state._replace(app=state.app + "x")


def test_former_signers_are_told_that_there_is_no_text_of_theirs() -> None:
    first = Account(10).opening()
    second = follow_up_row(first)
    assert commit([first]) == ["committed"]
    assert commit([second]) == ["committed"]
    # The same again with another offer: whether its answer was lost is asked by the row.
    [stale] = asked_payments.told([{**second, "digest": bytes(64)}])
    assert (stale["outcome"], stale["answer"], stale["stored"]) == ("stale", None, second["answer"].hex())
    [repeat] = asked_payments.told([second])
    assert "answer" not in repeat
    assert (repeat["outcome"], repeat["stored"]) == ("repeat", second["answer"].hex())


def test_a_row_keeps_what_was_signed_and_no_state(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    answer = gateway.pay(**opening())
    stored = _stored(owner)
    assert len(stored) < len(answer.body) // 2
    assert b"StateID" not in stored
    assert answer.state["StateID"].encode() not in stored


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
