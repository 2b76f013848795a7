"""A top-up by a card that waits at the provider: one payment there for one row here, so it is charged once at most."""

import logging
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from accounts.models import Customer
from billing import declines, payers, stripe_gateway, taxing
from billing.models import SavedCard, TopUp
from billing.stripe_gateway import Payment
from billing.top_up_booking import book, difference, end, received_difference

log = logging.getLogger(__name__)

# How long its holder has for the bank's page, and a wish for reaching the provider at all.
_PATIENCE = timedelta(hours=20)


def advance(top_up: TopUp) -> str:
    """Brings the row as far as it goes now and returns its status; the worker calls it, however often.

    First the payment is made at the provider (which charges nothing) and its id is written here; then it is confirmed.
    A worker may die between any two steps: the next one finds the payment by its id and looks how it stands. Raises
    stripe_gateway.Unavailable, Refused, CreditMissing.
    """
    if top_up.payment_intent_id is None:
        if top_up.status != TopUp.Status.STARTED:
            return top_up.status
        hindrance = _hindrance(top_up)
        if hindrance:
            return end(top_up, TopUp.Status.FAILED, hindrance, code="not_sent")
        try:
            taxing.calculate(top_up)
        except taxing.Unknown as error:
            return end(top_up, TopUp.Status.FAILED, str(error), code="tax_unknown")
        _create(top_up)
    assert top_up.payment_intent_id
    payment = stripe_gateway.payment(top_up.payment_intent_id)
    if payment.status == "requires_confirmation" and top_up.status == TopUp.Status.STARTED:
        hindrance = _hindrance(top_up)
        payment = stripe_gateway.cancel_payment(payment.id) if hindrance else _confirm(top_up, payment)
        if payment.status == "canceled":
            return end(top_up, TopUp.Status.FAILED, hindrance, code="not_sent")
    return _follow(top_up, payment)


def _follow(top_up: TopUp, payment: Payment) -> str:
    """Our row after what the provider says of its payment."""
    found = difference(
        top_up, reference=payment.reference, amount_cents=payment.amount_cents, currency=payment.currency
    )
    if payment.status == "succeeded":
        found = found or received_difference(top_up, payment)
    if found:
        log.error("top-up %s is not credited: %s", top_up.id, found)
        return end(top_up, TopUp.Status.FAILED, found, code="differs")
    match payment.status:
        case "succeeded":
            book(top_up, payment)
        case "processing":
            TopUp.objects.filter(id=top_up.id, status__in=["started", "open"]).update(status=TopUp.Status.PROCESSING)
        case "requires_action":
            return _lead_on(top_up, payment)
        case "requires_payment_method":
            return end(top_up, TopUp.Status.FAILED, declines.words(payment.error), code=payment.error)
        case "canceled":
            return end(top_up, TopUp.Status.EXPIRED, "The payment was not confirmed in time.")
    top_up.refresh_from_db()
    return top_up.status


def _lead_on(top_up: TopUp, payment: Payment) -> str:
    """Its holder has to confirm on the bank's page; who does not within hours is not charged any more."""
    if timezone.now() - top_up.created_at > _PATIENCE:
        return _follow(top_up, stripe_gateway.cancel_payment(payment.id))
    TopUp.objects.filter(id=top_up.id, status=TopUp.Status.STARTED).update(
        status=TopUp.Status.OPEN, checkout_url=payment.step_url
    )
    top_up.refresh_from_db()
    return top_up.status


def _create(top_up: TopUp) -> None:
    """A failure that the provider keeps under our key is stepped over: what it made was never confirmed."""
    try:
        payment = _ask(top_up)
    except stripe_gateway.AnswerStuck:
        _step_over(top_up)
        payment = _ask(top_up)
    except stripe_gateway.Refused as error:
        end(top_up, TopUp.Status.FAILED, f"The payment provider refused: {error}", code="refused")
        raise
    TopUp.objects.filter(id=top_up.id, payment_intent_id=None).update(payment_intent_id=payment.id)
    top_up.refresh_from_db()


def _ask(top_up: TopUp) -> Payment:
    assert top_up.saved_card
    return stripe_gateway.create_payment(
        reference=str(top_up.id),
        attempt=top_up.attempt,
        customer_id=payers.provider_id(top_up.customer, top_up.created_by),
        payment_method_id=top_up.saved_card.payment_method_id,
        amount_cents=top_up.total_cents,
        currency=top_up.currency,
    )


def _confirm(top_up: TopUp, payment: Payment) -> Payment:
    """A kept failure says nothing of what happened: the payment does; it is confirmed anew only when nothing did."""
    try:
        return _press(top_up, payment)
    except stripe_gateway.AnswerStuck:
        payment = stripe_gateway.payment(payment.id)
        if payment.status != "requires_confirmation":
            return payment
        _step_over(top_up)
        return _press(top_up, payment)


def _press(top_up: TopUp, payment: Payment) -> Payment:
    assert top_up.saved_card
    return stripe_gateway.confirm_payment(
        payment.id,
        reference=str(top_up.id),
        attempt=top_up.attempt,
        off_session=top_up.method == TopUp.Method.AUTO,
        first_use=top_up.saved_card.charged_at is None,
        return_url=f"{settings.WEB_URL}{reverse('top_up_return', args=[top_up.id])}",
    )


def _step_over(top_up: TopUp) -> None:
    TopUp.objects.filter(id=top_up.id, attempt=top_up.attempt).update(attempt=F("attempt") + 1)
    top_up.refresh_from_db()


def _hindrance(top_up: TopUp) -> str:
    """Why the card is not to be charged (any more), in words; looked at again right before it would be."""
    if timezone.now() - top_up.created_at > _PATIENCE:
        return "The payment provider could not be reached in time. Nothing was charged."
    customer = Customer.objects.get(id=top_up.customer_id)
    if customer.status != Customer.Status.ACTIVE:
        return "The account is frozen. Nothing was charged."
    assert top_up.saved_card_id
    card = SavedCard.objects.filter(id=top_up.saved_card_id, removed_at=None).first()
    return "" if card else "The card was removed. Nothing was charged."
