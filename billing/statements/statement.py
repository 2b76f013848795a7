"""The statement of a month as numbers: opening, what came in, usage and closing, which add up to the nano-dollar."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from billing import work
from billing.models import WalletEntry
from billing.set_aside import SetAside
from billing.statements.months import closes_at, first_moment, is_closed, next_month


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
    `beside` is no part of any of them: what belonged to the account's money at the end, or does by now.
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
    beside: SetAside

    @property
    def number(self) -> str:
        return f"STM-{self.month:%Y-%m}-{self.customer_id:06d}"

    @property
    def end(self) -> date:
        return next_month(self.month)

    @property
    def over(self) -> bool:
        """Whether the month is over; what was under way at its end may still come."""
        return self.made_at >= first_moment(self.end)

    @property
    def closes_at(self) -> datetime:
        return closes_at(self.month)

    @property
    def final(self) -> bool:
        """Whether nothing of the month can come any more."""
        return is_closed(self.month, now=self.made_at)

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


def _words(line: UsageLine) -> str:
    payments = "1 payment" if line.payments == 1 else f"{line.payments:,} payments"
    return f"{work.work_name(line.label, line.kind)}, {payments} to {line.counterparty}, key {line.api_key}"
