"""The clock that tells the provider which tax was collected and given back, each row once."""

import logging
from collections.abc import Iterator

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from accounts import claims
from billing import stripe_gateway, taxing
from billing.models import Document, TaxRecord, TopUpTax
from billing.stripe_gateway import RecordedTax

log = logging.getLogger(__name__)

State = TaxRecord.State
LOST = "The provider has a record under this reference whose id never reached us. Look it up there."


class Differs(Exception):
    """What the provider would record is not what our document says; the text is for finance."""


def work(*, limit: int = 100) -> int:
    """Tells what waits; returns how many rows were recorded."""
    if not settings.STRIPE_SECRET_KEY:
        return 0
    recorded = 0
    for record_id in _due(limit):
        try:
            recorded += tell(record_id)
        except stripe_gateway.Unavailable as error:
            log.warning("tax record %s is told later: %s", record_id, error)
            if not isinstance(error, stripe_gateway.AnswerStuck):
                break
    return recorded


def tell(record_id: int) -> bool:
    """One row to the provider; False when it is told already or refused. Raises Unavailable.

    The reference is unique there and the idempotency key the same for each try, so a lost answer is given again.
    """
    row = TaxRecord.objects.select_related("document", "original", "top_up__customer", "top_up__created_by").get(
        pk=record_id
    )
    if row.state != State.DUE:
        return False
    try:
        told = _ask(row)
    except stripe_gateway.AnswerStuck:
        TaxRecord.objects.filter(pk=row.pk, state=State.DUE, attempt=row.attempt).update(attempt=F("attempt") + 1)
        raise
    except stripe_gateway.Refused as error:
        return _refuse(row, LOST if error.code == "resource_already_exists" else f"The provider refused: {error}")
    except (Differs, taxing.Unknown) as error:
        return _refuse(row, str(error))
    mine = TaxRecord.objects.filter(pk=row.pk, state=State.DUE).update(
        state=State.RECORDED,
        provider_id=told.id,
        line_id=told.line_id,
        told_tax_cents=told.tax_cents,
        failure="",
        recorded_at=timezone.now(),
    )
    return bool(mine)


def _ask(row: TaxRecord) -> RecordedTax:
    if row.kind == TaxRecord.Kind.SALE:
        return stripe_gateway.record_tax(calculation_id=_calculation(row), reference=row.reference, attempt=row.attempt)
    assert row.original is not None
    assert row.original.provider_id is not None
    return stripe_gateway.reverse_tax(
        original_id=row.original.provider_id,
        line_id=row.original.line_id,
        reference=row.reference,
        attempt=row.attempt,
        net_cents=row.net_cents,
        tax_cents=row.tax_cents,
    )


def _calculation(row: TaxRecord) -> str:
    """The calculation that says what the document says: the one before the payment, or a new one, kept on the row.

    A bank may have brought another amount than was asked for, and calculations end after 90 days. A new one rounds the
    whole once, so it may differ by a cent for each tax. Raises Differs and what taxing.quote raises.
    """
    if row.calculation_id:
        return row.calculation_id
    calculation_id = _first_calculation(row) or _new_calculation(row)
    TaxRecord.objects.filter(pk=row.pk, state=State.DUE, calculation_id="").update(calculation_id=calculation_id)
    row.refresh_from_db(fields=["calculation_id"])
    return row.calculation_id


def _first_calculation(row: TaxRecord) -> str:
    """The one of before the payment, while the provider keeps it and it says the same; otherwise nothing."""
    known = TopUpTax.objects.filter(top_up=row.top_up).first()
    if known is None or not known.calculation_id or row.document.kind != Document.Kind.RECEIPT:
        return ""
    try:
        found = stripe_gateway.tax_calculation(known.calculation_id)
    except stripe_gateway.Refused:
        return ""
    same = (found.total_cents, found.tax_cents) == (row.net_cents + row.tax_cents, row.tax_cents)
    return found.id if same else ""


def _new_calculation(row: TaxRecord) -> str:
    top_up = row.top_up
    found = taxing.quote(
        customer=top_up.customer,
        user=top_up.created_by,
        net_cents=row.net_cents,
        currency=row.currency,
        reference=row.reference,
    )
    if found is None or not found.calculation_id:
        raise Differs("Tax was collected, and by today's registrations none is. Record it at the provider by hand.")
    if abs(found.tax_cents - row.tax_cents) > len(found.lines):
        raise Differs(f"The document says {row.tax_cents} cents of tax, the provider calculates {found.tax_cents}.")
    return found.calculation_id


def _refuse(row: TaxRecord, why: str) -> bool:
    log.error("tax record %s is not told: %s", row.reference, why)
    TaxRecord.objects.filter(pk=row.pk, state=State.DUE).update(state=State.REFUSED, failure=why[:200])
    return False


def _due(limit: int) -> Iterator[int]:
    """One row after the other, each taken by one worker; a reversal once its sale is recorded.

    Its pause grows to an hour, so that a lost answer is asked for again while the provider still keeps it (a day).
    """
    return claims.ids(
        """
        UPDATE billing_taxrecord SET
            tries = tries + 1,
            not_before = clock_timestamp() + interval '1 minute' * least(2 ^ least(tries, 8), 60)
        WHERE id = (
            SELECT r.id FROM billing_taxrecord r LEFT JOIN billing_taxrecord s ON s.id = r.original_id
            WHERE r.state = 'due' AND r.not_before <= clock_timestamp()
              AND (s.id IS NULL OR s.state = 'recorded')
            ORDER BY r.not_before, r.id LIMIT 1 FOR UPDATE OF r SKIP LOCKED
        ) RETURNING id
        """,
        limit,
    )
