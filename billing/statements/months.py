"""The months of an account: which there are, and each with its sums, for the list of statements."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import connection

from accounts.models import Customer

# A payment commits within seconds of its time. What the chain and the provider did is booked once it is final there.
_CLOSES_AFTER = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class MonthSum:
    """One line of the list of statements."""

    month: date
    over: bool
    final: bool
    credited_nano_usd: int
    charge_nano_usd: int
    closing_nano_usd: int


def list_months(customer: Customer, *, now: datetime) -> list[MonthSum]:
    """Every month with its sums, the running one first."""
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS, {"customer": customer.pk})
        sums = {month: (int(credited), int(charge)) for month, credited, charge in cursor.fetchall()}
    closing, found = 0, []
    for month in reversed(months(customer, now=now)):
        credited, charge = sums.get(month, (0, 0))
        closing += credited - charge
        found.append(
            MonthSum(
                month=month,
                over=now >= first_moment(next_month(month)),
                final=is_closed(month, now=now),
                credited_nano_usd=credited,
                charge_nano_usd=charge,
                closing_nano_usd=closing,
            )
        )
    return found[::-1]


def months(customer: Customer, *, now: datetime) -> list[date]:
    """First days of the months there are statements for, the running one first."""
    running = now.astimezone(UTC).date().replace(day=1)
    month = min(customer.created_at.astimezone(UTC).date().replace(day=1), running)
    found = [month]
    while month < running:
        month = next_month(month)
        found.append(month)
    return found[::-1]


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def first_moment(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def closes_at(month: date) -> datetime:
    """When nothing of the month is under way any more and its figures stay as they are."""
    return first_moment(next_month(month)) + _CLOSES_AFTER


def is_closed(month: date, *, now: datetime) -> bool:
    return now >= closes_at(month)


_MONTHS = """
SELECT month, sum(credited), sum(charge) FROM (
    SELECT date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS month, amount_nano_usd AS credited, 0 AS charge
    FROM billing_walletentry WHERE customer_id = %(customer)s
    UNION ALL
    SELECT date_trunc('month', day)::date, 0, charge_nano_usd FROM billing_usage_by_day WHERE customer_id = %(customer)s
) x GROUP BY month
"""
