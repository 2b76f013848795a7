"""A month for finance: every customer's statement as PDF and CSV in one archive, with a manifest."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from typing import IO, Any

from accounts.models import Customer
from billing import statements
from billing.documents import statement_pdf
from billing.exports import cells, statement_csv
from billing.statements import Statement


def write(target: IO[bytes], month: date, *, now: datetime) -> dict[str, Any]:
    """Writes the archive for the month that begins on `month` and returns its manifest.

    The same month gives the same bytes once it is closed. Customers without a balance, a movement or money beside the
    balance are left out.
    """
    files: list[dict[str, Any]] = []
    sums = dict.fromkeys(("opening", "top_ups", "other", "usage", "closing"), 0)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for statement in _statements(month, now):
            text = "".join(statement_csv.lines(statement))
            _add(archive, files, f"{statement.number}.csv", text.encode(), rows=text.count("\r\n") - 1)
            _add(archive, files, f"{statement.number}.pdf", statement_pdf.render(statement), rows=0)
            sums["opening"] += statement.opening_nano_usd
            sums["top_ups"] += statement.top_ups_nano_usd
            sums["other"] += statement.other_nano_usd
            sums["usage"] += statement.charge_nano_usd
            sums["closing"] += statement.closing_nano_usd
        manifest = {
            "month": f"{month:%Y-%m}",
            "final": statements.is_closed(month, now=now),
            "statements": len(files) // 2,
            "totals_usd": {name: cells.usd_exact(amount) for name, amount in sums.items()},
            "files": files,
        }
        _add(archive, [], "manifest.json", json.dumps(manifest, indent=2).encode(), rows=0)
    return manifest


def _statements(month: date, now: datetime) -> Iterator[Statement]:
    for customer in Customer.objects.order_by("id").iterator():
        statement = statements.of_month(customer, month, now=now)
        if statement.opening_nano_usd or statement.entries or statement.usage or statement.beside:
            yield statement


def _add(archive: zipfile.ZipFile, files: list[dict[str, Any]], name: str, content: bytes, *, rows: int) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # no clock: the same content is the same archive
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)
    files.append({"name": name, "bytes": len(content), "rows": rows, "sha256": hashlib.sha256(content).hexdigest()})
