"""The tie-out of our balance at the provider as CSV: a line a movement, columns named as the provider's own report."""

from collections.abc import Iterator
from datetime import UTC, datetime

from billing.exports import cells
from billing.models import BalanceTransaction
from billing.reconciliation import tie_out

COLUMNS = (
    *("balance_transaction_id", "created_utc", "currency", "gross", "fee", "net", "reporting_category", "source_id"),
    *("description", "customer_id", "charge_id", "payment_intent_id", "payout_id", "journal_ids", "difference_usd"),
)


def lines(*, start: datetime, end: datetime) -> Iterator[str]:
    """What was created in [start, end), the oldest first; the difference is what our books lack, in dollars."""
    return cells.csv_lines(COLUMNS, _rows(start, end))


def _rows(start: datetime, end: datetime) -> Iterator[tuple[object, ...]]:
    differing = {each.movement.id: each.difference_nano_usd for each in tie_out.unexplained(limit=100_000)}
    movements = BalanceTransaction.objects.filter(created_at__gte=start, created_at__lt=end)
    for each in movements.prefetch_related("journals").order_by("created_at", "id").iterator(chunk_size=1_000):
        difference = differing.get(each.id, 0)
        yield (
            each.id,
            f"{each.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            each.currency,
            _major(each.amount_cents),
            _major(each.fee_cents),
            _major(each.net_cents),
            each.reporting_category,
            each.source_id,
            cells.text(each.description),
            each.provider_customer_id,
            each.charge_id,
            each.payment_intent_id,
            each.payout_id,
            " ".join(str(link.journal_id) for link in each.journals.all()),
            "unknown" if difference is None else cells.usd_exact(difference),
        )


def _major(cents: int) -> str:
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02d}"
