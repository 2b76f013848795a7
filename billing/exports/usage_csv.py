"""Single charges as CSV, one line a payment."""

from collections.abc import Iterable, Iterator

from billing.exports import cells
from billing.models import Usage

COLUMNS = (
    "id",
    "time",
    "api_key",
    "api_key_prefix",
    "session",
    "label",
    "kind",
    "orchestrator",
    "quantity",
    "unit",
    "billed_units",
    "fee_wei",
    "cost_wei",
    "eth_usd_rate",
    "cost_usd",
    "markup_bps",
    "charge_usd",
    "charge_nano_usd",
)


def lines(charges: Iterable[Usage]) -> Iterator[str]:
    return cells.csv_lines(COLUMNS, (_row(charge) for charge in charges))


def _row(charge: Usage) -> tuple[object, ...]:
    return (
        charge.id,
        charge.at.isoformat(timespec="milliseconds"),
        cells.text(charge.api_key.name),
        charge.api_key.prefix,
        charge.source,
        cells.text(charge.label),
        charge.kind,
        charge.counterparty,
        charge.quantity,
        charge.unit,
        int(charge.billed_units),
        charge.fee_wei,
        charge.cost_wei,
        cells.usd_exact(charge.rate.nano_usd_per_eth),
        cells.usd_exact(charge.cost_nano_usd),
        charge.markup_bps,
        cells.usd_exact(charge.charge_nano_usd),
        charge.charge_nano_usd,
    )
