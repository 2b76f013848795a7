"""The usage and movements of a statement added up for people: by day, and by work, key and orchestrator."""

from dataclasses import dataclass
from datetime import UTC, date

from billing.statements.statement import Statement, UsageLine


@dataclass(frozen=True, kw_only=True, slots=True)
class DaySum:
    """One UTC day of a statement, for people: what came in, what was used and what was left."""

    day: date
    credited_nano_usd: int
    payments: int
    charge_nano_usd: int
    balance_nano_usd: int


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
