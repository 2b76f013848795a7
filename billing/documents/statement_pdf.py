"""The PDF of a statement: what the template prints, as ready text."""

from datetime import UTC, date, datetime
from typing import Any

from accounts import moments
from billing import display, work
from billing.documents import typesetter
from billing.statements import Statement, days, groups


def render(statement: Statement) -> bytes:
    """The same statement gives the same bytes."""
    end = statement.end
    dated = min(statement.made_at, datetime(end.year, end.month, end.day, tzinfo=UTC))
    return typesetter.pdf("statement.typ", _data(statement, dated), dated=dated)


def _data(statement: Statement, dated: datetime) -> dict[str, Any]:
    usd = display.usd_text
    return {
        "number": statement.number,
        "month": f"{statement.month:%B %Y}",
        "customer": statement.customer_name,
        "made": moments.minute(dated.astimezone(UTC)) + " UTC",
        "over": statement.over,
        "final": statement.final,
        "period": f"1 to {_last_day(statement)} {statement.month:%B %Y}, UTC",
        "opening": usd(statement.opening_nano_usd),
        "top_ups": usd(statement.top_ups_nano_usd),
        "other": usd(statement.other_paid_nano_usd) if statement.other_paid_nano_usd else "",
        "promo": _promo(statement) if statement.has_promo else None,
        "beside": [{"what": name, "amount": display.nano_text(nano)} for _, name, nano in statement.beside.lines()],
        "usage": usd(-statement.charge_nano_usd),
        "closing": usd(statement.closing_nano_usd),
        "closing_exact": display.nano_text(statement.closing_nano_usd),
        "payments": f"{statement.payments:,}",
        "cost_eth": display.eth_exact(statement.cost_wei),
        "cost": display.nano_text(statement.cost_nano_usd),
        "fee": display.nano_text(statement.charge_nano_usd - statement.cost_nano_usd),
        "charge": display.nano_text(statement.charge_nano_usd),
        "entries": [
            {
                "date": moments.minute(entry.at.astimezone(UTC)),
                "description": entry.description or entry.name,
                "reference": entry.reference,
                "amount": usd(entry.amount_nano_usd),
            }
            for entry in statement.entries
        ],
        "days": [
            {
                "date": _day(line.day),
                "payments": f"{line.payments:,}",
                "credited": usd(line.credited_nano_usd) if line.credited_nano_usd else "",
                "charge": display.nano_text(-line.charge_nano_usd) if line.charge_nano_usd else "",
                "balance": display.nano_text(line.balance_nano_usd),
            }
            for line in days(statement)
        ],
        "lines": [
            {
                "what": work.work_name(group.label, group.kind),
                "kind": work.kind_word(group.kind),
                "key": group.api_key,
                "counterparty": group.counterparty,
                "payments": f"{group.payments:,}",
                "cost_eth": display.eth_exact(group.cost_wei),
                "charge": display.nano_text(group.charge_nano_usd),
            }
            for group in groups(statement)
        ],
    }


def _promo(statement: Statement) -> dict[str, str]:
    """The part of the account that is promotional credit."""
    exact = display.nano_text
    given = statement.promo_given_nano_usd - statement.promo_ended_nano_usd
    return {
        "change": display.usd_text(given) if given else "",
        "opening": exact(statement.promo_opening_nano_usd),
        "given": exact(statement.promo_given_nano_usd),
        "ended": exact(-statement.promo_ended_nano_usd),
        "used": exact(-statement.promo_used_nano_usd),
        "closing": exact(statement.promo_closing_nano_usd),
        "paid": exact(statement.closing_nano_usd - statement.promo_closing_nano_usd),
    }


def _last_day(statement: Statement) -> int:
    return (statement.end - date.resolution).day


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"
