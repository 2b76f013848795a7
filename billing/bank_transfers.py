"""Paying in by bank transfer: a pro-forma with a reference, and the credit when the money is there.

The customer asks and gets the pro-forma at once. Finance finds the line of the bank's statement and asks for the
credit; a second person decides (accounts/approvals.py), and the worker credits what arrived, whatever was asked for:
the wish itself by the first arrival, a top-up of its own by each further one. A line is credited once.
"""

import secrets
import uuid
from datetime import timedelta
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import approvals
from accounts.approvals import Kind, NotPossible
from accounts.models import Approval, Customer, User
from billing import display, documents, ledger, postings, tax, taxing
from billing.models import BankLine, BankTransfer, TopUp
from billing.money import NANO_USD_PER_CENT

KIND = "billing.bank_transfer"
CURRENCY = "usd"
# Letters and digits that nobody takes for one another on paper or on the telephone.
ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
WAITS = timedelta(days=30)


class NotOffered(Exception):
    """BANK_ACCOUNT is not set: nobody knows where to send the money."""


class AmountOutOfRange(Exception):
    """The amount is not between the smallest and the largest bank transfer."""


def start(
    *,
    customer: Customer,
    user: User,
    amount_cents: int,
    po_number: str = "",
    wish_id: uuid.UUID | None = None,
    ip: str | None = None,
) -> BankTransfer:
    """Writes the wish down with its reference and issues the pro-forma; the same form sent twice is one wish.

    Raises NotOffered, AmountOutOfRange, and where tax is to be worked out taxing.ProfileNeeded, TaxesDiffer,
    stripe_gateway.NotConfigured, Unavailable or Refused, all before anything is written.
    """
    if not offered():
        raise NotOffered
    if not settings.BANK_TRANSFER_MINIMUM_CENTS <= amount_cents <= settings.BANK_TRANSFER_MAXIMUM_CENTS:
        raise AmountOutOfRange
    wish_id = wish_id or uuid.uuid4()
    taxes = taxing.quote(
        customer=customer, user=user, net_cents=amount_cents, currency=CURRENCY, reference=str(wish_id)
    )
    try:
        with transaction.atomic():
            return _write(customer, user, amount_cents, po_number, wish_id, ip, taxes)
    except IntegrityError:  # the other half of a double click was first
        known = BankTransfer.objects.filter(pk=wish_id, top_up__customer=customer).first()
        if known is None:
            raise
        return known


def offered() -> bool:
    return bool(settings.BANK_ACCOUNT)


def pay_to(transfer: BankTransfer) -> dict[str, str]:
    """The lines of our account, and the reference that must stand on the transfer."""
    return {**settings.BANK_ACCOUNT, "Payment reference": transfer.reference}


def find(text: str) -> QuerySet[BankTransfer]:
    """Wishes whose reference stands in what a payer wrote, however it is spaced."""
    plain = "".join(each for each in text.upper() if each.isalnum())
    named = [
        pk
        for pk, reference in BankTransfer.objects.order_by("-created_at").values_list("pk", "reference")[:20_000]
        if reference.replace("-", "") in plain
    ]
    return BankTransfer.objects.filter(pk__in=named).select_related("top_up__customer")


def ask_for_credit(*, line_id: int, reference: str, reason: str, user: User, once: str = "") -> Approval:
    """Asks a second person to credit a line of the bank to the wish of this reference. Raises as approvals.ask does."""
    transfer = BankTransfer.objects.filter(reference=reference.strip().upper()).select_related("top_up").first()
    if transfer is None:
        raise NotPossible(f"No bank transfer has the reference {reference.strip()[:40]}.")
    waiting = Approval.objects.filter(
        kind=KIND, payload__line=line_id, status__in=[Approval.Status.ASKED, Approval.Status.APPROVED]
    ).first()
    if waiting is not None and (not once or waiting.once != once):
        raise NotPossible("The credit of this line was asked for already and waits for a second person.")
    line = BankLine.objects.filter(pk=line_id).first()
    return approvals.ask(
        kind=KIND,
        payload={
            "line": line_id,
            "transfer": str(transfer.pk),
            "amount_cents": line.amount_cents if line else 0,
        },
        reason=reason,
        user=user,
        customer=transfer.top_up.customer,
        once=once,
    )


def describe(payload: dict[str, Any]) -> list[tuple[str, str]]:
    line, transfer = BankLine.objects.get(pk=payload["line"]), _transfer(payload)
    top_up = transfer.top_up
    asked, came = (
        display.cents_text(transfer.asked_cents, top_up.currency),
        display.cents_text(line.amount_cents, line.currency),
    )
    note = "exactly what was asked for" if line.amount_cents == transfer.asked_cents else f"asked for were {asked}"
    if top_up.status == TopUp.Status.PAID and top_up.pk != line.top_up_id:
        note = "money came under this reference before; this is credited besides"
    return [
        ("Customer", top_up.customer.name),
        ("Arrived", f"{came} on {line.booked_on:%-d %B %Y}, {note}"),
        ("From", line.counterparty or "–"),
        ("What the payer wrote", line.reference or "–"),
        ("Reference of the wish", transfer.reference),
        ("Purchase order", transfer.po_number or "–"),
    ]


def check(payload: dict[str, Any]) -> None:
    """Raises NotPossible while the line cannot be credited to the wish."""
    line = BankLine.objects.filter(pk=payload["line"]).first()
    transfer = BankTransfer.objects.filter(pk=payload["transfer"]).select_related("top_up__customer").first()
    if line is None or transfer is None:
        raise NotPossible("The line of the bank or the transfer is gone.")
    if line.amount_cents != payload["amount_cents"] or line.amount_cents <= 0:
        raise NotPossible("Only money that came in can be credited.")
    if line.currency != transfer.top_up.currency:
        raise NotPossible(f"The line is in {line.currency.upper()}, asked for was {transfer.top_up.currency.upper()}.")
    if line.top_up_id or line.payout_id or line.ignored_because:
        raise NotPossible("This line of the bank was used already.")
    if transfer.top_up.customer.status == Customer.Status.CLOSED:
        raise NotPossible("The customer's account is closed.")


def carry_out(approval: Approval) -> None:
    """Credits the line: status, journal, wallet and receipt together, in the approval's own transaction."""
    payload = approval.payload
    line = BankLine.objects.select_for_update(of=("self",)).get(pk=payload["line"])
    transfer = BankTransfer.objects.get(pk=payload["transfer"])
    check(payload)
    top_up = _credited_row(transfer, line)
    now = timezone.now()
    journal_id = ledger.credit(
        customer_id=top_up.customer_id,
        amount_nano_usd=top_up.credit_nano_usd,
        kind="top_up",
        reference=f"bank:{line.pk}",
        occurred_at=now,
        transfers=postings.bank_top_up(
            customer_id=top_up.customer_id,
            gross_nano_usd=top_up.total_cents * NANO_USD_PER_CENT,
            tax_nano_usd={place: cents * NANO_USD_PER_CENT for place, cents in _taxes(top_up).items()},
        ),
        description=f"Bank transfer {transfer.reference}",
    )
    if journal_id is None:
        raise NotPossible("This line of the bank was booked already.")
    BankLine.objects.filter(pk=line.pk).update(
        top_up=top_up, journal=journal_id, matched_by=approval.asked_by, matched_at=now
    )
    documents.issue_receipt(top_up, journal_id=journal_id)


KINDS = {
    KIND: Kind(
        title="Credit a bank transfer",
        ask_permission="bank_transfers.ask",
        decide_permission="bank_transfers.decide",
        describe=describe,
        check=check,
        carry_out=carry_out,
    )
}


def _write(
    customer: Customer,
    user: User,
    amount_cents: int,
    po_number: str,
    wish_id: uuid.UUID,
    ip: str | None,
    taxes: taxing.Quote | None,
) -> BankTransfer:
    known = BankTransfer.objects.filter(pk=wish_id, top_up__customer=customer).first()
    if known is not None:
        return known
    top_up = TopUp.objects.create(
        customer=customer,
        created_by=user,
        ip=ip,
        method=TopUp.Method.BANK,
        status=TopUp.Status.OPEN,
        amount_cents=amount_cents,
        currency=CURRENCY,
        net_cents=amount_cents,
        tax_cents=taxes.tax_cents if taxes else 0,
        tax_parts=tax.parts(taxes.lines) if taxes else {},
        total_cents=amount_cents + (taxes.tax_cents if taxes else 0),
        credit_nano_usd=amount_cents * NANO_USD_PER_CENT,
    )
    if taxes:
        taxing.keep(top_up, taxes)
    transfer = BankTransfer.objects.create(
        pk=wish_id,
        top_up=top_up,
        reference=_new_reference(),
        asked_cents=top_up.total_cents,
        po_number=" ".join(po_number.split())[:60],
        due_at=timezone.now() + WAITS,
    )
    order = {"order": transfer.po_number} if transfer.po_number else {}
    documents.issue_pro_forma(top_up, pay_to={**pay_to(transfer), **order}, due_at=transfer.due_at)
    return transfer


def _new_reference() -> str:
    """`CH-7F3K-92QX`: some 8e11 of them, and the column takes none twice."""
    part = "".join(secrets.choice(ALPHABET) for _ in range(8))
    return f"{settings.SELLER_CODE}-{part[:4]}-{part[4:]}"


def _transfer(payload: dict[str, Any]) -> BankTransfer:
    return BankTransfer.objects.select_related("top_up__customer").get(pk=payload["transfer"])


def _credited_row(transfer: BankTransfer, line: BankLine) -> TopUp:
    """The top-up that this line pays: the wish, or one of its own when the wish is paid already."""
    wish = TopUp.objects.select_for_update(of=("self",)).get(pk=transfer.top_up_id)
    net, parts = _split(wish, line.amount_cents)
    values: dict[str, Any] = {
        "status": TopUp.Status.PAID,
        "net_cents": net,
        "tax_cents": line.amount_cents - net,
        "tax_parts": parts,
        "total_cents": line.amount_cents,
        "credit_nano_usd": net * NANO_USD_PER_CENT,
        "settled_at": timezone.now(),
        "failure": "",
        "card": "Bank transfer",
    }
    if wish.status == TopUp.Status.PAID:
        besides = TopUp.objects.create(
            customer_id=wish.customer_id,
            created_by_id=wish.created_by_id,
            method=TopUp.Method.BANK,
            amount_cents=line.amount_cents,
            currency=wish.currency,
            **values,
        )
        taxing.same_as(wish, besides)
        return besides
    TopUp.objects.filter(pk=wish.pk).update(**values)
    wish.refresh_from_db()
    return wish


def _split(wish: TopUp, total_cents: int) -> tuple[int, dict[str, int]]:
    """Net and tax by jurisdiction of what arrived, in the proportions of the wish; they add up to the cent."""
    if not wish.tax_cents:
        return total_cents, {}
    share = Fraction(total_cents, wish.total_cents)
    asked = _taxes(wish)
    parts = {place: round(cents * share) for place, cents in asked.items()}
    return total_cents - sum(parts.values()), parts


def _taxes(top_up: TopUp) -> dict[str, int]:
    if not top_up.tax_cents:
        return {}
    return dict(top_up.tax_parts or {"": top_up.tax_cents})
