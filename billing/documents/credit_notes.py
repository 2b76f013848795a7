"""Credit notes for what is given back of a receipt, and debit notes for one whose money came back."""

import math
from fractions import Fraction
from typing import Any

from django.utils import timezone

from billing.documents import document_tax
from billing.documents.issue import booked, issue_receipt, locked, write
from billing.documents.snapshot import Content, Line, Party, TaxLine
from billing.models import Document, Journal, TopUp


class MoreThanReceived(Exception):
    """A credit note would give back more than its receipt and the credit notes before it leave."""


def issue_credit_note(
    top_up: TopUp,
    *,
    reference: str,
    net_cents: int,
    tax_cents: int,
    journal_id: int,
    reason: str,
    dispute: str = "",
) -> Document:
    """What is given back of a top-up's receipt, net and tax in its currency; the same reference gives the same note.

    Call it last in the transaction that books `journal_id`, which moves the sum of both. A top-up of before there
    were receipts gets its receipt first. `dispute` says that the payer's bank took the money, under which id.
    Raises MoreThanReceived, NotPaid.
    """
    reference = f"credit_note:{reference}"
    top_up = locked(top_up)
    known = Document.objects.filter(reference=reference).first()
    if known:
        return known
    receipt = issue_receipt(top_up)
    net_left, tax_left = left_of(receipt)
    if not (0 <= net_cents <= net_left and 0 <= tax_cents <= tax_left):
        raise MoreThanReceived(receipt.number)
    journal = Journal.objects.get(pk=journal_id)
    now = timezone.now()
    what = "Payment that the bank took back" if dispute else "Refund of unused balance"
    content = Content(
        kind=Document.Kind.CREDIT_NOTE,
        issued_at=now,
        supplied_at=now,
        seller=_same_party(receipt.snapshot["seller"]),
        buyer=_same_party(receipt.snapshot["buyer"]),
        lines=[Line(description=f"{what}, receipt {receipt.number}", net_cents=net_cents)],
        tax=_tax_of_part(receipt, net_cents, tax_cents),
        currency=receipt.currency,
        net_cents=net_cents,
        tax_cents=tax_cents,
        notes=receipt.snapshot["notes"],
        national=document_tax.national_again(receipt.snapshot["national_tax"], tax_nano_usd=booked(journal)[0]),
        payment={"method": top_up.card},
        references={
            "corrects": receipt.number,
            "corrects_issued_at": receipt.snapshot["issued_at"],
            "reason": reason,
            **({"dispute": dispute} if dispute else {}),
            "top_up": str(top_up.pk),
            "journal": str(journal_id),
        },
    )
    return write(receipt.entity, content, reference=reference, top_up=top_up, journal=journal, corrects=receipt)


def issue_debit_note(note: Document, *, journal_id: int, reason: str) -> Document:
    """Takes a whole credit note up again: what it gave back came back to us; the same note gives the same one.

    Call it last in the transaction that books `journal_id`.
    """
    assert note.top_up is not None, "a credit note belongs to a payment"
    top_up = locked(note.top_up)
    reference = f"debit_note:{note.number}"
    known = Document.objects.filter(reference=reference).first()
    if known:
        return known
    said, now = note.snapshot, timezone.now()
    is_dispute = "dispute" in said["references"]
    what = "Payment that the bank gave back" if is_dispute else "Refund that did not arrive"
    content = Content(
        kind=Document.Kind.DEBIT_NOTE,
        issued_at=now,
        supplied_at=now,
        seller=_same_party(said["seller"]),
        buyer=_same_party(said["buyer"]),
        lines=[Line(description=f"{what}, credit note {note.number}", net_cents=note.net_cents)],
        tax=[_same_tax(line) for line in said["tax"]],
        currency=note.currency,
        net_cents=note.net_cents,
        tax_cents=note.tax_cents,
        notes=said["notes"],
        national=said["national_tax"],
        payment=said["payment"],
        references={
            "corrects": note.number,
            "corrects_issued_at": said["issued_at"],
            "reason": reason,
            "top_up": str(top_up.pk),
            "journal": str(journal_id),
        },
    )
    journal = Journal.objects.get(pk=journal_id)
    return write(note.entity, content, reference=reference, top_up=top_up, journal=journal, corrects=note)


def left_of(receipt: Document) -> tuple[int, int]:
    """(net, tax) in minor units that no standing credit note has given back."""
    standing = receipt.corrections.filter(kind=Document.Kind.CREDIT_NOTE, corrections=None)
    given = list(standing.values_list("net_cents", "tax_cents"))
    return receipt.net_cents - sum(net for net, _ in given), receipt.tax_cents - sum(tax for _, tax in given)


def _same_party(given: dict[str, Any]) -> Party:
    """The party of another document, word for word."""
    ids = [(tax_id["kind"], tax_id["number"]) for tax_id in given["tax_ids"]]
    return Party(**{**given, "tax_ids": ids})


def _same_tax(line: dict[str, str]) -> TaxLine:
    return TaxLine(
        jurisdiction=line["jurisdiction"],
        name=line["name"],
        rate_percent=line["rate_percent"],
        base_cents=_cents(line["base"]),
        tax_cents=_cents(line["tax"]),
        reason=line["reason"],
    )


def _tax_of_part(receipt: Document, net_cents: int, tax_cents: int) -> list[TaxLine]:
    """The receipt's lines of tax for a part of it; cents that do not divide go to the first lines."""
    lines, left = [], tax_cents
    share = Fraction(net_cents, receipt.net_cents) if receipt.net_cents else Fraction(0)
    given = receipt.snapshot["tax"]
    weights = [_cents(line["tax"]) for line in given]
    for index, line in enumerate(given):
        rest = sum(weights[index:])
        tax = _part(left, Fraction(weights[index], rest)) if rest else 0
        left -= tax
        lines.append(
            TaxLine(
                jurisdiction=line["jurisdiction"],
                name=line["name"],
                rate_percent=line["rate_percent"],
                base_cents=_part(_cents(line["base"]), share),
                tax_cents=tax,
                reason=line["reason"],
            )
        )
    return lines


def _part(cents: int, share: Fraction) -> int:
    """Rounded half up to whole cents."""
    return math.floor(cents * share + Fraction(1, 2))


def _cents(text: str) -> int:
    return int(text.replace(".", ""))
