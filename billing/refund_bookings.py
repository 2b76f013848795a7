"""What became of a refund at the provider, booked here: state by state, forward only, once."""

import logging
import uuid

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts import notices
from billing import fx_bookings, ledger, money_letters, postings, refund_documents, stripe_gateway
from billing.models import Refund, RefundPart, TopUp
from billing.money import NANO_USD_PER_CENT
from billing.stripe_gateway import Moved, RefundFacts

log = logging.getLogger(__name__)

Status = RefundPart.Status
_ENDED = (Status.SUCCEEDED, *RefundPart.ENDED_BADLY)
# What a worker may write of a part; what was asked for stays.
_WORKED_ON = (
    "status", "attempt", "provider_id", "balance_transaction_id", "failure_transaction_id", "card_reference",
    "failure", "sent_at", "checked_at", "ended_at",
)  # fmt: skip


def sync(refund_id: str) -> None:
    """What the provider says of a refund, ours or made there by hand. Raises Unavailable, Refused."""
    facts = stripe_gateway.refund(refund_id)
    if not sync_part(facts):
        _adopt(facts)


def sync_part(facts: RefundFacts) -> bool:
    """Moves our part to what is true at the provider, only ever forward; False when the refund is none of ours."""
    with transaction.atomic():
        part = _part_of(facts)
        if part is None:
            return False
        if part.status not in RefundPart.ENDED_BADLY:
            _follow(part, facts)
            _end_refund(part.refund_id)
    return True


def give_up(part_id: uuid.UUID, why: str) -> bool:
    """A part that the provider has not got: its money goes back into the wallet. False when it was sent or ended."""
    with transaction.atomic():
        part = RefundPart.objects.select_for_update(of=("self",)).select_related("refund").get(id=part_id)
        if part.provider_id or part.status in _ENDED:
            return False
        _return(part, Status.CANCELED if part.status == Status.PLANNED else Status.FAILED, why)
        _end_refund(part.refund_id)
    return True


def _follow(part: RefundPart, facts: RefundFacts) -> None:
    """Books what our balance at the provider shows, then takes over the status."""
    if (facts.amount_cents, facts.currency) != (part.total_cents, part.currency):
        log.error("refund %s at the provider differs from part %s; it is left alone", facts.id, part.id)
        return
    part.provider_id = facts.id
    part.card_reference = facts.card_reference[:60]
    if facts.balance_transaction_id and part.balance_transaction_id is None:
        part.balance_transaction_id = facts.balance_transaction_id
        _book_sent(part)
        _book_exchange(part, facts.sent, reference=facts.balance_transaction_id)
    match facts.status:
        case "failed" | "canceled":
            part.failure_transaction_id = facts.failure_transaction_id or None
            _return(part, Status(facts.status), facts.failure.replace("_", " "))
            _book_exchange(part, facts.returned, reference=facts.failure_transaction_id)
        case "succeeded" if part.balance_transaction_id:
            part.status, part.ended_at = Status.SUCCEEDED, part.ended_at or timezone.now()
            refund_documents.note_arrival(part)
        case _:
            part.status = Status.PENDING
    part.save(update_fields=_WORKED_ON)


def _book_sent(part: RefundPart) -> None:
    """The money left our balance: Dr 2120 and 2200, Cr 1100."""
    ledger.book(
        kind="refund_sent",
        reference=f"stripe:{part.balance_transaction_id}",
        occurred_at=timezone.now(),
        transfers=postings.refund_sent(
            customer_id=part.refund.customer_id,
            credit_nano_usd=part.credit_nano_usd,
            tax_nano_usd=_taxes(part),
            currency=part.currency,
        ),
        description=f"Refund of top-up {part.top_up_id}",
        customer_id=part.refund.customer_id,
    )


def _book_exchange(part: RefundPart, moved: Moved | None, *, reference: str) -> None:
    """Where the provider exchanges, the money left, or reached, our balance of another currency."""
    if moved is not None and moved.currency != part.currency:
        carried_nano_usd = part.credit_nano_usd + sum(_taxes(part).values())
        fx_bookings.exchanged(
            top_up=part.top_up,
            reference=f"stripe:{reference}:exchange",
            nano_usd=carried_nano_usd if moved.amount_cents > 0 else -carried_nano_usd,
            moved_cents=moved.amount_cents,
            currency=moved.currency,
        )


def _return(part: RefundPart, status: Status, why: str) -> None:
    """The money is in the wallet again: Cr 2100 from 2120, or from 1100 and with the tax once it had left."""
    left = part.balance_transaction_id is not None
    journal = ledger.credit(
        customer_id=part.refund.customer_id,
        amount_nano_usd=part.credit_nano_usd,
        kind="refund_returned",
        reference=f"stripe:{part.failure_transaction_id}"
        if part.failure_transaction_id
        else f"refund:{part.id}:returned",
        occurred_at=timezone.now(),
        transfers=postings.refund_returned(
            customer_id=part.refund.customer_id,
            credit_nano_usd=part.credit_nano_usd,
            tax_nano_usd=_taxes(part) if left else {},
            currency=part.currency if left else None,
        ),
        description=f"Refund returned: {why}"[:200] if why else "Refund returned",
        aged_at=ledger.ages_at(f"stripe:{part.top_up.payment_intent_id}"),
    )
    part.status, part.failure, part.ended_at = status, why[:200], timezone.now()
    part.save(update_fields=_WORKED_ON)
    if journal is not None:
        refund_documents.note_failure(part, journal_id=journal)


def _adopt(facts: RefundFacts) -> None:
    """A refund that somebody made at the provider: the credit it gives back is taken, what is missing is owed."""
    top_up = TopUp.objects.filter(charge_id=facts.charge_id, status=TopUp.Status.PAID).first()
    if top_up is None or not facts.balance_transaction_id or facts.status in ("failed", "canceled"):
        return
    with transaction.atomic():
        top_up = TopUp.objects.select_for_update(no_key=True).get(id=top_up.id)
        if RefundPart.objects.filter(provider_id=facts.id).exists():
            return
        customer_id = top_up.customer_id
        tax_cents = _tax_of(top_up, facts.amount_cents)
        net_cents = facts.amount_cents - tax_cents
        taxes = split(top_up, tax_cents)
        rate = nano_usd_per_cent(top_up)
        refund = Refund.objects.create(
            customer_id=customer_id,
            source=Refund.Source.PROVIDER,
            amount_nano_usd=net_cents * rate,
            reason="Made at the payment provider",
        )
        part = RefundPart.objects.create(
            refund=refund,
            top_up=top_up,
            currency=facts.currency,
            net_cents=net_cents,
            tax_cents=tax_cents,
            tax_parts=taxes,
            credit_nano_usd=net_cents * rate,
            status=Status.PENDING,
            provider_id=facts.id,
            sent_at=timezone.now(),
        )
        paid = ledger.lock_wallet(customer_id).paid
        covered = min(paid, part.credit_nano_usd)
        reference, now = f"refund:{part.id}", timezone.now()
        if covered:
            ledger.take(
                customer_id=customer_id,
                amount_nano_usd=covered,
                kind="refund",
                reference=reference,
                occurred_at=now,
                transfers=postings.refund_requested(customer_id=customer_id, credit_nano_usd=covered),
                description=f"Refund to {top_up.card}".strip(),
                from_reference=f"stripe:{top_up.payment_intent_id}",
            )
        if part.credit_nano_usd > covered:
            ledger.book(
                kind="refund_owed",
                reference=f"{reference}:owed",
                occurred_at=now,
                transfers=postings.refund_owed(customer_id=customer_id, credit_nano_usd=part.credit_nano_usd - covered),
                description="Refunded at the provider beyond the unused credit",
                customer_id=customer_id,
            )
    sync_part(facts)


def _tax_of(top_up: TopUp, amount_cents: int) -> int:
    """The tax in what goes back, rounded over all that went back: together it is exactly the payment's tax."""
    before = RefundPart.objects.filter(top_up=top_up).exclude(status__in=RefundPart.ENDED_BADLY)
    sums = before.aggregate(net=Sum("net_cents"), tax=Sum("tax_cents"))
    net, tax = sums["net"] or 0, sums["tax"] or 0
    wanted = share(top_up.tax_cents, net + tax + amount_cents, top_up.total_cents) - tax
    return min(max(0, wanted), amount_cents)


def _part_of(facts: RefundFacts) -> RefundPart | None:
    """Our row behind the provider's refund, locked: by its own id, or by the one that we put on it."""
    rows = RefundPart.objects.select_for_update(of=("self",)).select_related("refund", "top_up")
    known = rows.filter(provider_id=facts.id).first()
    if known or not facts.part:
        return known
    try:
        part_id = uuid.UUID(facts.part)
    except ValueError:
        return None
    ours = rows.filter(id=part_id, provider_id=None, top_up__charge_id=facts.charge_id)
    # One that was given up here and made there all the same is nobody's part: it is adopted, as one made by hand.
    return ours.exclude(status__in=RefundPart.ENDED_BADLY).first()


def _end_refund(refund_id: uuid.UUID) -> None:
    """The refund's status follows from its parts'; whoever ends it writes the letter."""
    found = set(RefundPart.objects.filter(refund_id=refund_id).values_list("status", flat=True))
    if not found <= set(_ENDED):
        status = Refund.Status.REQUESTED
    elif found == {Status.SUCCEEDED.value}:
        status = Refund.Status.DONE
    else:
        status = Refund.Status.PARTLY if Status.SUCCEEDED in found else Refund.Status.RETURNED
    ended = None if status == Refund.Status.REQUESTED else timezone.now()
    changed = Refund.objects.filter(id=refund_id).exclude(status=status).update(status=status, ended_at=ended)
    if changed and ended:
        refund = Refund.objects.select_related("customer").get(id=refund_id)
        notices.write(
            refund.customer, reference=f"refund:{refund.id}:{status}", letter=money_letters.refund_ended(refund)
        )


def _taxes(part: RefundPart) -> dict[str, int]:
    rate = nano_usd_per_cent(part.top_up)
    return {place: cents * rate for place, cents in part.tax_parts.items() if cents}


def nano_usd_per_cent(top_up: TopUp) -> int:
    return top_up.fx_rate.nano_usd_per_cent if top_up.fx_rate else NANO_USD_PER_CENT


def share(cents: int, part: int, whole: int) -> int:
    """Rounded half up to whole cents."""
    return (2 * cents * part + whole) // (2 * whole)


def split(top_up: TopUp, tax_cents: int) -> dict[str, int]:
    """Tax by jurisdiction; what does not divide goes to the last."""
    places = sorted((top_up.tax_parts or {"": top_up.tax_cents}).items())
    split, left, weight = {}, tax_cents, sum(cents for _, cents in places)
    for place, cents in places:
        split[place] = share(left, cents, weight) if weight else 0
        left, weight = left - split[place], weight - cents
    return split
