"""Disputes: what a bank takes back is kept apart, the customer's credit frozen, and the verdict booked, once each."""

import logging
import uuid
from collections.abc import Iterator

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts import claims, holds, notices
from accounts.mail import Letter
from accounts.models import Customer, User
from billing import (
    dispute_verdicts,
    fraud,
    fx_bookings,
    ledger,
    money_letters,
    postings,
    refund_bookings,
    risk_letters,
    stripe_gateway,
    topups,
)
from billing.models import Dispute, Journal, RefundPart, TopUp
from billing.refund_bookings import nano_usd_per_cent
from billing.stripe_gateway import DisputeFacts

log = logging.getLogger(__name__)

Stage = Dispute.Stage
STAGES = {
    "warning_needs_response": Stage.INQUIRY,
    "warning_under_review": Stage.INQUIRY,
    "warning_closed": Stage.CLOSED,
    "prevented": Stage.CLOSED,
    "needs_response": Stage.OPEN,
    "under_review": Stage.OPEN,
    "won": Stage.WON,
    "lost": Stage.LOST,
}
# A stage is left only for a later one: what comes out of order changes nothing back.
_ORDER = [Stage.NEW, Stage.INQUIRY, Stage.CLOSED, Stage.OPEN, Stage.WON, Stage.LOST]
_FINAL = (Stage.CLOSED, Stage.WON, Stage.LOST)


class NotBookedYet(Exception):
    """The payment is ours, and its own money is not in the books; the dispute waits for it."""


def sync(dispute_id: str) -> None:
    """Brings our row and the books up to what the provider says.

    Raises Unavailable, Refused, NotBookedYet, topups.CreditMissing.
    """
    facts = stripe_gateway.dispute(dispute_id)
    top_up = paid_top_up(charge_id=facts.charge_id, payment_intent_id=facts.payment_intent_id, tag=facts.top_up)
    if top_up is None:
        return
    with transaction.atomic():
        dispute = _row(facts, top_up)
        dispute.provider_status = facts.status[:40]
        dispute.evidence_due_at = facts.evidence_due_at
        _book_movements(dispute, facts)
        stage = STAGES.get(facts.status, Stage.OPEN)
        later = _ORDER.index(stage) > _ORDER.index(Stage(dispute.stage)) and dispute.stage != Stage.WON
        # An appeal: the money of a lost dispute is back.
        appealed = stage == Stage.WON and dispute.stage == Stage.LOST and dispute.withdrawn_nano_usd < 0
        if later or appealed:
            _enter(dispute, stage)
        dispute.save()


def paid_top_up(*, charge_id: str, payment_intent_id: str, tag: str) -> TopUp | None:
    """The top-up behind a charge, its credit booked first if it was not; None for charges of somebody else.

    Raises NotBookedYet, Unavailable, Refused, topups.CreditMissing.
    """
    rows = TopUp.objects.select_related("customer", "fx_rate")
    found = rows.filter(charge_id=charge_id).first() or rows.filter(payment_intent_id=payment_intent_id or "-").first()
    known = _uuid(tag)
    if found is None and known is not None:
        found = rows.filter(id=known).first()
    if found is not None and found.status != TopUp.Status.PAID:
        topups.settle(found.id)
        found = rows.get(id=found.id)
        if found.status != TopUp.Status.PAID:
            raise NotBookedYet(str(found.id))
    return found


def sweep(*, limit: int = 100) -> int:
    """Asks about open disputes once an hour, whatever events came; returns how many."""
    asked = 0
    for dispute_id in _due(limit):
        asked += 1
        try:
            sync(dispute_id)
        except (stripe_gateway.Unavailable, NotBookedYet) as error:
            log.warning("dispute %s is asked about later: %s", dispute_id, error)
        except stripe_gateway.Refused as error:
            log.error("the payment provider refuses to tell about dispute %s: %s", dispute_id, error)
        except topups.CreditMissing as error:
            log.error("dispute %s is about a payment that was booked under another row: %s", dispute_id, error)
    return asked


def submit_evidence(dispute: Dispute, *, text: str, user: User) -> None:
    """Hands a written answer to the bank, for good. Raises Unavailable, Refused."""
    stripe_gateway.submit_evidence(dispute.provider_id, text=text, stage=dispute.stage)
    answered = Dispute.objects.filter(id=dispute.id)
    if dispute.stage == Stage.INQUIRY:  # which may have become a dispute meanwhile
        answered = answered.exclude(stage=Stage.OPEN)
    answered.update(evidence_sent_at=timezone.now(), evidence_by=user)


def unanswered() -> QuerySet[Dispute]:
    """Disputes and inquiries whose bank waits for our answer, the most urgent first."""
    open_ones = Dispute.objects.filter(stage__in=[Stage.INQUIRY, Stage.OPEN], evidence_sent_at=None)
    waiting = open_ones.filter(provider_status__in=Dispute.WAITING_FOR_US).select_related("customer", "top_up")
    return waiting.order_by(F("evidence_due_at").asc(nulls_last=True), "opened_at")


def stops_charging(customer_id: int) -> bool:
    """Whether a saved card is to be left alone: somebody whose bank takes money back is not charged by a machine."""
    return Dispute.objects.filter(customer_id=customer_id, stage__in=Dispute.BLOCKING).exists()


def give_up_debt(*, customer_id: int, nano_usd: int, reference: str) -> bool:
    """What a customer owes becomes a loss, and the account is held for good; False when it was booked before.

    Called inside the transaction of the second person's approval. Raises ledger.NotEnough when less is owed.
    """
    with transaction.atomic():
        owed = ledger.lock_wallet(customer_id).debt
        if Journal.objects.filter(reference=reference).exists():
            return False
        if owed < nano_usd:
            raise ledger.NotEnough(f"customer {customer_id} owes {owed} nano-dollars")
        ledger.book(
            kind="debt_given_up",
            reference=reference,
            occurred_at=timezone.now(),
            transfers=postings.debt_given_up(customer_id=customer_id, nano_usd=nano_usd),
            description="A debt that will not be paid",
            customer_id=customer_id,
        )
        holds.place(
            customer=Customer.objects.get(pk=customer_id),
            code=holds.Code.BAD_DEBT,
            reference=reference,
            reason="A debt of this account was given up.",
        )
    return True


def _row(facts: DisputeFacts, top_up: TopUp) -> Dispute:
    """The dispute's row, locked."""
    Dispute.objects.bulk_create(
        [
            Dispute(
                provider_id=facts.id,
                customer_id=top_up.customer_id,
                top_up=top_up,
                charge_id=facts.charge_id,
                amount_cents=facts.amount_cents,
                currency=facts.currency,
                amount_nano_usd=facts.amount_cents * nano_usd_per_cent(top_up),
                reason=facts.reason[:60],
                provider_status=facts.status[:40],
                opened_at=facts.opened_at,
                stage=Stage.NEW,
            )
        ],
        ignore_conflicts=True,
    )
    rows = Dispute.objects.select_for_update(of=("self",)).select_related("customer", "top_up__fx_rate")
    return rows.get(provider_id=facts.id)


def _book_movements(dispute: Dispute, facts: DisputeFacts) -> None:
    """What left our balance stands on 1150 for this dispute until it is decided; the fee is spent."""
    for moved in facts.movements:
        rate = nano_usd_per_cent(dispute.top_up)
        amount, fee = moved.amount_cents * rate, moved.fee_cents * rate
        paid_in = dispute.top_up.currency
        if moved.currency != paid_in:  # the provider exchanges: it moves the whole disputed amount in other money
            amount = dispute.amount_nano_usd if moved.amount_cents > 0 else -dispute.amount_nano_usd
            fee = fx_bookings.worth(moved.fee_cents, moved.currency)
        journal = ledger.book(
            kind="dispute" if amount < 0 else "dispute_reversal",
            reference=f"stripe:{moved.balance_transaction_id}",
            occurred_at=timezone.now(),
            transfers=[
                *postings.dispute_moved(
                    dispute=dispute.provider_id, amount_nano_usd=amount, fee_nano_usd=0, currency=paid_in
                ),
                *postings.dispute_moved(
                    dispute=dispute.provider_id, amount_nano_usd=0, fee_nano_usd=fee, currency=moved.currency
                ),
            ],
            description=f"Dispute {dispute.provider_id}",
            customer_id=dispute.customer_id,
        )
        if journal is not None:
            dispute.withdrawn_nano_usd -= amount
            dispute.fee_nano_usd += fee
        if journal is not None and moved.currency != paid_in:
            fx_bookings.exchanged(
                top_up=dispute.top_up,
                reference=f"stripe:{moved.balance_transaction_id}:exchange",
                nano_usd=amount,
                moved_cents=moved.amount_cents,
                currency=moved.currency,
            )


def _enter(dispute: Dispute, stage: Dispute.Stage) -> None:
    """The next stage, with all that belongs to it; each is entered once."""
    before, dispute.stage = dispute.stage, stage
    amount = dispute.amount_text
    if stage in _FINAL:
        dispute.ended_at = timezone.now()
    match stage:
        case Stage.INQUIRY:
            fraud.note(
                dispute.customer,
                code=fraud.Code.INQUIRY,
                reference=f"inquiry:{dispute.provider_id}",
                reason=f"The card's bank asks about a payment of {amount} ({dispute.reason.replace('_', ' ')}).",
            )
            risk_letters.inquiry(dispute)
        case Stage.OPEN:
            if dispute.provider_status in Dispute.WAITING_FOR_US:
                # What was said to an inquiry is no answer to the dispute that it became.
                dispute.evidence_sent_at = dispute.evidence_by = None
            _freeze(dispute, amount)
            _write(dispute, money_letters.dispute_opened(dispute))
            risk_letters.dispute_opened(dispute)
        case Stage.WON:
            released = dispute.frozen_nano_usd
            dispute_verdicts.release(dispute, released)
            if before == Stage.LOST:
                released = dispute_verdicts.restore(dispute)
                fraud.clear(f"dispute_lost:{dispute.provider_id}", reason="The dispute was won after all")
            holds.lift_reference(_hold(dispute), reason="The dispute was won", tell=False)
            fraud.clear(f"dispute:{dispute.provider_id}", reason="The dispute was won")
            _write(dispute, money_letters.dispute_won(dispute, released_nano_usd=released))
        case Stage.LOST:
            _lose(dispute, amount)
            why = "The dispute was lost and is settled in the books"
            holds.lift_reference(_hold(dispute), reason=why, tell=False)
            _write(dispute, money_letters.dispute_lost(dispute))
    log.info("dispute %s: %s to %s", dispute.provider_id, before, stage)


def _freeze(dispute: Dispute, amount: str) -> None:
    """Keys stop, refunds that wait come back, and as much credit as is disputed goes from 2100 to 2110."""
    holds.place(
        customer=dispute.customer,
        code=holds.Code.DISPUTE,
        reference=_hold(dispute),
        reason=f"A payment of {amount} is disputed: {dispute.reason.replace('_', ' ')}.",
        tell=False,
    )
    fraud.note(
        dispute.customer,
        code=fraud.Code.DISPUTE,
        reference=f"dispute:{dispute.provider_id}",
        reason=f"A payment of {amount} was disputed ({dispute.reason.replace('_', ' ')}).",
    )
    waiting = RefundPart.objects.filter(
        refund__customer_id=dispute.customer_id, status=RefundPart.Status.PLANNED
    ).order_by("id")
    for part_id in waiting.values_list("id", flat=True):
        refund_bookings.give_up(part_id, "A payment of this account is disputed.")
    frozen = min(ledger.lock_wallet(dispute.customer_id).paid, dispute.amount_nano_usd)
    if frozen > 0:
        ledger.take(
            customer_id=dispute.customer_id,
            amount_nano_usd=frozen,
            kind="dispute_hold",
            reference=f"dispute:{dispute.provider_id}:frozen",
            occurred_at=timezone.now(),
            transfers=postings.credit_frozen(customer_id=dispute.customer_id, nano_usd=frozen),
            description=f"Held for a dispute of {amount}",
            from_reference=f"stripe:{dispute.top_up.payment_intent_id}",
        )
        dispute.frozen_nano_usd = frozen


def _lose(dispute: Dispute, amount: str) -> None:
    dispute_verdicts.lose(dispute, amount)
    fraud.note(
        dispute.customer,
        code=fraud.Code.DISPUTE_LOST,
        reference=f"dispute_lost:{dispute.provider_id}",
        reason=f"A dispute of {amount} was lost ({dispute.reason.replace('_', ' ')}).",
    )


def _write(dispute: Dispute, letter: Letter) -> None:
    """A letter of the stage that was entered, with it."""
    notices.write(dispute.customer, reference=f"dispute:{dispute.provider_id}:{dispute.stage}", letter=letter)


def _hold(dispute: Dispute) -> str:
    return f"dispute:{dispute.provider_id}"


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _due(limit: int) -> Iterator[str]:
    return claims.ids(
        """
        UPDATE billing_dispute SET checked_at = clock_timestamp() WHERE id = (
            SELECT id FROM billing_dispute WHERE stage IN ('new', 'inquiry', 'open')
              AND coalesce(checked_at, seen_at) < clock_timestamp() - interval '1 hour'
            ORDER BY seen_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING provider_id
        """,
        limit,
    )
