"""A month of one customer's prepaid account: opening, top-ups, usage and closing, to the nano-dollar."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.db import connection

from accounts.models import Customer
from billing.models import WalletEntry


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A change of the balance other than usage, positive or negative."""

    at: datetime
    kind: str
    description: str
    reference: str
    amount_nano_usd: int

    @property
    def name(self) -> str:
        """What it is, for people."""
        kinds = dict(WalletEntry.Kind.choices)
        return kinds.get(self.kind, self.kind)

    @property
    def is_promotional(self) -> bool:
        return self.kind in WalletEntry.PROMOTIONAL


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageLine:
    """All payments of one UTC day under one key, label, kind and counterparty."""

    day: date
    api_key: str
    api_key_prefix: str
    label: str
    kind: str
    counterparty: str
    payments: int
    quantity: int
    cost_wei: int
    cost_nano_usd: int
    charge_nano_usd: int
    promo_nano_usd: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """A line of the account with the balance after it; `amount_nano_usd` is negative for usage.

    `promo_nano_usd` is the part of the amount that is promotional credit.
    """

    day: date
    kind: str
    description: str
    reference: str
    amount_nano_usd: int
    promo_nano_usd: int
    balance_nano_usd: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """`opening + credits - usage = closing`, and `closing` plus what came later is the wallet of this moment.

    The same holds for promotional credit alone (`promo_…`), which is part of all of these, and so for paid money.
    """

    customer_id: int
    customer_name: str
    month: date
    made_at: datetime
    opening_nano_usd: int
    promo_opening_nano_usd: int
    entries: tuple[Entry, ...]
    usage: tuple[UsageLine, ...]
    later_nano_usd: int
    promo_later_nano_usd: int
    wallet_nano_usd: int
    promo_wallet_nano_usd: int

    @property
    def number(self) -> str:
        return f"STM-{self.month:%Y-%m}-{self.customer_id:06d}"

    @property
    def end(self) -> date:
        return next_month(self.month)

    @property
    def final(self) -> bool:
        """Whether the month is over."""
        return self.made_at.date() >= self.end

    @property
    def top_ups_nano_usd(self) -> int:
        return sum(entry.amount_nano_usd for entry in self.entries if entry.kind == "top_up")

    @property
    def other_nano_usd(self) -> int:
        return sum(entry.amount_nano_usd for entry in self.entries if entry.kind != "top_up")

    @property
    def promo_given_nano_usd(self) -> int:
        return sum(entry.amount_nano_usd for entry in self.entries if entry.kind == "grant")

    @property
    def promo_ended_nano_usd(self) -> int:
        return -sum(entry.amount_nano_usd for entry in self.entries if entry.kind == "grant_expired")

    @property
    def promo_used_nano_usd(self) -> int:
        return sum(line.promo_nano_usd for line in self.usage)

    @property
    def promo_closing_nano_usd(self) -> int:
        given = self.promo_given_nano_usd - self.promo_ended_nano_usd
        return self.promo_opening_nano_usd + given - self.promo_used_nano_usd

    @property
    def other_paid_nano_usd(self) -> int:
        """Changes of paid money other than top-ups and usage."""
        return self.other_nano_usd - self.promo_given_nano_usd + self.promo_ended_nano_usd

    @property
    def has_promo(self) -> bool:
        return bool(self.promo_opening_nano_usd or self.promo_given_nano_usd)

    @property
    def payments(self) -> int:
        return sum(line.payments for line in self.usage)

    @property
    def cost_wei(self) -> int:
        return sum(line.cost_wei for line in self.usage)

    @property
    def cost_nano_usd(self) -> int:
        return sum(line.cost_nano_usd for line in self.usage)

    @property
    def charge_nano_usd(self) -> int:
        return sum(line.charge_nano_usd for line in self.usage)

    @property
    def closing_nano_usd(self) -> int:
        return self.opening_nano_usd + self.top_ups_nano_usd + self.other_nano_usd - self.charge_nano_usd

    @property
    def difference_nano_usd(self) -> int:
        """What the wallet has more than this statement and all later changes explain; always 0.

        Paid money and promotional credit each: what one has too much of does not make up for the other.
        """
        whole = self.wallet_nano_usd - self.closing_nano_usd - self.later_nano_usd
        promo = self.promo_wallet_nano_usd - self.promo_closing_nano_usd - self.promo_later_nano_usd
        return whole or promo

    def movements(self) -> list[Movement]:
        """Day by day: what was paid in, then what was used, each with the balance after it."""
        changes = [
            (
                entry.at.astimezone(UTC).date(),
                0,
                entry.kind,
                entry.description or entry.name,
                entry.reference,
                entry.amount_nano_usd,
                entry.amount_nano_usd if entry.is_promotional else 0,
            )
            for entry in self.entries
        ] + [
            (line.day, 1, "usage", _words(line), line.api_key_prefix, -line.charge_nano_usd, -line.promo_nano_usd)
            for line in self.usage
        ]
        balance = self.opening_nano_usd
        movements = []
        for day, _, kind, description, reference, amount, promo in sorted(changes, key=lambda change: change[:2]):
            balance += amount
            movements.append(
                Movement(
                    day=day,
                    kind=kind,
                    description=description,
                    reference=reference,
                    amount_nano_usd=amount,
                    promo_nano_usd=promo,
                    balance_nano_usd=balance,
                )
            )
        return movements


@dataclass(frozen=True, kw_only=True, slots=True)
class DaySum:
    """One UTC day of a statement, for people: what came in, what was used and what was left."""

    day: date
    credited_nano_usd: int
    payments: int
    charge_nano_usd: int
    balance_nano_usd: int


def of_month(customer: Customer, month: date, *, now: datetime) -> Statement:
    """The statement as the database has it in one moment; `month` is the first day of a UTC month."""
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    after = next_month(month)
    end = datetime(after.year, after.month, 1, tzinfo=UTC)
    values: dict[str, int | date] = {
        "customer": customer.pk,
        "start": start,
        "end": end,
        "first_day": start.date(),
        "end_day": end.date(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_ONE_MOMENT, values)
        rows = cursor.fetchall()
    sums = {
        what: (int(amount), int(promo)) for what, amount, promo, *_ in rows if what in ("opening", "later", "wallet")
    }
    return Statement(
        customer_id=customer.pk,
        customer_name=customer.name,
        month=start.date(),
        made_at=now,
        opening_nano_usd=sums["opening"][0],
        promo_opening_nano_usd=sums["opening"][1],
        entries=tuple(_entry(row) for row in rows if row[0] == "entry"),
        usage=tuple(_usage_line(row) for row in rows if row[0] == "usage"),
        later_nano_usd=sums["later"][0],
        promo_later_nano_usd=sums["later"][1],
        wallet_nano_usd=sums["wallet"][0],
        promo_wallet_nano_usd=sums["wallet"][1],
    )


def days(statement: Statement) -> list[DaySum]:
    """The days of a statement on which something moved."""
    moved = sorted(
        {line.day for line in statement.usage} | {entry.at.astimezone(UTC).date() for entry in statement.entries}
    )
    balance = statement.opening_nano_usd
    sums = []
    for day in moved:
        credited = sum(entry.amount_nano_usd for entry in statement.entries if entry.at.astimezone(UTC).date() == day)
        lines = [line for line in statement.usage if line.day == day]
        charge = sum(line.charge_nano_usd for line in lines)
        balance += credited - charge
        sums.append(
            DaySum(
                day=day,
                credited_nano_usd=credited,
                payments=sum(line.payments for line in lines),
                charge_nano_usd=charge,
                balance_nano_usd=balance,
            )
        )
    return sums


@dataclass(frozen=True, kw_only=True, slots=True)
class MonthSum:
    """One line of the list of statements."""

    month: date
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
                final=now.astimezone(UTC).date() >= next_month(month),
                credited_nano_usd=credited,
                charge_nano_usd=charge,
                closing_nano_usd=closing,
            )
        )
    return found[::-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A month's usage under one label, kind, key and counterparty."""

    label: str
    kind: str
    api_key: str
    counterparty: str
    payments: int
    cost_wei: int
    cost_nano_usd: int
    charge_nano_usd: int


def groups(statement: Statement) -> list[Group]:
    """The month's usage added up over its days, the dearest first."""
    lines: dict[tuple[str, str, str, str, str], list[UsageLine]] = {}
    for line in statement.usage:
        key = (line.label, line.kind, line.api_key, line.api_key_prefix, line.counterparty)
        lines.setdefault(key, []).append(line)
    found = [
        Group(
            label=label,
            kind=kind,
            api_key=api_key,
            counterparty=counterparty,
            payments=sum(line.payments for line in of_group),
            cost_wei=sum(line.cost_wei for line in of_group),
            cost_nano_usd=sum(line.cost_nano_usd for line in of_group),
            charge_nano_usd=sum(line.charge_nano_usd for line in of_group),
        )
        for (label, kind, api_key, _, counterparty), of_group in lines.items()
    ]
    return sorted(found, key=lambda group: (-group.charge_nano_usd, group.label, group.api_key, group.counterparty))


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


def _words(line: UsageLine) -> str:
    payments = "1 payment" if line.payments == 1 else f"{line.payments:,} payments"
    return f"{line.label or line.kind or 'pixels'}, {payments} to {line.counterparty}, key {line.api_key}"


def _entry(row: Any) -> Entry:
    _, amount, _, at, kind, description, reference, *_ = row
    return Entry(at=at, kind=kind, description=description, reference=reference, amount_nano_usd=int(amount))


def _usage_line(row: Any) -> UsageLine:
    _, charge, promo, _, kind, label, counterparty, day, key, prefix, payments, quantity, cost_wei, cost_nano_usd = row
    return UsageLine(
        day=day,
        api_key=key,
        api_key_prefix=prefix,
        label=label,
        kind=kind,
        counterparty=counterparty,
        payments=int(payments),
        quantity=int(quantity),
        cost_wei=int(cost_wei),
        cost_nano_usd=int(cost_nano_usd),
        charge_nano_usd=int(charge),
        promo_nano_usd=int(promo),
    )


# One statement of SQL is one snapshot: what is committed meanwhile is either in all of its sums or in none.
_ONE_MOMENT = """
WITH entries AS (
    SELECT *, CASE WHEN kind IN ('grant', 'grant_expired') THEN amount_nano_usd ELSE 0 END AS promo_nano_usd
    FROM billing_walletentry WHERE customer_id = %(customer)s
), lines AS (
    SELECT * FROM billing_usage_by_day WHERE customer_id = %(customer)s
), rows AS (
    SELECT 'opening' AS what,
           coalesce((SELECT sum(amount_nano_usd) FROM entries WHERE created_at < %(start)s), 0)
           - coalesce((SELECT sum(charge_nano_usd) FROM lines WHERE day < %(first_day)s), 0) AS amount,
           coalesce((SELECT sum(promo_nano_usd) FROM entries WHERE created_at < %(start)s), 0)
           - coalesce((SELECT sum(promo_nano_usd) FROM lines WHERE day < %(first_day)s), 0) AS promo,
           NULL::timestamptz AS at, NULL AS kind, NULL AS description, NULL AS reference, NULL::date AS day,
           NULL AS key_name, NULL AS key_prefix, NULL::bigint AS payments, NULL::bigint AS quantity,
           NULL::numeric AS cost_wei, NULL::bigint AS cost_nano_usd
    UNION ALL
    SELECT 'later',
           coalesce((SELECT sum(amount_nano_usd) FROM entries WHERE created_at >= %(end)s), 0)
           - coalesce((SELECT sum(charge_nano_usd) FROM lines WHERE day >= %(end_day)s), 0),
           coalesce((SELECT sum(promo_nano_usd) FROM entries WHERE created_at >= %(end)s), 0)
           - coalesce((SELECT sum(promo_nano_usd) FROM lines WHERE day >= %(end_day)s), 0),
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    UNION ALL
    SELECT 'wallet',
           coalesce((SELECT available_nano_usd FROM billing_wallet WHERE customer_id = %(customer)s), 0),
           coalesce((SELECT promo_nano_usd FROM billing_wallet WHERE customer_id = %(customer)s), 0),
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    UNION ALL
    SELECT 'entry', amount_nano_usd, promo_nano_usd, created_at, kind, description, reference,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM entries WHERE created_at >= %(start)s AND created_at < %(end)s
    UNION ALL
    SELECT 'usage', sum(l.charge_nano_usd), sum(l.promo_nano_usd), NULL, l.kind, l.label, l.counterparty, l.day, k.name,
           k.prefix, sum(l.payments), sum(l.quantity), sum(l.cost_wei), sum(l.cost_nano_usd)
    FROM lines l JOIN accounts_apikey k ON k.id = l.api_key_id
    WHERE l.day >= %(first_day)s AND l.day < %(end_day)s
    GROUP BY l.kind, l.label, l.counterparty, l.day, k.id, k.name, k.prefix
)
SELECT * FROM rows ORDER BY at, day, key_name, key_prefix, description, kind, reference
"""

_MONTHS = """
SELECT month, sum(credited), sum(charge) FROM (
    SELECT date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS month, amount_nano_usd AS credited, 0 AS charge
    FROM billing_walletentry WHERE customer_id = %(customer)s
    UNION ALL
    SELECT date_trunc('month', day)::date, 0, charge_nano_usd FROM billing_usage_by_day WHERE customer_id = %(customer)s
) x GROUP BY month
"""
