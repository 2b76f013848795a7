"""The sandbox provider keeps cards, asks their holders, and lets banks take their time; by the official SDK."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from sandbox.psp.client import GOOD_CARD, SECURE_CARD, Psp, running_psp
from tests.stripe_client import client

__all__ = ["client"]

ALWAYS_ASKS = "4000 0027 6000 3184"
ASKS_ON_REQUEST = "4000 0000 0000 3055"
SAVES_BUT_DECLINES = "4000 0000 0000 0341"
SEPA, SEPA_FAILS = "DE89 3704 0044 0532 0130 00", "DE62 3704 0044 0532 0130 01"
DONE = "http://127.0.0.1:9/done"


@pytest.fixture(scope="module")
def psp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psp]:
    with running_psp(tmp_path_factory.mktemp("psp")) as running:
        running.settings(settle_after_seconds=0, delayed_payment_after_seconds=3_600)
        yield running


@pytest.fixture
def customer(client: stripe.StripeClient) -> str:
    return client.v1.customers.create({"email": "ann@example.com"}).id


def setup_session(client: stripe.StripeClient, customer: str, **more: Any) -> stripe.checkout.Session:
    order: Any = {"mode": "setup", "currency": "usd", "customer": customer, "success_url": DONE, **more}
    return client.v1.checkout.sessions.create(order)


def saved_card(psp: Psp, client: stripe.StripeClient, customer: str, number: str) -> str:
    """The id of a card that its holder kept on the provider's page."""
    session = setup_session(client, customer)
    pressed = psp.pay(session.id, card=number)
    if pressed.location and "/3d-secure/" in pressed.location:
        psp.authenticate(pressed.location)
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert (done.status, done.payment_status) == ("complete", "no_payment_required")
    assert isinstance(done.setup_intent, stripe.SetupIntent)
    return str(done.setup_intent.payment_method)


def charge(client: stripe.StripeClient, customer: str, method: str, **more: Any) -> stripe.PaymentIntent:
    order: Any = {"amount": 2_000, "currency": "usd", "customer": customer, "payment_method": method, "confirm": True}
    return client.v1.payment_intents.create(order | more)


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_card_is_kept_on_the_page_charged_off_session_and_never_after_it_was_removed(
    psp: Psp, client: stripe.StripeClient, customer: str
) -> None:
    kept = saved_card(psp, client, customer, GOOD_CARD)
    [listed] = client.v1.customers.payment_methods.list(customer, {"type": "card"}).data
    assert (listed.id, listed.customer) == (kept, customer)
    assert listed.card is not None
    assert (listed.card.brand, listed.card.last4, listed.card.country) == ("visa", "4242", "US")
    assert charge(client, customer, kept, off_session=True).status == "succeeded"

    stranger = client.v1.customers.create({}).id
    for whose in (stranger, ""):
        with pytest.raises(stripe.InvalidRequestError, match="another Customer"):
            charge(client, whose, kept)
    client.v1.payment_methods.detach(kept)
    assert client.v1.payment_methods.list({"customer": customer}).data == []
    with pytest.raises(stripe.InvalidRequestError, match="detached"):
        charge(client, customer, kept)
    assert len(client.v1.charges.list({"customer": customer}).data) == 1


def test_saving_a_card_fails_for_a_refused_one_and_for_a_holder_who_says_no(
    psp: Psp, client: stripe.StripeClient, customer: str
) -> None:
    session = setup_session(client, customer)
    assert psp.pay(session.id, card="4000 0000 0000 0002").message == "Your card was declined."
    asked = psp.pay(session.id, card=SECURE_CARD)
    assert asked.location
    assert psp.authenticate(asked.location, complete=False).location == f"{psp.url}/c/pay/{session.id}"
    assert client.v1.payment_methods.list({"customer": customer}).data == []
    assert psp.pay(session.id).location == DONE


def test_a_card_that_was_set_up_is_charged_without_its_holder_and_one_that_always_asks_is_not(
    psp: Psp, client: stripe.StripeClient, customer: str
) -> None:
    relieved = saved_card(psp, client, customer, SECURE_CARD)
    assert charge(client, customer, relieved, off_session=True).status == "succeeded"
    always = saved_card(psp, client, customer, ALWAYS_ASKS)
    with pytest.raises(stripe.CardError) as refused:
        charge(client, customer, always, off_session=True)
    assert refused.value.code == "authentication_required"

    asking = charge(client, customer, always, return_url=DONE)
    assert asking.status == "requires_action"
    assert asking.next_action is not None
    assert asking.next_action.redirect_to_url is not None
    answer = psp.authenticate(str(asking.next_action.redirect_to_url.url))
    assert answer.location == DONE
    assert client.v1.payment_intents.retrieve(asking.id).status == "succeeded"


def test_3d_secure_is_asked_where_the_merchant_requests_it(
    psp: Psp, client: stripe.StripeClient, customer: str
) -> None:
    card = saved_card(psp, client, customer, ASKS_ON_REQUEST)
    assert charge(client, customer, card, return_url=DONE).status == "succeeded"
    request: Any = {"card": {"request_three_d_secure": "any"}}
    assert charge(client, customer, card, return_url=DONE, payment_method_options=request).status == "requires_action"
    plain = charge(client, customer, "pm_card_visa", payment_method_options=request, expand=["latest_charge"])
    assert isinstance(plain.latest_charge, stripe.Charge)
    details = plain.latest_charge.payment_method_details
    assert details is not None
    assert details.card is not None
    assert details.card.three_d_secure is not None
    assert details.card.three_d_secure.result == "attempt_acknowledged"


def test_a_card_can_be_saved_and_decline_later(psp: Psp, client: stripe.StripeClient, customer: str) -> None:
    card = saved_card(psp, client, customer, SAVES_BUT_DECLINES)
    with pytest.raises(stripe.CardError) as refused:
        charge(client, customer, card, off_session=True)
    assert (refused.value.code, client.v1.charges.list({"customer": customer}).data[0].paid) == ("card_declined", False)


@pytest.mark.parametrize(("account", "ends"), [(SEPA, "succeeded"), (SEPA_FAILS, "failed")])
def test_a_direct_debit_is_on_its_way_for_days_and_then_paid_or_sent_back(
    psp: Psp, client: stripe.StripeClient, customer: str, account: str, ends: str
) -> None:
    price: Any = {"currency": "eur", "unit_amount": 5_000, "product_data": {"name": "Credit"}}
    order: Any = {
        "mode": "payment",
        "customer": customer,
        "payment_method_types": ["card", "sepa_debit"],
        "line_items": [{"quantity": 1, "price_data": price}],
        "success_url": DONE,
    }
    session = client.v1.checkout.sessions.create(order)
    assert psp.pay_from_account(session.id, account).location == DONE
    waiting = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    assert (waiting.status, waiting.payment_status) == ("complete", "unpaid")
    intent = waiting.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert (intent.status, intent.amount_received, intent.latest_charge.status) == ("processing", 0, "pending")

    psp.advance(3_601)
    told = f"checkout.session.async_payment_{ends}"
    eventually(lambda: any(e.data.object["id"] == session.id for e in client.v1.events.list({"type": told}).data))
    ended = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    paid = ends == "succeeded"
    assert ended.status == ("succeeded" if paid else "requires_payment_method")
    assert ended.amount_received == (5_000 if paid else 0)
    assert isinstance(ended.latest_charge, stripe.Charge)
    assert ended.latest_charge.paid is paid
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == ("paid" if paid else "unpaid")


def test_an_account_pays_only_where_the_order_takes_it_and_in_its_currency(
    psp: Psp, client: stripe.StripeClient, customer: str
) -> None:
    price: Any = {"currency": "usd", "unit_amount": 5_000, "product_data": {"name": "Credit"}}
    order: Any = {"mode": "payment", "success_url": DONE, "line_items": [{"quantity": 1, "price_data": price}]}
    with pytest.raises(stripe.InvalidRequestError, match="eur only"):
        client.v1.checkout.sessions.create(order | {"payment_method_types": ["sepa_debit"]})
    session = client.v1.checkout.sessions.create(order | {"payment_method_types": ["card", "us_bank_account"]})
    assert "Only the listed test accounts" in (psp.pay_from_account(session.id, SEPA).message or "")
    assert psp.pay_from_account(session.id, "000123456789").location == DONE
