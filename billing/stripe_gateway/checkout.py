"""The provider's own payment page: an order, and what became of it."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import stripe

from billing.stripe_gateway.client import Translated, client
from billing.stripe_gateway.intents import Payment, payment_of
from billing.stripe_gateway.tax import checkout_lines
from billing.tax import TaxLine

TAXES = "total_details.breakdown"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckoutSession:
    """An order on the provider's own page. `reference` is our row's id; `taxes` add up to `tax_cents` of the amount."""

    id: str
    url: str
    status: str
    payment_status: str
    reference: str
    amount_cents: int
    tax_cents: int
    taxes: tuple[TaxLine, ...]
    currency: str
    payment: Payment | None


def create_checkout_session(
    *,
    reference: str,
    attempt: int,
    customer_id: str,
    amount_cents: int,
    adds_tax: bool,
    currency: str,
    title: str,
    methods: Sequence[str],
    saves_card: bool,
    success_url: str,
    cancel_url: str,
) -> CheckoutSession:
    """The page on which `reference` is paid; the same reference and attempt give the same page.

    `methods` by the provider's names; with `saves_card` the card is kept for payments without its holder. A card typed
    there is new to us, so 3-D Secure is requested for it.
    With `adds_tax` the provider works out the tax of the customer's address and adds it to the amount.
    Raises NotConfigured, Unavailable, Refused.
    """
    price: Any = {
        "currency": currency,
        "unit_amount": amount_cents,
        "tax_behavior": "exclusive",
        "product_data": {"name": title},
    }
    order: Any = {
        "mode": "payment",
        "payment_method_types": list(methods),
        "payment_method_options": {"card": {"request_three_d_secure": "any"}},
        "line_items": [{"quantity": 1, "price_data": price}],
        "client_reference_id": reference,
        "customer": customer_id,
        "metadata": {"top_up": reference},
        "payment_intent_data": {
            "metadata": {"top_up": reference},
            **({"setup_future_usage": "off_session"} if saves_card else {}),
        },
        "success_url": success_url,
        "cancel_url": cancel_url,
        **({"automatic_tax": {"enabled": True}} if adds_tax else {}),
        "expand": [TAXES],
    }
    with Translated():
        return _session(
            client().v1.checkout.sessions.create(order, {"idempotency_key": f"top-up-{reference}-{attempt}"})
        )


def checkout_session(session_id: str) -> CheckoutSession:
    """The session as the provider has it now, with payment, charge and fee. Raises Unavailable, Refused."""
    with Translated():
        return _session(
            client().v1.checkout.sessions.retrieve(
                session_id, {"expand": ["payment_intent.latest_charge.balance_transaction", TAXES]}
            )
        )


def expire_checkout_session(session_id: str) -> CheckoutSession:
    """Closes the page: nothing can be paid there any more. Tells how it ended. Raises Unavailable, Refused."""
    with Translated(), contextlib.suppress(stripe.InvalidRequestError):
        client().v1.checkout.sessions.expire(session_id)
    return checkout_session(session_id)


def _session(session: stripe.checkout.Session) -> CheckoutSession:
    intent = session.payment_intent
    return CheckoutSession(
        id=session.id,
        url=session.url or "",
        status=session.status or "",
        payment_status=session.payment_status,
        reference=session.client_reference_id or "",
        amount_cents=session.amount_total or 0,
        tax_cents=session.total_details.amount_tax if session.total_details else 0,
        taxes=checkout_lines(session),
        currency=session.currency or "",
        payment=None if intent is None or isinstance(intent, str) else payment_of(intent),
    )
