"""Money back to the card of a charge: asking for it, and what became of it."""

from dataclasses import dataclass

import stripe

from billing.stripe_gateway.client import Translated, client
from billing.stripe_gateway.intents import tag

_WHOLE = ["balance_transaction", "failure_balance_transaction"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What a movement did to our balance, in the currency it is kept in; what left is negative."""

    amount_cents: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RefundFacts:
    """A refund as the provider has it now. `status` is pending, requires_action, succeeded, failed or canceled.

    `part` is the id of our row; empty for a refund that somebody made at the provider by hand. `sent` and `returned`
    tell of its movements, which are in another currency where the provider exchanges money.
    """

    id: str
    part: str
    charge_id: str
    amount_cents: int
    currency: str
    status: str
    balance_transaction_id: str
    failure_transaction_id: str
    failure: str
    card_reference: str
    sent: Moved | None = None
    returned: Moved | None = None


def create_refund(*, part: str, attempt: int, charge_id: str, amount_cents: int) -> RefundFacts:
    """Asks for the refund; the same part and attempt give the same one.

    Raises NotConfigured, Unavailable, AnswerStuck, Refused (disputed, given back already, more than is left).
    """
    wish: stripe.params.RefundCreateParams = {
        "charge": charge_id,
        "amount": amount_cents,
        "reason": "requested_by_customer",
        "metadata": {"refund_part": part},
        "expand": _WHOLE,
    }
    with Translated():
        return _facts(client().v1.refunds.create(wish, {"idempotency_key": f"refund-{part}-{attempt}"}))


def refund(refund_id: str) -> RefundFacts:
    """Raises Unavailable, Refused."""
    with Translated():
        return _facts(client().v1.refunds.retrieve(refund_id, {"expand": _WHOLE}))


def refunds_of(charge_id: str) -> list[RefundFacts]:
    """All refunds of a charge, the newest first. Raises Unavailable, Refused."""
    with Translated():
        whole = [f"data.{name}" for name in _WHOLE]
        page = client().v1.refunds.list({"charge": charge_id, "limit": 100, "expand": whole})
        return [_facts(found) for found in page.auto_paging_iter()]


def _facts(found: stripe.Refund) -> RefundFacts:
    card = found.destination_details.card if found.destination_details else None
    return RefundFacts(
        id=found.id,
        part=tag(found.metadata, "refund_part"),
        charge_id=_id(found.charge),
        amount_cents=found.amount,
        currency=found.currency,
        status=found.status or "",
        balance_transaction_id=_id(found.balance_transaction),
        failure_transaction_id=_id(getattr(found, "failure_balance_transaction", None)),
        failure=str(getattr(found, "failure_reason", None) or ""),
        card_reference=str(getattr(card, "reference", None) or "") if card else "",
        sent=_moved(found.balance_transaction),
        returned=_moved(getattr(found, "failure_balance_transaction", None)),
    )


def _moved(value: object) -> Moved | None:
    if not isinstance(value, stripe.BalanceTransaction):
        return None
    return Moved(amount_cents=value.amount, currency=value.currency)


def _id(value: object) -> str:
    """The id of what the provider gives as an id or as the whole object."""
    return value if isinstance(value, str) else str(getattr(value, "id", "") or "")
