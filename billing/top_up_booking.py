"""A paid top-up in the books: compared with our row, then status, credit, receipt and fee in one transaction."""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from billing import cards, documents, fx, ledger, postings, stripe_gateway
from billing.models import AutoRecharge, SavedCard, TopUp

log = logging.getLogger(__name__)

UNPAID = (TopUp.Status.STARTED, TopUp.Status.OPEN, TopUp.Status.PROCESSING)


class CreditMissing(Exception):
    """The money of a top-up was booked before under another row: nothing may be changed by hand-waving."""


def difference(top_up: TopUp, *, reference: str, amount_cents: int, currency: str) -> str:
    """What the provider has otherwise than our row, in words; empty when they agree."""
    if reference != str(top_up.id):
        return "The provider's payment belongs to another top-up."
    asked = amount_text(top_up.total_cents, top_up.currency)
    if amount_text(amount_cents, currency) != asked:
        return f"Asked for {asked}, the provider has {amount_text(amount_cents, currency)}."
    if top_up.credit_nano_usd != _nano_usd(top_up, top_up.net_cents) or not _taxes_add_up(top_up):
        return "The parts of this top-up do not add up."
    return ""


def received_difference(top_up: TopUp, payment: stripe_gateway.Payment) -> str:
    """The same for what the provider says it received."""
    asked, paid = (
        amount_text(top_up.total_cents, top_up.currency),
        amount_text(payment.received_cents, payment.currency),
    )
    return "" if paid == asked else f"Asked for {asked}, the provider received {paid}."


def amount_text(cents: int, currency: str) -> str:
    return f"{cents // 100}.{cents % 100:02d} {currency.upper()}"


def book(top_up: TopUp, payment: stripe_gateway.Payment, *, session_id: str | None = None) -> None:
    """The first caller moves the row to PAID, all others find it moved; the fee is booked once, when it is known.

    Raises CreditMissing.
    """
    now = timezone.now()
    with transaction.atomic(durable=True):
        mine = (
            TopUp.objects.filter(id=top_up.id)
            .exclude(status=TopUp.Status.PAID)
            .update(
                status=TopUp.Status.PAID,
                payment_intent_id=payment.id,
                checkout_session_id=session_id or top_up.checkout_session_id,
                charge_id=payment.charge_id or None,
                payment_method_id=payment.payment_method_id,
                card=payment.card.title,
                card_fingerprint=payment.card.fingerprint,
                card_country=payment.card.country,
                receipt_url=payment.receipt_url,
                failure="",
                failure_code="",
                settled_at=now,
            )
        )
        if mine:
            _credit(top_up, payment)
            _note_card(top_up, payment)
        if payment.fee is not None:
            _book_fee(top_up, payment.fee)
    if mine:
        log.info("top-up %s credited: %s cents to customer %s", top_up.id, top_up.amount_cents, top_up.customer_id)


def end(top_up: TopUp, status: TopUp.Status, failure: str, *, code: str = "") -> str:
    """Ends an unpaid row; a paid one stays paid. AUTO_RECHARGE_TRIES declines in a row end recharging as well."""
    with transaction.atomic():
        ended = TopUp.objects.filter(id=top_up.id, status__in=UNPAID).update(
            status=status, failure=failure[:200], failure_code=code[:60]
        )
        if ended and top_up.method == TopUp.Method.AUTO:
            _count_decline(top_up, failure)
    top_up.refresh_from_db()
    return top_up.status


def _credit(top_up: TopUp, payment: stripe_gateway.Payment) -> None:
    """Money that was drawn from a card or an account is fresh for a while: it can still be taken back."""
    now = timezone.now()
    journal = ledger.credit(
        customer_id=top_up.customer_id,
        amount_nano_usd=top_up.credit_nano_usd,
        kind="top_up",
        reference=f"stripe:{payment.id}",
        occurred_at=now,
        transfers=_transfers(top_up),
        description=f"Top-up {payment.card.title}".strip(),
        aged_at=now + timedelta(days=settings.CARD_MONEY_AGE_DAYS),
    )
    if journal is None:
        raise CreditMissing(payment.id)
    documents.issue_receipt(top_up, journal_id=journal)


def _note_card(top_up: TopUp, payment: stripe_gateway.Payment) -> None:
    """A card that its holder let us keep is kept; one that waited has been used; recharging counts anew."""
    if top_up.saves_card and payment.method == "card" and payment.payment_method_id:
        cards.keep(
            customer=top_up.customer,
            user=top_up.created_by,
            payment_method_id=payment.payment_method_id,
            card=payment.card,
            consented_at=top_up.created_at,
            charged=True,
        )
    if top_up.saved_card_id:
        SavedCard.objects.filter(id=top_up.saved_card_id, charged_at=None).update(charged_at=timezone.now())
    if top_up.method == TopUp.Method.AUTO:
        AutoRecharge.objects.filter(customer_id=top_up.customer_id).update(failures=0, not_before=None)


def _count_decline(top_up: TopUp, failure: str) -> None:
    """A pause after each decline, the end after AUTO_RECHARGE_TRIES."""
    recharge = AutoRecharge.objects.select_for_update().get(customer_id=top_up.customer_id)
    recharge.failures += 1
    recharge.not_before = timezone.now() + timedelta(seconds=settings.AUTO_RECHARGE_PAUSE_SECONDS)
    recharge.notice = AutoRecharge.Notice.DECLINED
    if recharge.failures >= settings.AUTO_RECHARGE_TRIES and recharge.is_on:
        recharge.is_on = False
        recharge.off_reason = f"Switched off after {recharge.failures} declined charges. {failure}"[:200]
        recharge.notice = AutoRecharge.Notice.GAVE_UP
    recharge.save(update_fields=["failures", "not_before", "notice", "is_on", "off_reason"])


def _transfers(top_up: TopUp) -> list[postings.Transfer]:
    parts = top_up.tax_parts or {"": top_up.tax_cents}
    return postings.top_up(
        customer_id=top_up.customer_id,
        gross_nano_usd=_nano_usd(top_up, top_up.total_cents),
        tax_nano_usd={place: _nano_usd(top_up, cents) for place, cents in parts.items()},
        currency=top_up.currency,
    )


def _book_fee(top_up: TopUp, fee: stripe_gateway.Fee) -> None:
    """The provider's fee, once per balance transaction, and what it made of the money when it exchanged it.

    Money that stays in its currency is carried at the rate of its top-up, the fee too. When the provider settles in
    another currency, what arrived there replaces the carried amount and the difference is a currency gain or loss.
    """
    settled = top_up.fx_rate if fee.currency == top_up.currency else fx.latest(fee.currency, now=timezone.now())
    if fee.currency != fx.USD and settled is None:
        log.error("fee %s is in %s, of which no rate is recorded", fee.balance_transaction_id, fee.currency)
        return
    mine = TopUp.objects.filter(id=top_up.id, balance_transaction_id=None).update(
        balance_transaction_id=fee.balance_transaction_id, fee_cents=fee.amount_cents
    )
    if not mine:
        return
    if fee.currency != top_up.currency:
        ledger.book(
            kind="exchange",
            reference=f"stripe:{fee.balance_transaction_id}:exchange",
            occurred_at=timezone.now(),
            transfers=postings.exchange(
                from_currency=top_up.currency,
                carried_nano_usd=_nano_usd(top_up, top_up.total_cents),
                to_currency=fee.currency,
                arrived_nano_usd=fx.nano_usd(fee.gross_cents, settled),
            ),
            description=f"Top-up {top_up.id} arrived in {fee.currency.upper()}",
        )
    if fee.amount_cents:
        ledger.book(
            kind="provider_fee",
            reference=f"stripe:{fee.balance_transaction_id}:fee",
            occurred_at=timezone.now(),
            transfers=postings.provider_fee(fee_nano_usd=fx.nano_usd(fee.amount_cents, settled), currency=fee.currency),
            description=f"Fee of top-up {top_up.id}",
        )


def _nano_usd(top_up: TopUp, cents: int) -> int:
    assert top_up.currency == fx.USD or top_up.fx_rate, "another currency comes with its rate"
    return fx.nano_usd(cents, top_up.fx_rate if top_up.currency != fx.USD else None)


def _taxes_add_up(top_up: TopUp) -> bool:
    return not top_up.tax_parts or sum(top_up.tax_parts.values()) == top_up.tax_cents
