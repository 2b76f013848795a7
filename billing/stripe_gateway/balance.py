"""Our balance at the provider: every movement of it, and the payouts to the bank."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe

from billing.stripe_gateway.client import PAGE, Page, Translated, client, page_params


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """A balance transaction; amounts in minor units of `currency`, what left us is negative.

    `charge_id` and `payment_intent_id` belong to the charge that was paid, refunded or disputed.
    """

    id: str
    amount_cents: int
    fee_cents: int
    net_cents: int
    currency: str
    type: str
    reporting_category: str
    description: str
    source_id: str
    charge_id: str
    payment_intent_id: str
    customer_id: str
    created: int
    available_on: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Payout:
    """Money on its way from the provider's balance to our bank, as it stands now."""

    id: str
    amount_cents: int
    currency: str
    status: str
    automatic: bool
    failure: str
    trace: str
    created_at: datetime
    arrives_at: datetime


def list_movements(*, since: datetime, after: str = "") -> Page[Movement]:
    """A page of the movements from `since` on, newest first. Raises NotConfigured, Unavailable, Refused."""
    with Translated():
        params: Any = {**page_params(since, after), "expand": ["data.source"]}
        found = client().v1.balance_transactions.list(params)
        return Page(items=[_movement(each) for each in found.data], more=found.has_more)


def payout(payout_id: str) -> Payout:
    """The payout as the provider has it now. Raises NotConfigured, Unavailable, Refused."""
    with Translated():
        found = client().v1.payouts.retrieve(payout_id)
    trace = found.trace_id
    return Payout(
        id=found.id,
        amount_cents=found.amount,
        currency=found.currency,
        status=found.status,
        automatic=found.automatic,
        failure=found.failure_code or "",
        trace=(trace.value or "") if trace else "",
        created_at=_moment(found.created),
        arrives_at=_moment(found.arrival_date),
    )


def movements_in(payout_id: str) -> list[str]:
    """The ids of the movements that an automatic payout pays out. Raises as `payout` does."""
    ids: list[str] = []
    while True:
        params: Any = {"payout": payout_id, "limit": PAGE, **({"starting_after": ids[-1]} if ids else {})}
        with Translated():
            found = client().v1.balance_transactions.list(params)
        ids += [each.id for each in found.data]
        if not found.has_more:
            return ids


def balances() -> dict[str, int]:
    """All that stands on our balance by currency, in minor units, available or not yet. Raises as `payout` does."""
    with Translated():
        found = client().v1.balance.retrieve()
    sums: dict[str, int] = {}
    for name, amount in [(part.currency, part.amount) for part in found.available] + [
        (part.currency, part.amount) for part in found.pending
    ]:
        sums[name] = sums.get(name, 0) + amount
    return sums


def _movement(each: stripe.BalanceTransaction) -> Movement:
    source: Any = each.source
    known = source.to_dict() if source is not None and not isinstance(source, str) else {}
    is_charge = known.get("object") == "charge"
    return Movement(
        id=each.id,
        amount_cents=each.amount,
        fee_cents=each.fee,
        net_cents=each.net,
        currency=each.currency,
        type=each.type,
        reporting_category=each.reporting_category,
        description=(each.description or "")[:200],
        source_id=str(known.get("id") or source or ""),
        charge_id=str((known.get("id") if is_charge else known.get("charge")) or ""),
        payment_intent_id=str(known.get("payment_intent") or ""),
        customer_id=str(known.get("customer") or ""),
        created=each.created,
        available_on=each.available_on,
    )


def _moment(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)
