"""Issues documents inside the transaction that books what they tell of; each is asked for by a reference, once."""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from billing import tax_records
from billing.documents import buyers, document_tax, numbering, sellers, snapshot
from billing.documents.snapshot import Content, Line, Party
from billing.models import Document, DocumentMail, Journal, LegalEntity, TopUp, Transfer

log = logging.getLogger(__name__)

TAX_PAYABLE = 2200
PREPAID = "Prepaid balance for network services"


class NotPaid(Exception):
    """A receipt was asked for a top-up that is not paid or not booked."""


def issue_receipt(top_up: TopUp, *, journal_id: int | None = None) -> Document:
    """The receipt of a paid top-up, issued on the first call; with it the wish to mail it.

    Call it last in the transaction that books `journal_id` (found by the payment when left out). Raises NotPaid.
    """
    reference = f"receipt:{top_up.pk}"
    top_up = locked(top_up)
    known = Document.objects.filter(reference=reference).first()
    if known:
        return known
    paid_at = top_up.settled_at
    journal = payment_journal(top_up, journal_id)
    if top_up.status != TopUp.Status.PAID or journal is None or paid_at is None:
        raise NotPaid(str(top_up.pk))
    entity = sellers.current()
    content = Content(
        kind=Document.Kind.RECEIPT,
        issued_at=timezone.now(),
        supplied_at=paid_at,
        seller=seller_now(entity, document_tax.registered_as(entity, top_up)),
        buyer=buyers.of(top_up.customer, document_tax.evidence(top_up)),
        lines=[Line(description=PREPAID, net_cents=top_up.net_cents)],
        tax=document_tax.lines(top_up),
        currency=top_up.currency,
        net_cents=top_up.net_cents,
        tax_cents=top_up.tax_cents,
        notes=document_tax.notes(top_up),
        national=document_tax.national(top_up, tax_nano_usd=booked(journal)[0]),
        payment={
            "method": top_up.card,
            "order": buyers.purchase_order(top_up.customer),
            "paid_at": snapshot.moment(paid_at),
        },
        references={"top_up": str(top_up.pk), "payment": top_up.payment_intent_id or "", "journal": str(journal.pk)},
    )
    return write(entity, content, reference=reference, top_up=top_up, journal=journal)


def issue_pro_forma(top_up: TopUp, *, pay_to: dict[str, str], due_at: datetime) -> Document:
    """An offer to pay by bank transfer, mailed as receipts are.

    `pay_to` are the lines of the account and the payment reference.
    """
    reference = f"pro_forma:{top_up.pk}"
    known = Document.objects.filter(reference=reference).first()
    if known:
        return known
    entity = sellers.current()
    content = Content(
        kind=Document.Kind.PRO_FORMA,
        issued_at=timezone.now(),
        supplied_at=due_at,
        seller=seller_now(entity),
        buyer=buyers.of(top_up.customer),
        lines=[Line(description=PREPAID, net_cents=top_up.net_cents)],
        tax=document_tax.lines(top_up),
        currency=top_up.currency,
        net_cents=top_up.net_cents,
        tax_cents=top_up.tax_cents,
        notes=[
            "This is a request for payment, not an invoice. The receipt follows when the money has arrived.",
            *document_tax.notes(top_up),
        ],
        payment={"order": buyers.purchase_order(top_up.customer), **pay_to},
        references={"top_up": str(top_up.pk)},
    )
    return write(entity, content, reference=reference, top_up=top_up, journal=None)


def issue_missing_receipts(*, limit: int = 500) -> int:
    """Receipts for paid top-ups that have none, the oldest first; returns how many were issued."""
    without = TopUp.objects.filter(status=TopUp.Status.PAID).exclude(documents__kind=Document.Kind.RECEIPT)
    issued = 0
    for top_up in without.order_by("settled_at")[:limit]:
        try:
            with transaction.atomic(durable=True):
                issue_receipt(top_up)
            issued += 1
        except NotPaid:
            log.error("top-up %s is paid and not in the books; it gets no receipt", top_up.pk)
    return issued


def locked(top_up: TopUp) -> TopUp:
    """The row as it is now, held until the transaction ends: its documents are written one after the other."""
    rows = TopUp.objects.select_for_update(no_key=True, of=("self",)).select_related("customer", "created_by")
    return rows.get(pk=top_up.pk)


def write(
    entity: LegalEntity,
    content: Content,
    *,
    reference: str,
    top_up: TopUp,
    journal: Journal | None,
    corrects: Document | None = None,
) -> Document:
    """Takes the next number and writes the document, the wish to mail it, and what is to be told of its tax."""
    kind = Document.Kind(content.kind)
    tax_nano_usd, total_nano_usd = booked(journal)
    number = numbering.take(entity, kind, issued_at=content.issued_at)
    built = snapshot.build(content, number=str(number))
    document = Document.objects.create(
        entity=entity,
        kind=kind,
        year=number.year,
        sequence=number.sequence,
        number=str(number),
        reference=reference,
        customer=top_up.customer,
        top_up=top_up,
        corrects=corrects,
        journal=journal,
        currency=content.currency,
        net_cents=content.net_cents,
        tax_cents=content.tax_cents,
        total_cents=content.net_cents + content.tax_cents,
        tax_nano_usd=tax_nano_usd,
        total_nano_usd=total_nano_usd,
        snapshot=built,
        snapshot_sha256=snapshot.sha256(built),
        issued_at=content.issued_at,
    )
    tax_records.due(document)
    DocumentMail.objects.create(document=document, to=mail_address(top_up))
    return document


def booked(journal: Journal | None) -> tuple[int, int]:
    """(tax, total) in nano-dollars that a journal moved; the tax is what touched account 2200."""
    if journal is None:
        return 0, 0
    legs = Transfer.objects.filter(journal=journal, amount_wei=None).select_related("debit", "credit")
    moved = [(TAX_PAYABLE in (leg.debit.number, leg.credit.number), leg.amount_nano_usd or 0) for leg in legs]
    return sum(nano for is_tax, nano in moved if is_tax), sum(nano for _, nano in moved)


def payment_journal(top_up: TopUp, journal_id: int | None) -> Journal | None:
    if journal_id is not None:
        return Journal.objects.get(pk=journal_id)
    return Journal.objects.filter(reference=f"stripe:{top_up.payment_intent_id}").first()


def seller_now(entity: LegalEntity, numbers: Sequence[tuple[str, str]] = ()) -> Party:
    return Party(
        name=entity.name,
        address=entity.address,
        country=entity.country,
        tax_ids=[*([("Tax id", entity.tax_id)] if entity.tax_id else []), *numbers],
        email=entity.email,
    )


def mail_address(top_up: TopUp) -> str:
    return buyers.mail_address(top_up.customer) or top_up.created_by.email
