"""Payouts: money that left the provider's balance for our bank, and what came back of it.

Booked as soon as the provider has made one, reversed when it fails or is canceled; the bank's own line then clears
account 1120 (billing/bank_transfers.py).
"""

from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from billing import display, ledger, postings, stripe_gateway
from billing.models import BalanceTransaction, Payout
from billing.money import NANO_USD_PER_CENT, share_rounded_down

RETURNED = (Payout.Status.FAILED, Payout.Status.CANCELED)


class NotCovered(Exception):
    """A payout in another currency whose incoming payments are not all explained yet: its worth is not known."""


def sync(payout_id: str) -> None:
    """Brings our row and the books up to what the provider says of this payout.

    Raises NotCovered, stripe_gateway.Unavailable and Refused; calling again is right each time.
    """
    found = stripe_gateway.payout(payout_id)
    with transaction.atomic(durable=True):
        row = _row(found)
        if row.value_nano_usd is None:
            _book(row)
        if row.status in RETURNED:
            _book_return(row)
    if found.automatic and row.status not in RETURNED and not row.content_read:
        _note_content(payout_id)


def _row(found: stripe_gateway.Payout) -> Payout:
    """The row as it stands now, locked. What came back never leaves again, however late an older answer arrives."""
    Payout.objects.bulk_create(
        [
            Payout(
                id=found.id,
                amount_cents=found.amount_cents,
                currency=found.currency,
                status=found.status,
                automatic=found.automatic,
                failure=found.failure[:80],
                trace=found.trace[:120],
                created_at=found.created_at,
                arrives_at=found.arrives_at,
            )
        ],
        ignore_conflicts=True,
    )
    Payout.objects.filter(id=found.id).exclude(status__in=RETURNED).update(
        status=found.status,
        failure=found.failure[:80],
        trace=found.trace[:120],
        arrives_at=found.arrives_at,
        synced_at=timezone.now(),
    )
    return Payout.objects.select_for_update().get(id=found.id)


def _book(row: Payout) -> None:
    row.value_nano_usd = _value_nano_usd(row)
    ledger.book(
        kind="payout",
        reference=f"stripe:{row.id}",
        occurred_at=row.created_at,
        transfers=postings.payout(payout_id=row.id, value_nano_usd=row.value_nano_usd, currency=row.currency),
        description=f"Payout to the bank, {display.cents_text(row.amount_cents, row.currency)}",
    )
    Payout.objects.filter(id=row.id).update(value_nano_usd=row.value_nano_usd)


def _book_return(row: Payout) -> None:
    assert row.value_nano_usd is not None, "it was booked in this transaction or before"
    ledger.book(
        kind="payout_return",
        reference=f"stripe:{row.id}:returned",
        occurred_at=timezone.now(),
        transfers=postings.payout_return(payout_id=row.id, value_nano_usd=row.value_nano_usd, currency=row.currency),
        description=f"Payout that came back: {row.failure or row.status}",
    )


def _value_nano_usd(row: Payout) -> int:
    """Dollars as they are; another currency takes its share of what its balance is carried at along."""
    if row.currency == "usd":
        return row.amount_cents * NANO_USD_PER_CENT
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('billing_payout_' || %s))", [row.currency])
    explained = BalanceTransaction.objects.filter(currency=row.currency, explained_at__isnull=False)
    sums = explained.aggregate(cents=Sum("net_cents"), nano_usd=Sum("value_nano_usd"))
    waiting = Payout.objects.filter(currency=row.currency, value_nano_usd__isnull=False).exclude(
        id__in=explained.values("subject")
    )
    left = waiting.exclude(status__in=RETURNED).aggregate(cents=Sum("amount_cents"), nano_usd=Sum("value_nano_usd"))
    cents = (sums["cents"] or 0) - (left["cents"] or 0)
    nano_usd = (sums["nano_usd"] or 0) - (left["nano_usd"] or 0)
    if cents < row.amount_cents:
        raise NotCovered(f"{row.id} takes money whose payments were not all read yet; the next reading brings them.")
    return share_rounded_down(nano_usd, part=row.amount_cents, whole=cents)


def _note_content(payout_id: str) -> None:
    """Which movements an automatic payout took to the bank, for whoever compares bank and provider."""
    ids = stripe_gateway.movements_in(payout_id)
    known = BalanceTransaction.objects.filter(id__in=ids).update(payout_id=payout_id)
    Payout.objects.filter(id=payout_id).update(content_read=known == len(ids))
