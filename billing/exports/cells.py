"""What a cell of an export may hold: exact amounts and text that no spreadsheet takes for a formula; pure."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from billing.display import eth_exact, usd_exact

__all__ = ["csv_lines", "eth_exact", "text", "usd_exact"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def text(value: str) -> str:
    """`value`, with an apostrophe before what a spreadsheet would run as a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A CSV file line by line (RFC 4180), so that a long one never stands in memory."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    yield buffer.getvalue()
    for row in rows:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(row)
        yield buffer.getvalue()
