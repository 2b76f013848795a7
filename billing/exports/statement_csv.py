"""A month's statement as CSV: opening + every amount = closing, nine decimals; below, what is beside the balance."""

from collections.abc import Iterator
from datetime import timedelta

from billing.exports import cells
from billing.statements import Statement

COLUMNS = ("date", "type", "description", "reference", "amount_usd", "balance_usd", "of_which_promotional_usd")


def lines(statement: Statement) -> Iterator[str]:
    """The file line by line; the opening and closing rows carry a balance and no amount.

    What is promotional is of the amount, and of the balance in the opening and closing rows. Rows after the closing one
    (`kept_aside`, `refunding`, `owed`) have a balance of their own, which is no part of the account's.
    """
    return cells.csv_lines(COLUMNS, _rows(statement))


def _rows(statement: Statement) -> Iterator[tuple[object, ...]]:
    opening, closing = statement.opening_nano_usd, statement.closing_nano_usd
    first, promo = statement.month.isoformat(), cells.usd_exact(statement.promo_opening_nano_usd)
    yield first, "opening", "Opening balance", statement.number, "", cells.usd_exact(opening), promo
    for line in statement.movements():
        yield (
            line.day.isoformat(),
            line.kind,
            cells.text(line.description),
            cells.text(line.reference),
            cells.usd_exact(line.amount_nano_usd),
            cells.usd_exact(line.balance_nano_usd),
            cells.usd_exact(line.promo_nano_usd),
        )
    last = min(statement.end - timedelta(days=1), statement.made_at.date()).isoformat()
    promo = cells.usd_exact(statement.promo_closing_nano_usd)
    yield last, "closing", "Closing balance", statement.number, "", cells.usd_exact(closing), promo
    for kind, name, nano_usd in statement.beside.lines():
        yield last, kind, f"{name}, no part of the balance", statement.number, "", cells.usd_exact(nano_usd), ""
