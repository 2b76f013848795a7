"""What the product reads of the provider, asked of the sandbox and, with STRIPE_TEST_SECRET_KEY, of Stripe itself."""

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe
from django.utils import timezone

from billing import stripe_gateway
from billing.stripe_gateway.client import client as at_provider
from tests.provider_stage import eventually, fresh_provider

REAL_KEY = os.environ.get("STRIPE_TEST_SECRET_KEY", "")


@pytest.fixture(params=["sandbox", "stripe"])
def provider(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Iterator[str]:
    """The sandbox always; Stripe's test mode when there is a key for it."""
    if request.param == "sandbox":
        with fresh_provider(settings, tmp_path):
            yield "sandbox"
        return
    if not REAL_KEY:
        pytest.skip("without STRIPE_TEST_SECRET_KEY nothing is compared with Stripe itself")
    assert REAL_KEY.startswith(("sk_test_", "rk_test_")), "a key of the test mode only: these tests make payments"
    settings.STRIPE_API_BASE, settings.STRIPE_SECRET_KEY = "https://api.stripe.com", REAL_KEY
    yield "stripe"


def pay(amount: int, **more: Any) -> stripe.PaymentIntent:
    order: Any = {
        "amount": amount,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "payment_method_types": ["card"],
        "confirm": True,
        "expand": ["latest_charge"],
        **more,
    }
    return at_provider().v1.payment_intents.create(order)


def test_a_payment_moves_the_balance_by_gross_less_fee(provider: str) -> None:
    begun = timezone.now() - timedelta(minutes=5)
    intent = pay(2_000)
    assert intent.status == "succeeded"
    assert isinstance(intent.latest_charge, stripe.Charge)
    charge_id = intent.latest_charge.id

    def found() -> list[stripe_gateway.Movement]:
        return [each for each in stripe_gateway.list_movements(since=begun).items if each.source_id == charge_id]

    eventually(found, seconds=30)
    [movement] = found()
    assert (movement.amount_cents, movement.reporting_category, movement.type) == (2_000, "charge", "charge")
    assert movement.net_cents == movement.amount_cents - movement.fee_cents
    assert (movement.charge_id, movement.payment_intent_id) == (charge_id, intent.id)
    assert movement.id.startswith("txn_")
    assert movement.available_on >= movement.created
    assert "usd" in stripe_gateway.balances()


def test_events_tell_of_every_step_and_name_their_object(provider: str) -> None:
    begun = timezone.now() - timedelta(minutes=5)
    intent = pay(1_500)

    def told() -> set[str]:
        return {each.type for each in stripe_gateway.list_events(since=begun).items if each.object_id == intent.id}

    eventually(lambda: "payment_intent.succeeded" in told(), seconds=30)
    newest = stripe_gateway.list_events(since=begun).items
    assert [each.created for each in newest] == sorted((each.created for each in newest), reverse=True)
    assert {each.kind for each in newest if each.object_id == intent.id} == {"payment_intent"}
    below = stripe_gateway.list_events(since=begun, after=newest[0].id).items
    assert newest[0].id not in [each.id for each in below]


def test_an_idempotency_key_gives_the_first_answer_again_and_refuses_another_question(provider: str) -> None:
    key, order = f"conformance-{uuid.uuid4()}", {"name": "Conformance", "email": "conformance@example.com"}
    first = at_provider().v1.customers.create(order, {"idempotency_key": key})  # type: ignore[arg-type]
    again = at_provider().v1.customers.create(order, {"idempotency_key": key})  # type: ignore[arg-type]
    assert first.id == again.id
    with pytest.raises(stripe.IdempotencyError):
        at_provider().v1.customers.create({"name": "Other"}, {"idempotency_key": key})


def test_what_does_not_exist_is_refused_and_a_declined_card_says_so(provider: str) -> None:
    with pytest.raises(stripe_gateway.Refused, match="resource_missing"):
        stripe_gateway.payout("po_thatneverwas")
    with pytest.raises(stripe.CardError) as declined:
        pay(1_000, payment_method="pm_card_visa_chargeDeclined")
    assert (declined.value.code, declined.value.http_status) == ("card_declined", 402)


def test_a_page_is_made_with_what_we_ask_and_shows_what_we_read(provider: str) -> None:
    price: Any = {"currency": "usd", "unit_amount": 5_000, "product_data": {"name": "Prepaid balance"}}
    session = at_provider().v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [{"quantity": 1, "price_data": price}],
            "client_reference_id": "top-up-1",
            "success_url": "https://example.com/done",
        }
    )
    seen = stripe_gateway.checkout_session(session.id)
    assert (seen.status, seen.payment_status, seen.reference) == ("open", "unpaid", "top-up-1")
    assert (seen.amount_cents, seen.currency, seen.payment) == (5_000, "usd", None)
    assert seen.url.startswith("http")
