"""A month of the books as one archive: general ledger, trial balance, roll-forwards and a sha256 manifest."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from typing import IO, Any

from billing import month_end
from billing.exports import cells, general_ledger
from billing.month_end import MonthEnd, TrialBalance

_NO_CLOCK = (1980, 1, 1, 0, 0, 0)  # the same content is the same archive
_TRIAL_BALANCE = (
    "account",
    "account_name",
    "asset",
    "opening",
    "debit",
    "credit",
    "closing",
    "closing_nano_usd_or_wei",
)
_ROLL_FORWARD = ("subject", "line", "asset", "amount", "amount_nano_usd_or_wei")


def write(target: IO[bytes], month: date, *, now: datetime) -> dict[str, Any]:
    """Writes the archive for the month that begins on `month` and returns its manifest.

    It is `final` once the month is closed, its usage is posted, and provider and chain were read beyond it.
    """
    is_reached = month_end.is_reached(month, now=now)
    figures, (start, end) = month_end.read(month), month_end.bounds(month)
    files: list[dict[str, Any]] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in (
            ("general-ledger.csv", general_ledger.lines(start=start, end=end)),
            ("trial-balance.csv", trial_balance(figures)),
            ("roll-forward.csv", roll_forward(figures)),
        ):
            files.append(_add(archive, name, lines))
        manifest = {
            "month": f"{month:%Y-%m}",
            "final": is_reached and not figures.liability.unposted_nano_usd,
            "agrees": figures.agrees,
            "files": files,
        }
        _add(archive, "manifest.json", iter([json.dumps(manifest, indent=2)]))
    return manifest


def trial_balance(figures: MonthEnd) -> Iterator[str]:
    """CSV: one row an account and asset; openings and closings of an asset add up to 0, debits equal credits."""
    return cells.csv_lines(_TRIAL_BALANCE, _balance_rows(figures.usd, figures.eth))


def roll_forward(figures: MonthEnd) -> Iterator[str]:
    """CSV: opening + movements = closing, of what is owed to customers, of the deposit and of the reserve."""
    return cells.csv_lines(_ROLL_FORWARD, _roll_rows(figures))


def _balance_rows(*balances: TrialBalance) -> Iterator[tuple[object, ...]]:
    for balance in balances:
        exact = cells.usd_exact if balance.asset == "USD" else cells.eth_exact
        for line in balance.lines:
            amounts = (line.opening, line.debits, line.credits, line.closing)
            yield line.number, line.name, line.asset, *(exact(amount) for amount in amounts), line.closing


def _roll_rows(figures: MonthEnd) -> Iterator[tuple[object, ...]]:
    owed = figures.liability
    for line, nano_usd in (
        ("opening", owed.opening_nano_usd),
        ("top_ups", owed.top_ups_nano_usd),
        ("usage", -owed.usage_nano_usd),
        ("other", owed.other_nano_usd),
        ("closing", owed.closing_nano_usd),
        ("usage_not_posted_yet", -owed.unposted_nano_usd),
        ("wallets", owed.wallets_nano_usd),
        ("difference", owed.difference_nano_usd),
    ):
        yield "customers", line, "USD", cells.usd_exact(nano_usd), nano_usd
    for pool in figures.pools:
        for line, wei in (
            ("opening", pool.opening_wei),
            ("funded", pool.funded_wei),
            ("redeemed", -pool.redeemed_wei),
            ("withdrawn", -pool.withdrawn_wei),
            ("other", pool.other_wei),
            ("closing", pool.closing_wei),
            ("difference", pool.difference_wei),
        ):
            yield pool.number, line, "ETH", cells.eth_exact(wei), wei


def _add(archive: zipfile.ZipFile, name: str, lines: Iterator[str]) -> dict[str, Any]:
    """Streams a file into the archive; returns its entry of the manifest."""
    entry = zipfile.ZipInfo(name, date_time=_NO_CLOCK)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    digest, size, rows = hashlib.sha256(), 0, -1
    with archive.open(entry, "w", force_zip64=True) as file:
        for line in lines:
            content = line.encode()
            digest.update(content)
            size += len(content)
            rows += 1
            file.write(content)
    return {"name": name, "bytes": size, "rows": rows, "sha256": digest.hexdigest()}
