"""What a bank's verdict does to the books: credit that is released, a loss with its credit note, or a debt."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from billing import documents, ledger, postings, refund_bookings
from billing.models import Dispute, Document, Journal, RefundPart
from billing.models import Transfer as BookedTransfer
from billing.postings import Transfer
from billing.refund_bookings import nano_usd_per_cent


def release(dispute: Dispute, nano_usd: int) -> None:
    """Credit that was frozen for the dispute can be spent again; it is no older than it was."""
    if nano_usd:
        ledger.credit(
            customer_id=dispute.customer_id,
            amount_nano_usd=nano_usd,
            kind="dispute_release",
            reference=f"dispute:{dispute.provider_id}:released",
            occurred_at=timezone.now(),
            transfers=postings.credit_released(customer_id=dispute.customer_id, nano_usd=nano_usd),
            description="Released after a dispute",
            aged_at=ledger.ages_at(f"stripe:{dispute.top_up.payment_intent_id}"),
        )
        dispute.frozen_nano_usd -= nano_usd


def lose(dispute: Dispute, amount: str) -> None:
    """What was withdrawn is gone: frozen credit pays first, then what else is in the wallet; the rest is owed.

    The receipt is corrected by as much as its tax allows (`_corrected`), with a credit note in the same transaction
    and a journal of its own; what the receipt does not carry any more, or still stands, is booked beside it.
    """
    rate = nano_usd_per_cent(dispute.top_up)
    gone, frozen = dispute.withdrawn_nano_usd, dispute.frozen_nano_usd
    there = frozen + ledger.lock_wallet(dispute.customer_id).paid
    noted = _corrected(dispute, gone_nano_usd=gone, there_nano_usd=there)
    relief = noted.tax_cents * rate
    covered = min(there, gone - relief)
    purse = _Purse(dispute=dispute, frozen=min(frozen, covered), wallet=covered - min(frozen, covered))
    first = purse.pay(noted.net_cents * rate, taxes=_by_place(dispute, noted.tax_cents))
    rest = purse.pay(gone - relief - noted.net_cents * rate)
    reference, words = f"dispute:{dispute.provider_id}:lost", f"Lost dispute of {amount}"
    _book(dispute, first, reference=reference, words=words)
    _book(dispute, rest, reference=f"{reference}:rest", words=words)
    dispute.frozen_nano_usd -= min(frozen, covered)
    release(dispute, dispute.frozen_nano_usd)
    dispute.withdrawn_nano_usd -= gone
    dispute.covered_nano_usd, dispute.relieved_nano_usd = covered, relief
    dispute.owed_nano_usd = gone - relief - covered
    if noted.net_cents or noted.tax_cents:
        documents.issue_credit_note(
            dispute.top_up,
            reference=reference,
            net_cents=noted.net_cents,
            tax_cents=noted.tax_cents,
            journal_id=Journal.objects.get(reference=reference).pk,
            reason=f"The bank took {amount} back: {dispute.reason.replace('_', ' ')}",
            dispute=dispute.provider_id,
        )


def restore(dispute: Dispute) -> int:
    """A lost dispute was won after all: what came back undoes the loss, with its tax; returns the customer's part.

    The credit note is taken up again by a debit note with a journal of its own; what it did not carry is booked beside
    it. A debt that was given up is made good first.
    """
    rate, lost = nano_usd_per_cent(dispute.top_up), f"dispute:{dispute.provider_id}:lost"
    back, reference = -dispute.withdrawn_nano_usd, f"dispute:{dispute.provider_id}:restored"
    note = Document.objects.filter(reference=f"credit_note:{lost}").first()
    if note is not None and note.total_cents * rate > back:
        note = None
    noted = note.total_cents * rate if note else 0
    taxes = _by_place(dispute, note.tax_cents) if note else {}
    credited = _give_back(dispute, noted - sum(taxes.values()), taxes, reference=reference)
    credited += _give_back(dispute, back - noted, {}, reference=f"{reference}:rest")
    dispute.withdrawn_nano_usd = dispute.covered_nano_usd = dispute.relieved_nano_usd = dispute.owed_nano_usd = 0
    if note is not None:
        journal = Journal.objects.get(reference=reference)
        documents.issue_debit_note(note, journal_id=journal.pk, reason="The dispute was won after all")
    return credited


@dataclass(frozen=True, kw_only=True, slots=True)
class _Note:
    """What the credit note of a lost dispute says, in minor units."""

    net_cents: int
    tax_cents: int


@dataclass(kw_only=True, slots=True)
class _Purse:
    """Who pays for a loss, in their order; both amounts in nano-dollars shrink as they pay, the rest is owed."""

    dispute: Dispute
    frozen: int
    wallet: int

    def pay(self, nano_usd: int, *, taxes: dict[str, int] | None = None) -> tuple[int, list[Transfer]]:
        """What leaves the wallet for it, and the transfers with `taxes` besides."""
        from_frozen = min(self.frozen, nano_usd)
        from_wallet = min(self.wallet, nano_usd - from_frozen)
        self.frozen, self.wallet = self.frozen - from_frozen, self.wallet - from_wallet
        return from_wallet, postings.dispute_lost(
            dispute=self.dispute.provider_id,
            customer_id=self.dispute.customer_id,
            frozen_nano_usd=from_frozen,
            wallet_nano_usd=from_wallet,
            tax_nano_usd=taxes or {},
            owed_nano_usd=nano_usd - from_frozen - from_wallet,
        )


def _corrected(dispute: Dispute, *, gone_nano_usd: int, there_nano_usd: int) -> _Note:
    """How much of its receipt a lost dispute undoes.

    With relief for bad debts the whole disputed amount: the price will not be paid, so nothing is owed to the tax
    office either. Without, what unused credit covers, with its share of the tax. Never more than is left of the
    receipt after other credit notes and refunds that are on their way.
    """
    top_up, rate = dispute.top_up, nano_usd_per_cent(dispute.top_up)
    net_left, tax_left = documents.left_of(documents.issue_receipt(top_up))
    under_way = RefundPart.objects.filter(top_up=top_up).exclude(
        status__in=[RefundPart.Status.SUCCEEDED, *RefundPart.ENDED_BADLY]
    )
    waits = under_way.aggregate(net=Sum("net_cents"), tax=Sum("tax_cents"))
    net_left, tax_left = max(0, net_left - (waits["net"] or 0)), max(0, tax_left - (waits["tax"] or 0))
    tax = min(refund_bookings.share(top_up.tax_cents, dispute.amount_cents, top_up.total_cents), tax_left)
    tax = min(tax, gone_nano_usd // rate)
    net = min(net_left, gone_nano_usd // rate - tax)
    if settings.DISPUTE_TAX_RELIEF or there_nano_usd >= gone_nano_usd - tax * rate:
        return _Note(net_cents=net, tax_cents=tax)
    unused = min(net, there_nano_usd // rate)
    return _Note(net_cents=unused, tax_cents=refund_bookings.share(tax, unused, net) if net else 0)


def _book(dispute: Dispute, paid: tuple[int, list[Transfer]], *, reference: str, words: str) -> None:
    from_wallet, transfers = paid
    if from_wallet:
        ledger.take(
            customer_id=dispute.customer_id,
            amount_nano_usd=from_wallet,
            kind="dispute_lost",
            reference=reference,
            occurred_at=timezone.now(),
            transfers=transfers,
            description=words,
        )
    elif transfers:
        ledger.book(
            kind="dispute_lost",
            reference=reference,
            occurred_at=timezone.now(),
            transfers=transfers,
            description=words,
            customer_id=dispute.customer_id,
        )


def _give_back(dispute: Dispute, nano_usd: int, taxes: dict[str, int], *, reference: str) -> int:
    """Books it and returns what of it reached the customer."""
    ledger.lock_wallet(dispute.customer_id)
    recovered = min(nano_usd, _given_up_nano_usd(dispute.customer_id))
    credited = nano_usd - recovered
    transfers = postings.dispute_restored(
        dispute=dispute.provider_id,
        customer_id=dispute.customer_id,
        credit_nano_usd=credited,
        tax_nano_usd=taxes,
        recovered_nano_usd=recovered,
    )
    told: dict[str, Any] = {
        "kind": "dispute_release",
        "reference": reference,
        "occurred_at": timezone.now(),
        "transfers": transfers,
        "description": "Given back after a dispute",
        "customer_id": dispute.customer_id,
    }
    if credited:
        aged_at = ledger.ages_at(f"stripe:{dispute.top_up.payment_intent_id}")
        ledger.credit(amount_nano_usd=credited, aged_at=aged_at, **told)
    elif transfers:
        ledger.book(**told)
    return credited


def _given_up_nano_usd(customer_id: int) -> int:
    """What of this customer's debts stands on 6120."""
    moved = BookedTransfer.objects.filter(journal__customer_id=customer_id)
    given_up = moved.filter(debit__number=postings.CHARGEBACK_LOSSES).aggregate(sum=Sum("amount_nano_usd"))["sum"]
    made_good = moved.filter(credit__number=postings.CHARGEBACK_LOSSES).aggregate(sum=Sum("amount_nano_usd"))["sum"]
    return (given_up or 0) - (made_good or 0)


def _by_place(dispute: Dispute, tax_cents: int) -> dict[str, int]:
    """The relieved tax of each office in nano-dollars."""
    rate = nano_usd_per_cent(dispute.top_up)
    parts = refund_bookings.split(dispute.top_up, tax_cents)
    return {place: cents * rate for place, cents in parts.items() if cents}
