"""The general ledger as CSV: two lines a transfer, exact decimals beside whole nano-dollars and wei."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from billing import postings
from billing.exports import cells

COLUMNS = (
    "journal_id",
    "booked_at",
    "occurred_at",
    "kind",
    "reference",
    "account_no",
    "account_name",
    "party",
    "asset",
    "debit",
    "credit",
    "debit_nano_usd_or_wei",
    "credit_nano_usd_or_wei",
    "customer",
    "description",
)
_PAGE = 5_000


def lines(*, start: datetime, end: datetime) -> Iterator[str]:
    """Every line of the journals that occurred from `start` until before `end`, in the order they were booked.

    Debits and credits of each asset add up to the same. Read through a cursor of the server in one snapshot.
    """
    return cells.csv_lines(COLUMNS, _rows(start, end))


def _rows(start: datetime, end: datetime) -> Iterator[tuple[object, ...]]:
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(_QUERY, [start, end])
        while page := cursor.fetchmany(_PAGE):
            for row in page:
                yield _row(row, debit=True)
                yield _row(row, debit=False)


def _row(row: Any, *, debit: bool) -> tuple[object, ...]:
    journal, booked, occurred, kind, reference, customer, description, asset, amount, *sides = row
    number, party = sides[0:2] if debit else sides[2:4]
    amount = int(amount)
    exact = cells.usd_exact(amount) if asset == "USD" else cells.eth_exact(amount)
    return (
        journal,
        booked.isoformat(),
        occurred.isoformat(),
        kind,
        cells.text(reference),
        number,
        postings.CHART[number][0],
        party,
        asset,
        exact if debit else "",
        "" if debit else exact,
        amount if debit else "",
        "" if debit else amount,
        "" if customer is None else customer,
        cells.text(description),
    )


_QUERY = """
SELECT j.id, j.booked_at, j.occurred_at, j.kind, j.reference, j.customer_id, j.description, d.asset,
       coalesce(t.amount_nano_usd, t.amount_wei), d.number, d.party, c.number, c.party
FROM billing_journal j
JOIN billing_transfer t ON t.journal_id = j.id
JOIN billing_ledgeraccount d ON d.id = t.debit_id
JOIN billing_ledgeraccount c ON c.id = t.credit_id
WHERE j.occurred_at >= %s AND j.occurred_at < %s
ORDER BY j.id, t.id
"""
