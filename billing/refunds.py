"""Giving back unused credit: the money leaves the wallet first, then goes to the cards it came from, exactly once."""

import logging
import uuid
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from django.utils import timezone

from accounts import claims
from accounts.models import Customer, User
from billing import refund_bookings, stripe_gateway
from billing.models import Dispute, Refund, RefundPart
from billing.money import NANO_USD_PER_CENT

log = logging.getLogger(__name__)

Status = RefundPart.Status
# Refunds of one customer within this time count together towards the limit of one person.
LIMIT_WINDOW = timedelta(days=1)


class NotPossible(Exception):
    """The refund was not written; nothing changed. The text is for people."""


WHY_NOT = {
    "frozen": "This account is frozen. Nothing can be refunded until the operator has lifted the freeze.",
    "owes": "This account owes money from a disputed payment. Nothing can be refunded until that is paid.",
    "not_enough": "The balance holds less paid credit than that. Promotional credit is not paid out.",
    "less_refundable": "Less than that can go back to the cards it was paid with. What came by bank transfer goes back"
    " by bank transfer: ask the operator for that.",
}


def refundable_nano_usd(customer: Customer) -> int:
    """What could be asked for now, in whole cents: unused paid credit that can go back to its cards."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT least(billing_refundable(%s), coalesce((SELECT available_nano_usd - promo_nano_usd"
            " FROM billing_wallet WHERE customer_id = %s AND debt_nano_usd = 0), 0))",
            [customer.pk, customer.pk],
        )
        (nano_usd,) = cursor.fetchone()
    return int(nano_usd) // NANO_USD_PER_CENT * NANO_USD_PER_CENT


def request(*, customer: Customer, user: User, amount_nano_usd: int, reason: str, refund_id: uuid.UUID) -> Refund:
    """Writes the wish with its parts and takes the amount out of the wallet, in one step; nobody is asked yet.

    The same `refund_id` gives the same row. Raises NotPossible.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT billing_request_refund(%s, %s, %s, %s, %s)",
                [refund_id, customer.pk, amount_nano_usd, user.pk, reason[:200]],
            )
            (answer,) = cursor.fetchone()
    except IntegrityError:
        if not _is_crumb(customer, amount_nano_usd):
            raise
        raise NotPossible("That is less than the smallest coin of the currency it was paid in.") from None
    if answer in WHY_NOT:
        raise NotPossible(WHY_NOT[answer])
    refund = Refund.objects.filter(id=refund_id, customer=customer).first()
    if refund is None:
        raise NotPossible("This form belongs to another account. Open the page again.")
    return refund


def _is_crumb(customer: Customer, amount_nano_usd: int) -> bool:
    """Whether no payment that is left could give back even one minor unit of its currency for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(nano_usd_per_cent) > %s FROM billing_refundable_payments"
            " WHERE customer_id = %s AND net_left > 0",
            [amount_nano_usd, customer.pk],
        )
        return bool(cursor.fetchone()[0])


def needs_second_person(refund: Refund) -> bool:
    """Whether two people must look: all that a customer asked for within a day counts together."""
    near = Refund.objects.filter(
        customer_id=refund.customer_id,
        source=Refund.Source.ACCOUNT,
        created_at__gt=refund.created_at - LIMIT_WINDOW,
        created_at__lte=refund.created_at,
    ).exclude(status=Refund.Status.RETURNED)
    total: int = near.aggregate(total=Sum("amount_nano_usd"))["total"] or 0
    return total > settings.REFUND_APPROVAL_LIMIT_CENTS * NANO_USD_PER_CENT


def stop(refund: Refund, *, user: User, reason: str) -> bool:
    """Wishes that what was not sent yet goes back into the wallet; False when there is nothing left to stop."""
    waiting = Refund.objects.filter(id=refund.id, status=Refund.Status.REQUESTED, stopped_at=None)
    waiting = waiting.filter(parts__status=Status.PLANNED).distinct()
    if not waiting.exists():
        return False
    values = {"stopped_at": timezone.now(), "stopped_by": user, "stop_reason": reason[:200]}
    return bool(Refund.objects.filter(id=refund.id, stopped_at=None).update(**values))


def work(*, limit: int = 200) -> int:
    """Moves every part that waits one step on; returns how many were looked at."""
    looked = 0
    for part_id in _due(limit):
        looked += 1
        try:
            advance(part_id)
        except stripe_gateway.Unavailable as error:
            log.warning("refund part %s waits for the payment provider: %s", part_id, error)
            if not isinstance(error, stripe_gateway.AnswerStuck):
                break
        except stripe_gateway.Refused as error:
            log.error("the payment provider refuses to tell about refund part %s: %s", part_id, error)
    return looked


def advance(part_id: uuid.UUID) -> str:
    """One part as far as it can go now; returns its status. Raises Unavailable, Refused."""
    part = RefundPart.objects.select_related("refund", "refund__customer", "top_up").get(id=part_id)
    if part.status == Status.PLANNED and not _claim(part):
        part.refresh_from_db()
        return part.status
    if part.status in (Status.PLANNED, Status.SENDING):
        _send(part)
    elif part.provider_id:
        refund_bookings.sync_part(stripe_gateway.refund(part.provider_id))
    part.refresh_from_db()
    return part.status


def _claim(part: RefundPart) -> bool:
    """PLANNED to SENDING, if it may be sent; back into the wallet, if it may not any more."""
    refund = part.refund
    if refund.stopped_at or Dispute.objects.filter(top_up_id=part.top_up_id, stage__in=Dispute.BLOCKING).exists():
        refund_bookings.give_up(part.id, refund.stop_reason or "The payment is disputed.")
        return False
    if refund.customer.status == Customer.Status.FROZEN:
        return False
    if refund.approved_at is None and needs_second_person(refund):
        return False
    mine = RefundPart.objects.filter(id=part.id, status=Status.PLANNED)
    return bool(mine.update(status=Status.SENDING, sent_at=timezone.now()))


def _send(part: RefundPart) -> None:
    """Asks the provider. A part whose answer was lost is looked for first, so no key is too old to ask with."""
    charge_id = part.top_up.charge_id or ""
    found = None
    if part.status == Status.SENDING:
        found = next((known for known in stripe_gateway.refunds_of(charge_id) if known.part == str(part.id)), None)
    try:
        facts = found or stripe_gateway.create_refund(
            part=str(part.id), attempt=part.attempt, charge_id=charge_id, amount_cents=part.total_cents
        )
    except stripe_gateway.AnswerStuck:
        RefundPart.objects.filter(id=part.id, attempt=part.attempt).update(attempt=part.attempt + 1)
        raise
    except stripe_gateway.Refused as error:
        refund_bookings.give_up(part.id, f"The payment provider refused: {error}")
        return
    refund_bookings.sync_part(facts)


def _due(limit: int) -> Iterator[uuid.UUID]:
    """One part after the other: what waits, and what was sent long enough ago to be asked about."""
    return claims.ids(
        """
        UPDATE billing_refundpart SET checked_at = clock_timestamp() WHERE id = (
            SELECT id FROM billing_refundpart
            WHERE status IN ('planned', 'sending', 'pending')
              AND coalesce(checked_at, '-infinity') < clock_timestamp() - CASE
                  WHEN status = 'planned' THEN interval '5 seconds'
                  ELSE greatest(interval '30 seconds', (clock_timestamp() - created_at) / 8) END
            ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING id
        """,
        limit,
    )
