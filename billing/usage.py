"""Reading what was charged: totals per day, the burn rate, and single payments."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from billing.models import Usage

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
# One payment a second ago is no pace yet: the shortest span that is called one.
_LEAST_SECONDS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What was charged under one heading: a day, a label, a key or a session."""

    payments: int
    charge_nano_usd: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Burn:
    """A pace of spending, measured over `seconds`."""

    charge_nano_usd: int
    seconds: int

    def per_day_nano_usd(self) -> int:
        return self.charge_nano_usd * 86_400 // self.seconds

    def lasts(self, available_nano_usd: int) -> timedelta:
        """How long a balance lasts at this pace, in whole seconds, at most a hundred years."""
        seconds = available_nano_usd * self.seconds // self.charge_nano_usd
        return timedelta(seconds=min(seconds, 100 * 365 * 86_400))


def by_day(customer_id: int, *, first: date, end: date) -> dict[date, Spent]:
    """UTC days from `first` until before `end` on which something was charged."""
    rows = _rows(
        "SELECT day, sum(payments)::bigint, sum(charge_nano_usd)::bigint FROM billing_usage_by_day"
        " WHERE customer_id = %s AND day >= %s AND day < %s GROUP BY day",
        [customer_id, first, end],
    )
    return {day: Spent(payments=payments, charge_nano_usd=charge) for day, payments, charge in rows}


def by_label(customer_id: int, *, first: date, end: date) -> list[tuple[str, str, Spent]]:
    """`(label, kind, spent)`, the dearest first."""
    rows = _rows(
        "SELECT label, kind, sum(payments)::bigint, sum(charge_nano_usd)::bigint FROM billing_usage_by_day"
        " WHERE customer_id = %s AND day >= %s AND day < %s GROUP BY label, kind ORDER BY 4 DESC, 1",
        [customer_id, first, end],
    )
    return [(label, kind, Spent(payments=count, charge_nano_usd=charge)) for label, kind, count, charge in rows]


def by_counterparty(customer_id: int, *, first: date) -> list[tuple[str, int]]:
    """`(address, charged in nano-dollars)` from a day on, the most first."""
    return _rows(
        "SELECT counterparty, sum(charge_nano_usd)::bigint FROM billing_usage_by_day"
        " WHERE customer_id = %s AND day >= %s GROUP BY counterparty ORDER BY 2 DESC, 1",
        [customer_id, first],
    )


def burn(customer_id: int, *, now: datetime) -> Burn | None:
    """The pace of the last hour when something was charged in it, else of the last week; None without any."""
    [(begun, charge)] = _rows(
        "SELECT min(at), coalesce(sum(charge_nano_usd), 0)::bigint FROM billing_usage"
        " WHERE customer_id = %s AND at >= %s AND at < %s",
        [customer_id, now - HOUR, now],
    )
    if charge:
        return Burn(charge_nano_usd=charge, seconds=max(_LEAST_SECONDS, int((now - begun).total_seconds())))
    week = by_day(customer_id, first=(now - WEEK).date(), end=now.date() + DAY)
    charge = sum(spent.charge_nano_usd for spent in week.values())
    if not charge:
        return None
    midnight = datetime.combine(min(week), datetime.min.time(), tzinfo=UTC)
    return Burn(charge_nano_usd=charge, seconds=max(_LEAST_SECONDS, int((now - midnight).total_seconds())))


def by_hour(customer_id: int, *, since: datetime, until: datetime) -> dict[datetime, Spent]:
    """Hours, as their first moments, in which something was charged."""
    rows = _rows(
        "SELECT date_trunc('hour', at, 'UTC'), count(*), sum(charge_nano_usd)::bigint FROM billing_usage"
        " WHERE customer_id = %s AND at >= %s AND at < %s GROUP BY 1",
        [customer_id, since, until],
    )
    return {hour: Spent(payments=payments, charge_nano_usd=charge) for hour, payments, charge in rows}


def lately(customer_id: int, *, since: datetime, limit: int) -> dict[uuid.UUID, Spent]:
    """The sources of charges from `since` on, the newest first."""
    rows = _rows(
        "SELECT source, count(*), sum(charge_nano_usd)::bigint FROM billing_usage"
        " WHERE customer_id = %s AND at >= %s GROUP BY source ORDER BY max(id) DESC LIMIT %s",
        [customer_id, since, limit],
    )
    return {source: Spent(payments=payments, charge_nano_usd=charge) for source, payments, charge in rows}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSum:
    """What one session handed out and cost; `label` is what the customer called its work."""

    label: str = ""
    payments: int = 0
    quantity: int = 0
    fee_wei: int = 0
    cost_wei: int = 0
    cost_nano_usd: int = 0
    charge_nano_usd: int = 0


def by_source(customer_id: int, sources: list[uuid.UUID]) -> dict[uuid.UUID, SourceSum]:
    """The sums of some sessions."""
    rows = _rows(
        'SELECT source, max(label COLLATE "C"), count(*), sum(quantity), sum(fee_wei), sum(cost_wei),'
        " sum(cost_nano_usd)::bigint, sum(charge_nano_usd)::bigint FROM billing_usage"
        " WHERE customer_id = %s AND source = ANY (%s) GROUP BY source",
        [customer_id, sources],
    )
    return {
        source: SourceSum(
            label=label,
            payments=payments,
            quantity=quantity,
            fee_wei=int(fee_wei),
            cost_wei=int(cost_wei),
            cost_nano_usd=cost,
            charge_nano_usd=charge,
        )
        for source, label, payments, quantity, fee_wei, cost_wei, cost, charge in rows
    }


def charges(
    customer_id: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    api_key_id: int | None = None,
    source: uuid.UUID | None = None,
    before_id: int | None = None,
) -> QuerySet[Usage]:
    """A customer's charges, newest first, from `since` until before `until`, with key and rate at hand."""
    found = Usage.objects.filter(customer_id=customer_id).select_related("api_key", "rate").order_by("-id")
    if since is not None:
        found = found.filter(at__gte=since)
    if until is not None:
        found = found.filter(at__lt=until)
    if api_key_id is not None:
        found = found.filter(api_key_id=api_key_id)
    if source is not None:
        found = found.filter(source=source)
    if before_id is not None:
        found = found.filter(id__lt=before_id)
    return found


def _rows(statement: str, parameters: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows
