"""What the provider's tax reports are to be told of a document: rows, written with it in its own transaction."""

import logging

from django.db.models import Sum
from django.utils import timezone

from billing.models import Document, TaxMode, TaxRecord, TopUp, TopUpTax

log = logging.getLogger(__name__)

Kind = TaxRecord.Kind
State = TaxRecord.State


def due(document: Document) -> None:
    """Writes down what is to be told of a receipt, credit note or debit note; nothing of what the provider knows.

    Of payments on its own page the provider keeps the records itself, and of their refunds as well.
    """
    top_up = document.top_up
    if top_up is None or top_up.method == TopUp.Method.CHECKOUT or document.kind == Document.Kind.PRO_FORMA:
        return
    if not TopUpTax.objects.filter(top_up=top_up, mode=TaxMode.Mode.AT_TOP_UP).exists():
        return
    if document.kind == Document.Kind.CREDIT_NOTE:
        _reverse(document, top_up)
    else:
        _write(document, top_up, Kind.SALE, document.net_cents, document.tax_cents)


def ask_again(record: TaxRecord) -> bool:
    """Lets the clock tell a refused row once more; False when it is not refused (any more)."""
    again = TaxRecord.objects.filter(pk=record.pk, state=State.REFUSED)
    return bool(again.update(state=State.DUE, not_before=timezone.now()))


def _reverse(note: Document, top_up: TopUp) -> None:
    """A credit note takes from the sales of its payment what they still hold, the newest first."""
    net, tax = note.net_cents, note.tax_cents
    sales = TaxRecord.objects.filter(top_up=top_up, kind=Kind.SALE).order_by("-id")
    for place, sale in enumerate(sales, start=1):
        back = sale.reversals.aggregate(net=Sum("net_cents"), tax=Sum("tax_cents"))
        part = min(net, sale.net_cents - (back["net"] or 0))
        share = tax if part == net else (2 * tax * part + net) // (2 * net)
        share = min(share, sale.tax_cents - (back["tax"] or 0))
        if part or share:
            _write(note, top_up, Kind.REVERSAL, part, share, original=sale, place=place)
            net, tax = net - part, tax - share
        if not net and not tax:
            return
    log.error("credit note %s gives back %s and %s cents that no recorded sale holds", note.number, net, tax)


def _write(
    document: Document,
    top_up: TopUp,
    kind: TaxRecord.Kind,
    net_cents: int,
    tax_cents: int,
    *,
    original: TaxRecord | None = None,
    place: int = 1,
) -> None:
    """The reference is ours alone and stays: the provider takes each of them once."""
    name = f"{document.number}-{str(top_up.pk)[:8]}"
    TaxRecord.objects.create(
        document=document,
        top_up=top_up,
        reference=name if place == 1 else f"{name}-{place}",
        kind=kind,
        original=original,
        currency=document.currency,
        net_cents=net_cents,
        tax_cents=tax_cents,
    )
