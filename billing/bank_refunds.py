"""Giving back by hand what came by bank transfer: two people agree, the books have it at once, a person sends it.

No machine of ours can send money from the bank. Finance asks under the reference that the transfer will carry; once a
second person has approved, the worker takes the credit out of the balance and books it against the bank, with a credit
note for each payment. Money that the bank sends back later comes as any arrival does and is credited as one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum
from django.utils import timezone

from accounts import notices
from accounts.approvals import Kind, NotPossible
from accounts.models import Approval, Customer
from billing import display, documents, ledger, money_letters, postings, refund_bookings
from billing.models import Journal, Refund, RefundPart, TopUp, Wallet
from billing.money import NANO_USD_PER_CENT

KIND = "billing.bank_refund"
LONGEST_REFERENCE = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """What of a refund goes back of one payment, in cents, with its tax by jurisdiction."""

    top_up: TopUp
    net_cents: int
    taxes: dict[str, int]

    @property
    def total_cents(self) -> int:
        return self.net_cents + sum(self.taxes.values())


def left_cents(customer: Customer) -> int:
    """What could go back by bank now: unused paid credit, as far as it came by bank transfer and is still there.

    Fresh money stays, or a stolen card's would go to an account of the thief's once the transfer is spent on tickets.
    """
    wallet = Wallet.objects.filter(customer=customer, debt_nano_usd=0).first()
    aged = wallet.available_nano_usd - wallet.promo_nano_usd - wallet.fresh_nano_usd if wallet else 0
    return max(0, min(aged // NANO_USD_PER_CENT, sum(_left(top_up) for top_up in _payments(customer.pk))))


def pieces(customer_id: int, net_cents: int) -> list[Piece]:
    """The oldest payment first, each with the tax that came with it. Raises NotPossible when less came by bank."""
    found = list(_pieces(customer_id, net_cents))
    if sum(piece.net_cents for piece in found) < net_cents:
        raise NotPossible("Less than that came by bank transfer and is not given back yet.")
    return found


def describe(payload: dict[str, Any]) -> list[tuple[str, str]]:
    customer = Customer.objects.get(pk=payload["customer"])
    amount = display.cents_text(payload["net_cents"])
    try:
        parts = pieces(customer.pk, payload["net_cents"])
    except NotPossible:
        parts = []
    return [
        ("Account", f"{customer.name} (account {customer.pk})"),
        ("What", f"Refund {amount} of unused credit by bank transfer, by hand"),
        ("To send", display.cents_text(sum(part.total_cents for part in parts)) if parts else "–"),
        ("Reference", payload["reference"]),
    ]


def check(payload: dict[str, Any]) -> None:
    """Raises NotPossible while this cannot go back."""
    customer = Customer.objects.filter(pk=payload["customer"]).first()
    reference, net_cents = payload["reference"], payload["net_cents"]
    if customer is None:
        raise NotPossible("There is no such account.")
    if customer.status == Customer.Status.FROZEN:
        raise NotPossible("The account is held. Nothing is refunded until the last hold is lifted.")
    if not reference.strip() or len(reference) > LONGEST_REFERENCE:
        raise NotPossible(f"Must name the reference of the transfer, in at most {LONGEST_REFERENCE} characters.")
    if Journal.objects.filter(reference=_journal(reference, 0)).exists():
        raise NotPossible("A bank refund with this reference is in the books already.")
    if net_cents <= 0:
        raise NotPossible("The amount is more than nothing.")
    wallet = Wallet.objects.filter(customer=customer).first()
    if wallet and wallet.debt_nano_usd:
        raise NotPossible(f"The account owes {display.usd_text(wallet.debt_nano_usd)}; that is paid first.")
    if net_cents > left_cents(customer):
        raise NotPossible(
            f"At most {display.cents_text(left_cents(customer))} can go back by bank: unused paid credit that came by"
            " bank transfer. Card payments that are not old enough go back to their cards alone."
        )


def carry_out(approval: Approval) -> None:
    """Refund, journals, wallet and credit notes together, in the approval's own transaction."""
    payload = approval.payload
    customer_id, reference = payload["customer"], payload["reference"].strip()
    ledger.lock_wallet(customer_id)
    check(payload)
    now = timezone.now()
    refund = Refund.objects.create(
        customer_id=customer_id,
        source=Refund.Source.BANK,
        requested_by=approval.asked_by,
        amount_nano_usd=payload["net_cents"] * NANO_USD_PER_CENT,
        reason=payload["words"],
        status=Refund.Status.DONE,
        approval=approval,
        approved_at=now,
        ended_at=now,
    )
    for number, piece in enumerate(pieces(customer_id, payload["net_cents"])):
        _book(refund, piece, journal_reference=_journal(reference, number), reference=reference)
    letter = money_letters.refund_ended(refund)
    notices.write(refund.customer, reference=f"refund:{refund.id}:{refund.status}", letter=letter)


KINDS = {
    KIND: Kind(
        title="Refund by bank transfer",
        ask_permission="bank_transfers.ask",
        decide_permission="bank_transfers.decide",
        describe=describe,
        check=check,
        carry_out=carry_out,
    )
}


def _book(refund: Refund, piece: Piece, *, journal_reference: str, reference: str) -> None:
    top_up, now = piece.top_up, timezone.now()
    part = RefundPart.objects.create(
        refund=refund,
        top_up=top_up,
        currency=top_up.currency,
        net_cents=piece.net_cents,
        tax_cents=sum(piece.taxes.values()),
        tax_parts=piece.taxes,
        credit_nano_usd=piece.net_cents * NANO_USD_PER_CENT,
        status=RefundPart.Status.SUCCEEDED,
        card_reference=reference,
        sent_at=now,
        ended_at=now,
    )
    try:
        journal_id = ledger.take(
            customer_id=refund.customer_id,
            amount_nano_usd=part.credit_nano_usd,
            kind="refund",
            reference=journal_reference,
            occurred_at=now,
            transfers=postings.bank_refund(
                customer_id=refund.customer_id,
                credit_nano_usd=part.credit_nano_usd,
                tax_nano_usd={place: cents * NANO_USD_PER_CENT for place, cents in piece.taxes.items()},
                currency=top_up.currency,
            ),
            description=f"Refund by bank transfer, reference {reference}",
            from_reference=f"bank:{top_up.bank_line.pk}",
        )
    except ledger.NotEnough:
        raise NotPossible("The balance holds less paid credit than that.") from None
    if journal_id is None:
        raise NotPossible("A bank refund with this reference is in the books already.")
    documents.issue_credit_note(
        top_up,
        reference=f"refund:{part.id}",
        net_cents=part.net_cents,
        tax_cents=part.tax_cents,
        journal_id=journal_id,
        reason=refund.reason or "Refund of unused balance",
    )


def _payments(customer_id: int) -> list[TopUp]:
    """Paid by bank and credited from a line of it, the oldest first."""
    rows = TopUp.objects.filter(customer_id=customer_id, method=TopUp.Method.BANK, status=TopUp.Status.PAID)
    return list(rows.filter(bank_line__isnull=False).select_related("bank_line").order_by("settled_at", "id"))


def _pieces(customer_id: int, net_cents: int) -> Iterator[Piece]:
    wanted = net_cents
    for top_up in _payments(customer_id):
        net = min(wanted, _left(top_up))
        if net:
            wanted -= net
            yield Piece(top_up=top_up, net_cents=net, taxes=_taxes(top_up, net))


def _left(top_up: TopUp) -> int:
    return max(0, top_up.net_cents - _back(top_up)[0])


def _taxes(top_up: TopUp, net_cents: int) -> dict[str, int]:
    """Rounded over all that went back of the payment: together it is exactly the payment's tax."""
    before, given = _back(top_up)
    places = top_up.tax_parts or ({"": top_up.tax_cents} if top_up.tax_cents else {})
    return {
        place: refund_bookings.share(cents, before + net_cents, top_up.net_cents) - given.get(place, 0)
        for place, cents in places.items()
    }


def _back(top_up: TopUp) -> tuple[int, dict[str, int]]:
    """(net, tax by jurisdiction) in cents that went back of a payment so far."""
    parts = RefundPart.objects.filter(top_up=top_up).exclude(status__in=RefundPart.ENDED_BADLY)
    taxes: dict[str, int] = {}
    for given in parts.values_list("tax_parts", flat=True):
        for place, cents in given.items():
            taxes[place] = taxes.get(place, 0) + cents
    return parts.aggregate(net=Sum("net_cents", default=0))["net"], taxes


def _journal(reference: str, number: int) -> str:
    """One journal for each reference of the bank and payment; the database takes none twice."""
    name = f"bank_refund:{' '.join(reference.upper().split())}"
    return f"{name}:{number}" if number else name
