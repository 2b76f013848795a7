"""A payment at the provider: begun with a card that waits there, where it stands, and what the provider kept of it."""

import contextlib
from dataclasses import dataclass
from typing import Any

import stripe

from billing.stripe_gateway.client import Translated, client

_WHOLE = ["latest_charge.balance_transaction"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fee:
    """What the provider kept of one charge, and in which currency it settled; `gross_cents` arrived before the fee."""

    balance_transaction_id: str
    gross_cents: int
    amount_cents: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What the provider tells of a card; nothing of it can be charged. Empty texts for what is no card."""

    brand: str = ""
    last4: str = ""
    exp_month: int = 0
    exp_year: int = 0
    fingerprint: str = ""
    country: str = ""
    funding: str = ""

    @property
    def title(self) -> str:
        """`Visa 4242`, or nothing."""
        return f"{self.brand} {self.last4}".strip()[:40]


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """A PaymentIntent with what its latest charge says; `fee` follows a moment after the charge.

    `status` is the provider's: succeeded, processing, requires_action, requires_payment_method, requires_confirmation
    or canceled. `reference` is our row's id, `error` the code of the last refusal, `step_url` the provider's page on
    which the cardholder has to confirm.
    """

    id: str
    status: str
    reference: str
    amount_cents: int
    received_cents: int
    currency: str
    error: str
    step_url: str
    charge_id: str
    payment_method_id: str
    method: str
    card: Card
    receipt_url: str
    fee: Fee | None


def create_payment(
    *, reference: str, attempt: int, customer_id: str, payment_method_id: str, amount_cents: int, currency: str
) -> Payment:
    """A payment with a kept card that charges nothing yet; the same reference and attempt give the same payment.

    Raises NotConfigured, Unavailable, Refused.
    """
    order: Any = {
        "amount": amount_cents,
        "currency": currency,
        "customer": customer_id,
        "payment_method": payment_method_id,
        "payment_method_types": ["card"],
        "description": "Prepaid balance",
        "metadata": {"top_up": reference},
    }
    with Translated():
        return payment_of(
            client().v1.payment_intents.create(order, {"idempotency_key": f"top-up-{reference}-{attempt}"})
        )


def confirm_payment(
    payment_id: str, *, reference: str, attempt: int, off_session: bool, first_use: bool, return_url: str
) -> Payment:
    """Charges the card, or tells why not: a refusal is a status, not an error.

    A payment succeeds once at the provider, however often it is confirmed. With its holder there (`off_session` false)
    the bank may ask him on a page of the provider's, from which he comes back to `return_url`; `first_use` requests it.
    Raises Unavailable, Refused.
    """
    how: Any = {"off_session": True} if off_session else {"return_url": return_url}
    if first_use and not off_session:
        how["payment_method_options"] = {"card": {"request_three_d_secure": "any"}}
    key = f"top-up-{reference}-confirm-{attempt}"
    with Translated(), contextlib.suppress(stripe.CardError):
        client().v1.payment_intents.confirm(payment_id, how, {"idempotency_key": key})
    return payment(payment_id)


def payment(payment_id: str) -> Payment:
    """The payment as the provider has it now, with charge and fee. Raises Unavailable, Refused."""
    with Translated():
        return payment_of(client().v1.payment_intents.retrieve(payment_id, {"expand": _WHOLE}))


def cancel_payment(payment_id: str) -> Payment:
    """Makes sure that it can never be charged any more, and tells how it stands. Raises Unavailable, Refused."""
    with Translated():
        try:
            client().v1.payment_intents.cancel(payment_id)
        except stripe.InvalidRequestError as error:
            if error.code != "payment_intent_unexpected_state":
                raise
    return payment(payment_id)


def payment_of(intent: stripe.PaymentIntent) -> Payment:
    """Our words for an intent whose `latest_charge.balance_transaction` was expanded."""
    charge = intent.latest_charge
    known = charge if isinstance(charge, stripe.Charge) else None
    details = known.payment_method_details if known else None
    return Payment(
        id=intent.id,
        status=intent.status,
        reference=tag(intent.metadata, "top_up"),
        amount_cents=intent.amount,
        received_cents=intent.amount_received or 0,
        currency=intent.currency,
        error=_refusal(intent),
        step_url=_step(intent),
        charge_id=known.id if known else "",
        payment_method_id=(known.payment_method or "") if known else "",
        method=details.type if details else "",
        card=card_of(getattr(details, "card", None)),
        receipt_url=(known.receipt_url or "") if known else "",
        fee=_fee(known),
    )


def tag(metadata: object, name: str) -> str:
    """One of the words that we put on an object of the provider; empty when it is not there."""
    words = metadata.to_dict() if isinstance(metadata, stripe.StripeObject) else metadata
    return str(words.get(name, "")) if isinstance(words, dict) else ""


def _refusal(intent: stripe.PaymentIntent) -> str:
    error = intent.last_payment_error
    if error is None:
        return ""
    return str(getattr(error, "decline_code", None) or getattr(error, "code", None) or "declined")[:60]


def _step(intent: stripe.PaymentIntent) -> str:
    return str(getattr(getattr(intent.next_action, "redirect_to_url", None), "url", None) or "")


def _fee(charge: stripe.Charge | None) -> Fee | None:
    transaction = charge.balance_transaction if charge else None
    if transaction is None or isinstance(transaction, str):
        return None
    return Fee(
        balance_transaction_id=transaction.id,
        gross_cents=transaction.amount,
        amount_cents=transaction.fee,
        currency=transaction.currency,
    )


def card_of(card: stripe.Charge.PaymentMethodDetails.Card | stripe.PaymentMethod.Card | None) -> Card:
    """The card of a charge or of a method to pay."""
    if card is None:
        return Card()
    return Card(
        brand=(card.brand or "card").title(),
        last4=card.last4 or "",
        exp_month=card.exp_month or 0,
        exp_year=card.exp_year or 0,
        fingerprint=card.fingerprint or "",
        country=card.country or "",
        funding=card.funding or "",
    )
