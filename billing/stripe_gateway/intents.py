"""A payment at the provider: where it stands, with which card, and what the provider kept of it."""

from dataclasses import dataclass

import stripe


@dataclass(frozen=True, kw_only=True, slots=True)
class Fee:
    """What the provider kept of one charge, and the currency in which it settled."""

    balance_transaction_id: str
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
    or canceled. `reference` is our row's id.
    """

    id: str
    status: str
    reference: str
    received_cents: int
    currency: str
    charge_id: str
    payment_method_id: str
    method: str
    card: Card
    receipt_url: str
    fee: Fee | None


def payment_of(intent: stripe.PaymentIntent) -> Payment:
    """Our words for an intent whose `latest_charge.balance_transaction` was expanded."""
    charge = intent.latest_charge
    known = charge if isinstance(charge, stripe.Charge) else None
    details = known.payment_method_details if known else None
    return Payment(
        id=intent.id,
        status=intent.status,
        reference=tag(intent.metadata, "top_up"),
        received_cents=intent.amount_received or 0,
        currency=intent.currency,
        charge_id=known.id if known else "",
        payment_method_id=(known.payment_method or "") if known else "",
        method=details.type if details else "",
        card=_card(details.card if details else None),
        receipt_url=(known.receipt_url or "") if known else "",
        fee=_fee(known),
    )


def tag(metadata: object, name: str) -> str:
    """One of the words that we put on an object of the provider; empty when it is not there."""
    words = metadata.to_dict() if isinstance(metadata, stripe.StripeObject) else metadata
    return str(words.get(name, "")) if isinstance(words, dict) else ""


def _fee(charge: stripe.Charge | None) -> Fee | None:
    transaction = charge.balance_transaction if charge else None
    if transaction is None or isinstance(transaction, str):
        return None
    return Fee(balance_transaction_id=transaction.id, amount_cents=transaction.fee, currency=transaction.currency)


def _card(card: stripe.Charge.PaymentMethodDetails.Card | None) -> Card:
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
