"""The provider's own payment page: an order, and what became of it."""

from dataclasses import dataclass
from typing import Any

import stripe

from billing.stripe_gateway.client import Translated, client


@dataclass(frozen=True, kw_only=True, slots=True)
class Fee:
    """What the provider kept of one charge."""

    balance_transaction_id: str
    amount_cents: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """A PaymentIntent with what its latest charge says; `fee` follows a moment after the charge."""

    id: str
    status: str
    received_cents: int
    currency: str
    card: str
    receipt_url: str
    fee: Fee | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckoutSession:
    """An order on the provider's own page. `reference` is our row's id."""

    id: str
    url: str
    status: str
    payment_status: str
    reference: str
    amount_cents: int
    currency: str
    payment: Payment | None


def create_checkout_session(
    *, reference: str, amount_cents: int, currency: str, email: str, title: str, success_url: str, cancel_url: str
) -> CheckoutSession:
    """The page on which `reference` is paid; the same reference gives the same page.

    Raises NotConfigured, Unavailable, Refused.
    """
    price: Any = {"currency": currency, "unit_amount": amount_cents, "product_data": {"name": title}}
    order: Any = {
        "mode": "payment",
        "payment_method_types": ["card"],
        "line_items": [{"quantity": 1, "price_data": price}],
        "client_reference_id": reference,
        "customer_email": email,
        "metadata": {"top_up": reference},
        "payment_intent_data": {"metadata": {"top_up": reference}},
        "success_url": success_url,
        "cancel_url": cancel_url,
    }
    with Translated():
        return _session(client().v1.checkout.sessions.create(order, {"idempotency_key": f"top-up-{reference}"}))


def checkout_session(session_id: str) -> CheckoutSession:
    """The session as the provider has it now, with payment, charge and fee. Raises Unavailable, Refused."""
    with Translated():
        return _session(
            client().v1.checkout.sessions.retrieve(
                session_id, {"expand": ["payment_intent.latest_charge.balance_transaction"]}
            )
        )


def _session(session: stripe.checkout.Session) -> CheckoutSession:
    intent = session.payment_intent
    return CheckoutSession(
        id=session.id,
        url=session.url or "",
        status=session.status or "",
        payment_status=session.payment_status,
        reference=session.client_reference_id or "",
        amount_cents=session.amount_total or 0,
        currency=session.currency or "",
        payment=None if intent is None or isinstance(intent, str) else _payment(intent),
    )


def _payment(intent: stripe.PaymentIntent) -> Payment:
    charge = intent.latest_charge
    known = charge if isinstance(charge, stripe.Charge) else None
    return Payment(
        id=intent.id,
        status=intent.status,
        received_cents=intent.amount_received or 0,
        currency=intent.currency,
        card=_card(known),
        receipt_url=(known.receipt_url or "") if known else "",
        fee=_fee(known),
    )


def _fee(charge: stripe.Charge | None) -> Fee | None:
    transaction = charge.balance_transaction if charge else None
    if transaction is None or isinstance(transaction, str):
        return None
    return Fee(balance_transaction_id=transaction.id, amount_cents=transaction.fee, currency=transaction.currency)


def _card(charge: stripe.Charge | None) -> str:
    """`Visa 4242`, or nothing for what is no card."""
    details = charge.payment_method_details if charge else None
    card = details.card if details else None
    return f"{(card.brand or 'card').title()} {card.last4 or ''}".strip()[:40] if card else ""
