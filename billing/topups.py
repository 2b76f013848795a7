"""Paying in: a row first, then the provider's page or a card that waits there, then the credit, exactly once."""

import logging
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from accounts import claims
from accounts.models import Customer, User
from billing import card_payments, declines, fx, stripe_gateway, taxing, top_up_limits
from billing.models import SavedCard, TopUp
from billing.top_up_booking import CreditMissing, book, difference, end, received_difference
from billing.top_up_limits import AmountOutOfRange

__all__ = ["AmountOutOfRange", "CreditMissing", "cancel", "settle", "start", "sweep", "wish"]

log = logging.getLogger(__name__)

# The provider keeps the answer to an idempotency key for a day; an older wish is never sent again.
REPEATABLE = timedelta(hours=20)
# What arrives days later comes from banks of one currency.
_BANKS_OF = {"eur": "sepa_debit", "usd": "us_bank_account"}


def start(
    *,
    customer: Customer,
    user: User,
    amount_cents: int,
    currency: str = fx.USD,
    top_up_id: uuid.UUID | None = None,
    card: SavedCard | None = None,
    saves_card: bool = False,
    ip: str | None = None,
) -> TopUp:
    """Writes the wish down; without a saved card asks the provider for its page. Gives the row.

    OPEN with `checkout_url` as a rule; STARTED when the provider does not answer (the sweep goes on asking) and for a
    saved card, which the worker charges; FAILED when the provider refuses. `top_up_id` comes with the form: the same
    form sent twice is the same row. `saves_card` says that the customer agreed to have the card kept, `ip` where the
    wish came from.
    Raises AmountOutOfRange, fx.RateMissing, stripe_gateway.NotConfigured and taxing.ProfileNeeded, all before anything
    is written.
    """
    if not settings.STRIPE_SECRET_KEY:
        raise stripe_gateway.NotConfigured
    taxing.plan(customer)
    top_up = wish(
        customer=customer,
        user=user,
        amount_cents=amount_cents,
        currency=currency,
        top_up_id=top_up_id or uuid.uuid4(),
        method=TopUp.Method.SAVED_CARD if card else TopUp.Method.CHECKOUT,
        saved_card=card,
        saves_card=saves_card,
        ip=ip,
    )
    if top_up.status == TopUp.Status.STARTED and top_up.method == TopUp.Method.CHECKOUT:
        try:
            _open(top_up)
        except (stripe_gateway.Unavailable, stripe_gateway.Refused) as error:
            log.warning("top-up %s has no payment page yet: %s", top_up.id, error)
    return top_up


def wish(
    *, customer: Customer, user: User, amount_cents: int, currency: str, top_up_id: uuid.UUID, **more: Any
) -> TopUp:
    """The row of a wish within the limits; the one that is there when the same id comes again.

    Raises AmountOutOfRange, fx.RateMissing.
    """
    same = TopUp.objects.filter(id=top_up_id, customer=customer, amount_cents=amount_cents, currency=currency)
    known = same.filter(method=more["method"], saved_card=more["saved_card"]).first()
    if known:
        return known
    rate = fx.for_sale(currency)
    credit_nano_usd = fx.nano_usd(amount_cents, rate)
    values: dict[str, Any] = {
        "customer": customer,
        "created_by": user,
        "amount_cents": amount_cents,
        "currency": currency,
        "net_cents": amount_cents,
        "total_cents": amount_cents,
        "fx_rate": rate,
        "credit_nano_usd": credit_nano_usd,
        **more,
    }
    with transaction.atomic():
        top_up_limits.lock(customer.pk)
        # The same form at the same moment: whoever waited for the lock finds the row.
        known = same.filter(method=more["method"], saved_card=more["saved_card"]).first()
        if known:
            return known
        top_up_limits.check(
            customer_id=customer.pk,
            amount_cents=amount_cents,
            currency=currency,
            rate=rate,
            credit_nano_usd=credit_nano_usd,
        )
        # The id of somebody else's row, or of a form that was changed after it was sent: a wish of its own.
        taken = TopUp.objects.filter(id=top_up_id).exists()
        return TopUp.objects.create(id=uuid.uuid4() if taken else top_up_id, **values)


def settle(top_up_id: uuid.UUID, *, session_id: str | None = None) -> str:
    """Asks the provider how the payment stands and books what that says; returns the row's status.

    However often and by whomever it is called, the credit and the fee are booked once. `session_id` is what an
    event named, for a row whose own answer was lost. Raises stripe_gateway.Unavailable, Refused, CreditMissing,
    TopUp.DoesNotExist.
    """
    top_up = TopUp.objects.get(id=top_up_id)
    match top_up.method:
        case TopUp.Method.SAVED_CARD | TopUp.Method.AUTO:
            return card_payments.advance(top_up)
        case TopUp.Method.BANK:
            return top_up.status
    if top_up.checkout_session_id is None and session_id is None:
        if top_up.status != TopUp.Status.STARTED:
            return top_up.status
        if timezone.now() - top_up.created_at > REPEATABLE:
            return end(top_up, TopUp.Status.EXPIRED, "The payment page was never shown.")
        _open(top_up)
        if top_up.checkout_session_id is None:
            return top_up.status
    return _follow(top_up, stripe_gateway.checkout_session(top_up.checkout_session_id or session_id or ""))


def cancel(top_up_id: uuid.UUID) -> str:
    """Closes the page of a wish that is not wanted any more; what was paid meanwhile is credited.

    Raises stripe_gateway.Unavailable, Refused, CreditMissing.
    """
    top_up = TopUp.objects.get(id=top_up_id)
    if top_up.status == TopUp.Status.OPEN and top_up.checkout_session_id:
        return _follow(top_up, stripe_gateway.expire_checkout_session(top_up.checkout_session_id))
    if top_up.status == TopUp.Status.OPEN and top_up.payment_intent_id:
        stripe_gateway.cancel_payment(top_up.payment_intent_id)
        return card_payments.advance(top_up)
    return top_up.status


def sweep(*, limit: int = 200) -> int:
    """Settles what no event told us about; returns how many rows were asked for.

    A row is asked for again after a pause that grows with its age, so that an abandoned page costs some sixty
    questions a day.
    """
    asked = 0
    for top_up_id in _due(limit):
        asked += 1
        try:
            settle(top_up_id)
        except stripe_gateway.Unavailable as error:
            log.warning("the payment provider does not answer (%s); the sweep goes on later", error)
            break
        except stripe_gateway.Refused as error:
            log.error("the payment provider refuses to tell about top-up %s: %s", top_up_id, error)
        except CreditMissing as error:
            log.error("top-up %s was booked under another row: %s", top_up_id, error)
    return asked


def _follow(top_up: TopUp, session: stripe_gateway.CheckoutSession) -> str:
    """Our row after what the provider says of its page and payment."""
    payment = session.payment
    paid = session.payment_status == "paid" and payment is not None
    found = difference(
        top_up, reference=session.reference, amount_cents=session.amount_cents, currency=session.currency
    )
    if paid and payment is not None:
        found = found or received_difference(top_up, payment)
    if found:
        log.error("top-up %s is not credited: %s", top_up.id, found)
        return end(top_up, TopUp.Status.FAILED, found, code="differs")
    if paid and payment is not None:
        book(top_up, payment, session_id=session.id)
    elif session.status == "expired":
        return end(top_up, TopUp.Status.EXPIRED, "")
    elif session.status == "complete" and payment is not None:
        return _wait_for_bank(top_up, session, payment)
    top_up.refresh_from_db()
    return top_up.status


def _wait_for_bank(top_up: TopUp, session: stripe_gateway.CheckoutSession, payment: stripe_gateway.Payment) -> str:
    """A finished page whose money is on its way for days, or came to nothing."""
    if payment.status in ("canceled", "requires_payment_method"):
        return end(top_up, TopUp.Status.FAILED, declines.words(payment.error), code=payment.error)
    TopUp.objects.filter(id=top_up.id, status__in=["started", "open"]).update(
        status=TopUp.Status.PROCESSING, checkout_session_id=session.id
    )
    top_up.refresh_from_db()
    return top_up.status


def _open(top_up: TopUp) -> None:
    """STARTED to OPEN. The row's id is the idempotency key: a lost answer is asked for again and is the same.

    A failure that the provider keeps under that key is stepped over with the next one: nobody ever saw the page that
    may hide behind it, so nothing can be paid there.
    """
    try:
        session = _page(top_up)
    except stripe_gateway.AnswerStuck:
        TopUp.objects.filter(id=top_up.id, attempt=top_up.attempt).update(attempt=F("attempt") + 1)
        top_up.refresh_from_db()
        session = _page(top_up)
    except stripe_gateway.Refused as error:
        end(top_up, TopUp.Status.FAILED, f"The payment provider refused: {error}", code="refused")
        raise
    except taxing.Unknown as error:
        end(top_up, TopUp.Status.FAILED, str(error), code="tax_unknown")
        return
    TopUp.objects.filter(id=top_up.id, status=TopUp.Status.STARTED).update(
        status=TopUp.Status.OPEN, checkout_session_id=session.id, checkout_url=session.url
    )
    top_up.refresh_from_db()


def _page(top_up: TopUp) -> stripe_gateway.CheckoutSession:
    back = f"{settings.WEB_URL}{reverse('top_up_return', args=[top_up.id])}"
    taxes = taxing.plan(top_up.customer)
    session = stripe_gateway.create_checkout_session(
        reference=str(top_up.id),
        attempt=top_up.attempt,
        customer_id=taxing.payer(top_up, taxes),
        amount_cents=top_up.net_cents,
        adds_tax=taxes is not None and taxes.asks_provider,
        currency=top_up.currency,
        title="Prepaid balance",
        methods=_methods(top_up),
        saves_card=top_up.saves_card,
        success_url=back,
        cancel_url=f"{back}?left=1",
    )
    if taxes:
        taxing.write_down(top_up, taxing.Quote(plan=taxes, lines=session.taxes, tax_cents=session.tax_cents))
    return session


def _methods(top_up: TopUp) -> list[str]:
    """Cards always; the banks of the currency where they are switched on, unless a card is to be kept."""
    bank = _BANKS_OF.get(top_up.currency, "")
    return ["card", bank] if bank in settings.TOP_UP_METHODS and not top_up.saves_card else ["card"]


def _due(limit: int) -> Iterator[uuid.UUID]:
    """Claims one row after the other, so that two sweeps at once share the work.

    A page is left to its events for a minute; a saved card waits for the worker alone and is taken up after seconds.
    """
    return claims.ids(
        """
        UPDATE billing_topup SET checked_at = clock_timestamp() WHERE id = (
            SELECT id FROM billing_topup
            WHERE (status IN ('started', 'open', 'processing')
                   OR (status = 'paid' AND balance_transaction_id IS NULL))
              AND method <> 'bank'
              AND created_at < clock_timestamp() - CASE
                  WHEN status = 'started' AND method <> 'checkout' THEN interval '3 seconds'
                  ELSE interval '1 minute' END
              AND created_at > clock_timestamp() - interval '30 days'
              AND coalesce(checked_at, '-infinity') < clock_timestamp()
                  - greatest(interval '30 seconds', (clock_timestamp() - created_at) / 8)
            ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING id
        """,
        limit,
    )
