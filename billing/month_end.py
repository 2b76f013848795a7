"""A month of the books in figures: trial balance and roll-forwards, each with the tie-out that must be 0.

Everything of one reading comes from one snapshot of the database; months are UTC months.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils.module_loading import import_string

from billing.models import Journal
from billing.postings import CHART, DEPOSIT, PREPAID, RESERVE, Asset
from billing.statements import closes_at, is_closed, next_month


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One number of the chart in one asset: debits minus credits before, both during, and after the month."""

    number: int
    asset: Asset
    opening: int
    debits: int
    credits: int

    @property
    def name(self) -> str:
        return CHART[self.number][0]

    @property
    def closing(self) -> int:
        return self.opening + self.debits - self.credits


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialBalance:
    """All lines of one asset; opening and closing add up to 0, debits equal credits."""

    asset: Asset
    lines: tuple[Line, ...]

    @property
    def opening(self) -> int:
        return sum(line.opening for line in self.lines)

    @property
    def debits(self) -> int:
        return sum(line.debits for line in self.lines)

    @property
    def credits(self) -> int:
        return sum(line.credits for line in self.lines)

    @property
    def closing(self) -> int:
        return sum(line.closing for line in self.lines)

    @property
    def agrees(self) -> bool:
        return self.opening == self.closing == 0 and self.debits == self.credits


@dataclass(frozen=True, kw_only=True, slots=True)
class Liability:
    """What is owed to customers (2100), in nano-dollars, tied to what their wallets held when the month ended.

    `unposted` is usage charged to wallets that the poster has not booked yet. `wallets` are the wallets of this
    moment less everything that happened after the month.
    """

    opening_nano_usd: int
    top_ups_nano_usd: int
    usage_nano_usd: int
    other_nano_usd: int
    unposted_nano_usd: int
    wallets_nano_usd: int

    @property
    def closing_nano_usd(self) -> int:
        return self.opening_nano_usd + self.top_ups_nano_usd + self.other_nano_usd - self.usage_nano_usd

    @property
    def expected_nano_usd(self) -> int:
        return self.closing_nano_usd - self.unposted_nano_usd

    @property
    def difference_nano_usd(self) -> int:
        return self.wallets_nano_usd - self.expected_nano_usd


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """The ether of the deposit (1310) or the reserve (1320), in wei."""

    number: int
    opening_wei: int
    funded_wei: int
    redeemed_wei: int
    withdrawn_wei: int
    other_wei: int
    balance_wei: int

    @property
    def name(self) -> str:
        return CHART[self.number][0]

    @property
    def closing_wei(self) -> int:
        return self.opening_wei + self.funded_wei + self.other_wei - self.redeemed_wei - self.withdrawn_wei

    @property
    def difference_wei(self) -> int:
        """What the account's balance has more than the movements explain; always 0."""
        return self.balance_wei - self.closing_wei


@dataclass(frozen=True, kw_only=True, slots=True)
class MonthEnd:
    """The figures of one month."""

    month: date
    usd: TrialBalance
    eth: TrialBalance
    liability: Liability
    pools: tuple[Pool, ...]

    @property
    def agrees(self) -> bool:
        return (
            self.usd.agrees
            and self.eth.agrees
            and self.liability.difference_nano_usd == 0
            and not any(pool.difference_wei for pool in self.pools)
        )


def bounds(month: date) -> tuple[datetime, datetime]:
    """The first moment of a UTC month and of the one after it."""
    after = next_month(month)
    return datetime(month.year, month.month, 1, tzinfo=UTC), datetime(after.year, after.month, 1, tzinfo=UTC)


def months(*, now: datetime) -> list[date]:
    """First days of the months since the first journal, the running one first."""
    running = now.astimezone(UTC).date().replace(day=1)
    first = Journal.objects.order_by("occurred_at").values_list("occurred_at", flat=True).first()
    month = min(first.astimezone(UTC).date().replace(day=1), running) if first else running
    found = [month]
    while month < running:
        month = next_month(month)
        found.append(month)
    return found[::-1]


def is_reached(month: date, *, now: datetime) -> bool:
    """Whether it is closed, and whoever books what happened elsewhere has looked since.

    To be asked before the figures are read that are to be complete.
    """
    guards = [import_string(name) for name in settings.BOOKS_WAIT_FOR]
    return is_closed(month, now=now) and not any(guard(closes_at(month)) for guard in guards)


def read(month: date) -> MonthEnd:
    """All figures of a month from one snapshot (the caller's, when a transaction is open)."""
    start, end = bounds(month)
    alone = not connection.in_atomic_block
    with transaction.atomic():
        if alone:
            _run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", {})
        moved = {"start": start, "end": end}
        lines = [
            Line(number=number, asset=asset, opening=int(opening), debits=int(debits), credits=int(credits))
            for number, asset, opening, debits, credits in _rows(_LINES, moved)
        ]
        return MonthEnd(
            month=month,
            usd=TrialBalance(asset="USD", lines=tuple(line for line in lines if line.asset == "USD")),
            eth=TrialBalance(asset="ETH", lines=tuple(line for line in lines if line.asset == "ETH")),
            liability=_liability(moved, lines),
            pools=tuple(_pool(number, moved, lines) for number in (DEPOSIT, RESERVE)),
        )


def _liability(moved: dict[str, datetime], lines: list[Line]) -> Liability:
    kinds = {kind: int(amount) for kind, amount in _rows(_LIABILITY_BY_KIND, moved | {"number": PREPAID})}
    [(unposted, wallets)] = _rows(_WALLETS, moved)
    return Liability(
        opening_nano_usd=-_opening(lines, PREPAID, "USD"),
        top_ups_nano_usd=kinds.pop("top_up", 0),
        usage_nano_usd=-kinds.pop("usage", 0),
        other_nano_usd=sum(kinds.values()),
        unposted_nano_usd=int(unposted),
        wallets_nano_usd=int(wallets),
    )


def _pool(number: int, moved: dict[str, datetime], lines: list[Line]) -> Pool:
    kinds = {kind: int(amount) for kind, amount in _rows(_POOL_BY_KIND, moved | {"number": number})}
    return Pool(
        number=number,
        opening_wei=_opening(lines, number, "ETH"),
        funded_wei=kinds.pop("funding", 0) + kinds.pop("opening", 0),
        redeemed_wei=-kinds.pop("redemption", 0),
        withdrawn_wei=-kinds.pop("withdrawal", 0),
        other_wei=sum(kinds.values()),
        balance_wei=sum(line.closing for line in lines if line.number == number and line.asset == "ETH"),
    )


def _opening(lines: list[Line], number: int, asset: Asset) -> int:
    return sum(line.opening for line in lines if line.number == number and line.asset == asset)


def _run(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _rows(statement: str, values: dict[str, Any]) -> Iterator[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return iter(cursor.fetchall())


_LINES = """
WITH sides AS (
    SELECT t.debit_id AS account_id, j.occurred_at < %(start)s AS before,
           coalesce(t.amount_nano_usd, t.amount_wei) AS debit, 0 AS credit
    FROM billing_transfer t JOIN billing_journal j ON j.id = t.journal_id WHERE j.occurred_at < %(end)s
    UNION ALL
    SELECT t.credit_id, j.occurred_at < %(start)s, 0, coalesce(t.amount_nano_usd, t.amount_wei)
    FROM billing_transfer t JOIN billing_journal j ON j.id = t.journal_id WHERE j.occurred_at < %(end)s
)
SELECT a.number, a.asset, coalesce(sum(s.debit - s.credit) FILTER (WHERE s.before), 0),
       coalesce(sum(s.debit) FILTER (WHERE NOT s.before), 0), coalesce(sum(s.credit) FILTER (WHERE NOT s.before), 0)
FROM sides s JOIN billing_ledgeraccount a ON a.id = s.account_id
GROUP BY a.number, a.asset ORDER BY a.number, a.asset
"""

# Credits less debits of the account in the month, by what the journals were about.
_LIABILITY_BY_KIND = """
SELECT j.kind, sum(CASE WHEN c.number = %(number)s THEN t.amount_nano_usd ELSE 0 END)
             - sum(CASE WHEN d.number = %(number)s THEN t.amount_nano_usd ELSE 0 END)
FROM billing_transfer t JOIN billing_journal j ON j.id = t.journal_id
JOIN billing_ledgeraccount d ON d.id = t.debit_id JOIN billing_ledgeraccount c ON c.id = t.credit_id
WHERE j.occurred_at >= %(start)s AND j.occurred_at < %(end)s AND %(number)s IN (d.number, c.number) AND d.asset = 'USD'
GROUP BY j.kind
"""

# Debits less credits, in wei.
_POOL_BY_KIND = """
SELECT j.kind, sum(CASE WHEN d.number = %(number)s THEN t.amount_wei ELSE 0 END)
             - sum(CASE WHEN c.number = %(number)s THEN t.amount_wei ELSE 0 END)
FROM billing_transfer t JOIN billing_journal j ON j.id = t.journal_id
JOIN billing_ledgeraccount d ON d.id = t.debit_id JOIN billing_ledgeraccount c ON c.id = t.credit_id
WHERE j.occurred_at >= %(start)s AND j.occurred_at < %(end)s AND %(number)s IN (d.number, c.number) AND d.asset = 'ETH'
GROUP BY j.kind
"""

# Paid money alone: promotional credit is no liability. Usage counts by its own time; a wallet entry by the time of its
# journal, as in the account it is held against.
_WALLETS = """
SELECT (SELECT coalesce(sum(charge_nano_usd - promo_nano_usd), 0) FROM billing_usage
        WHERE journal_id IS NULL AND at < %(end)s),
       (SELECT coalesce(sum(available_nano_usd - promo_nano_usd), 0) FROM billing_wallet)
       - (SELECT coalesce(sum(e.amount_nano_usd), 0) FROM billing_walletentry e
          JOIN billing_journal j ON j.id = e.journal_id
          WHERE j.occurred_at >= %(end)s AND e.kind NOT IN ('grant', 'grant_expired'))
       + (SELECT coalesce(sum(charge_nano_usd - promo_nano_usd), 0) FROM billing_usage_by_day
          WHERE day >= (%(end)s)::date)
"""
