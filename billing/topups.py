"""Paying in: a row first, then the provider's page, then the credit, exactly once."""

import logging
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from accounts.models import Customer, User
from billing import documents, ledger, payers, postings, stripe_gateway
from billing.models import TopUp
from billing.money import NANO_USD_PER_CENT

log = logging.getLogger(__name__)

CURRENCY = "usd"
# The provider keeps the answer to an idempotency key for a day; an older wish is never sent again.
REPEATABLE = timedelta(hours=20)
_UNPAID = (TopUp.Status.STARTED, TopUp.Status.OPEN, TopUp.Status.PROCESSING)


class AmountOutOfRange(Exception):
    """The amount is not between the smallest and the largest top-up."""


class CreditMissing(Exception):
    """The money of a top-up was booked before under another row: nothing may be changed by hand-waving."""


def start(*, customer: Customer, user: User, amount_cents: int, top_up_id: uuid.UUID | None = None) -> TopUp:
    """Writes the wish down, asks the provider for its page and gives the row.

    OPEN with `checkout_url` as a rule; STARTED when the provider does not answer (the sweep goes on asking); FAILED
    when it refuses. `top_up_id` comes with the form: the same form sent twice is the same row and the same page.
    Raises AmountOutOfRange and stripe_gateway.NotConfigured, both before anything is written.
    """
    if not settings.STRIPE_SECRET_KEY:
        raise stripe_gateway.NotConfigured
    if not settings.TOP_UP_MINIMUM_CENTS <= amount_cents <= settings.TOP_UP_MAXIMUM_CENTS:
        raise AmountOutOfRange
    top_up = _row(customer, user, amount_cents, top_up_id or uuid.uuid4())
    if top_up.status == TopUp.Status.STARTED:
        try:
            _open(top_up)
        except (stripe_gateway.Unavailable, stripe_gateway.Refused) as error:
            log.warning("top-up %s has no payment page yet: %s", top_up.id, error)
    return top_up


def settle(top_up_id: uuid.UUID, *, session_id: str | None = None) -> str:
    """Asks the provider how the payment stands and books what that says; returns the row's status.

    However often and by whomever it is called, the credit and the fee are booked once. `session_id` is what an
    event named, for a row whose own answer was lost. Raises stripe_gateway.Unavailable, Refused, TopUp.DoesNotExist.
    """
    top_up = TopUp.objects.get(id=top_up_id)
    if top_up.checkout_session_id is None and session_id is None:
        if top_up.status != TopUp.Status.STARTED:
            return top_up.status
        if timezone.now() - top_up.created_at > REPEATABLE:
            return _end(top_up, TopUp.Status.EXPIRED, "The payment page was never shown.")
        _open(top_up)
    session = stripe_gateway.checkout_session(top_up.checkout_session_id or session_id or "")
    difference = _difference(top_up, session)
    if difference:
        log.error("top-up %s is not credited: %s", top_up.id, difference)
        return _end(top_up, TopUp.Status.FAILED, difference)
    if session.payment_status == "paid" and session.payment is not None:
        _book(top_up, session, session.payment)
    elif session.status == "expired":
        _end(top_up, TopUp.Status.EXPIRED, "")
    elif session.status == "complete" and _given_up(session):
        _end(top_up, TopUp.Status.FAILED, "The payment did not go through.")
    top_up.refresh_from_db()
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
    return asked


def _row(customer: Customer, user: User, amount_cents: int, top_up_id: uuid.UUID) -> TopUp:
    values: dict[str, Any] = {
        "customer": customer,
        "created_by": user,
        "amount_cents": amount_cents,
        "currency": CURRENCY,
        "net_cents": amount_cents,
        "total_cents": amount_cents,
        "credit_nano_usd": amount_cents * NANO_USD_PER_CENT,
    }
    TopUp.objects.bulk_create([TopUp(id=top_up_id, **values)], ignore_conflicts=True)
    known = TopUp.objects.filter(id=top_up_id, customer=customer, amount_cents=amount_cents).first()
    # The id of somebody else's row, or of a form whose amount was changed after it was sent: a wish of its own.
    return known or TopUp.objects.create(**values)


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
        _end(top_up, TopUp.Status.FAILED, f"The payment provider refused: {error}")
        raise
    TopUp.objects.filter(id=top_up.id, status=TopUp.Status.STARTED).update(
        status=TopUp.Status.OPEN, checkout_session_id=session.id, checkout_url=session.url
    )
    top_up.refresh_from_db()


def _page(top_up: TopUp) -> stripe_gateway.CheckoutSession:
    back = f"{settings.WEB_URL}{reverse('top_up_return', args=[top_up.id])}"
    return stripe_gateway.create_checkout_session(
        reference=str(top_up.id),
        attempt=top_up.attempt,
        customer_id=payers.provider_id(top_up.customer, top_up.created_by),
        amount_cents=top_up.total_cents,
        currency=top_up.currency,
        title="Prepaid balance",
        success_url=back,
        cancel_url=f"{back}?left=1",
    )


def _difference(top_up: TopUp, session: stripe_gateway.CheckoutSession) -> str:
    """What the provider has otherwise than our row, in words; empty when they agree."""
    if session.reference != str(top_up.id):
        return f"The provider's session {session.id} belongs to another top-up."
    asked = _amount(top_up.total_cents, top_up.currency)
    if _amount(session.amount_cents, session.currency) != asked:
        return f"Asked for {asked}, the provider has {_amount(session.amount_cents, session.currency)}."
    if top_up.credit_nano_usd != _nano_usd(top_up, top_up.net_cents) or not _taxes_add_up(top_up):
        return "The parts of this top-up do not add up."
    payment = session.payment
    if session.payment_status == "paid" and payment is not None:
        paid = _amount(payment.received_cents, payment.currency)
        return "" if paid == asked else f"Asked for {asked}, the provider received {paid}."
    return ""


def _taxes_add_up(top_up: TopUp) -> bool:
    return not top_up.tax_parts or sum(top_up.tax_parts.values()) == top_up.tax_cents


def _amount(cents: int, currency: str) -> str:
    return f"{cents // 100}.{cents % 100:02d} {currency.upper()}"


def _nano_usd(top_up: TopUp, cents: int) -> int:
    """What an amount of the top-up's currency is in the books, at its recorded rate; exact, rates are per cent."""
    if top_up.currency == CURRENCY:
        return cents * NANO_USD_PER_CENT
    assert top_up.fx_rate, "another currency comes with its rate"
    return cents * top_up.fx_rate.nano_usd_per_cent


def _given_up(session: stripe_gateway.CheckoutSession) -> bool:
    """A finished page whose payment will not come: a bank transfer that bounced, for instance."""
    return session.payment is not None and session.payment.status in ("canceled", "requires_payment_method")


def _book(top_up: TopUp, session: stripe_gateway.CheckoutSession, payment: stripe_gateway.Payment) -> None:
    """Status, credit and fee in one transaction; the first caller moves the row, all others find it moved."""
    now = timezone.now()
    with transaction.atomic(durable=True):
        mine = (
            TopUp.objects.filter(id=top_up.id)
            .exclude(status=TopUp.Status.PAID)
            .update(
                status=TopUp.Status.PAID,
                payment_intent_id=payment.id,
                checkout_session_id=session.id,
                charge_id=payment.charge_id or None,
                payment_method_id=payment.payment_method_id,
                card=payment.card.title,
                card_fingerprint=payment.card.fingerprint,
                card_country=payment.card.country,
                receipt_url=payment.receipt_url,
                failure="",
                settled_at=now,
            )
        )
        if mine:
            journal = ledger.credit(
                customer_id=top_up.customer_id,
                amount_nano_usd=top_up.credit_nano_usd,
                kind="top_up",
                reference=f"stripe:{payment.id}",
                occurred_at=now,
                transfers=_transfers(top_up),
                description=f"Top-up {payment.card.title}".strip(),
            )
            if journal is None:
                raise CreditMissing(payment.id)
            documents.issue_receipt(top_up, journal_id=journal)
        if payment.fee is not None:
            _book_fee(top_up, payment.fee)
    if mine:
        log.info("top-up %s credited: %s cents to customer %s", top_up.id, top_up.amount_cents, top_up.customer_id)


def _transfers(top_up: TopUp) -> list[postings.Transfer]:
    parts = top_up.tax_parts or {"": top_up.tax_cents}
    return postings.top_up(
        customer_id=top_up.customer_id,
        gross_nano_usd=_nano_usd(top_up, top_up.total_cents),
        tax_nano_usd={place: _nano_usd(top_up, cents) for place, cents in parts.items()},
        currency=top_up.currency,
    )


def _book_fee(top_up: TopUp, fee: stripe_gateway.Fee) -> None:
    """The provider's fee, once per balance transaction; the books are in dollars alone."""
    if fee.currency != CURRENCY:
        log.error("fee %s is in %s and is not booked", fee.balance_transaction_id, fee.currency)
        return
    mine = TopUp.objects.filter(id=top_up.id, balance_transaction_id=None).update(
        balance_transaction_id=fee.balance_transaction_id, fee_cents=fee.amount_cents
    )
    if mine and fee.amount_cents:
        ledger.book(
            kind="provider_fee",
            reference=f"stripe:{fee.balance_transaction_id}:fee",
            occurred_at=timezone.now(),
            transfers=postings.provider_fee(fee_nano_usd=fee.amount_cents * NANO_USD_PER_CENT),
            description=f"Fee of top-up {top_up.id}",
        )


def _end(top_up: TopUp, status: TopUp.Status, failure: str) -> str:
    """Ends an unpaid row; a paid one stays paid."""
    TopUp.objects.filter(id=top_up.id, status__in=_UNPAID).update(status=status, failure=failure[:200])
    top_up.refresh_from_db()
    return top_up.status


def _due(limit: int) -> Iterator[uuid.UUID]:
    """Claims one row after the other, so that two sweeps at once share the work."""
    for _ in range(limit):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE billing_topup SET checked_at = clock_timestamp() WHERE id = (
                    SELECT id FROM billing_topup
                    WHERE (status IN ('started', 'open', 'processing')
                           OR (status = 'paid' AND balance_transaction_id IS NULL))
                      AND method <> 'bank'
                      AND created_at < clock_timestamp() - interval '1 minute'
                      AND created_at > clock_timestamp() - interval '30 days'
                      AND coalesce(checked_at, '-infinity') < clock_timestamp()
                          - greatest(interval '30 seconds', (clock_timestamp() - created_at) / 8)
                    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
                ) RETURNING id
                """
            )
            row = cursor.fetchone()
        if row is None:
            return
        yield row[0]
