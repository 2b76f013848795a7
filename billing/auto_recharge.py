"""Recharging without anybody's hand: the clock finds low balances, writes one wish each, and the card is charged.

Nothing of it happens inside a payment request. One automatic top-up waits at a time (the database sees to it), and what
is on its way counts as if it were there.
"""

import calendar
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q, Sum
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts import audit
from accounts.models import Customer, User
from billing import stripe_gateway, topups
from billing.models import AutoRecharge, SavedCard, TopUp, Wallet
from billing.money import NANO_USD_PER_CENT
from billing.top_up_limits import lock

log = logging.getLogger(__name__)

BURST, BURST_WITHIN = 3, timedelta(minutes=10)
_ON_ITS_WAY = (TopUp.Status.STARTED, TopUp.Status.OPEN, TopUp.Status.PROCESSING)


class NotUsable(Exception):
    """These settings would never charge anything, or more than they say; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a customer asks for, in US cents."""

    threshold_cents: int
    mode: str
    amount_cents: int
    cap_cents: int
    card: SavedCard


def switch_on(customer: Customer, wanted: Wanted, *, user: User) -> AutoRecharge:
    """Writes the settings and starts anew: earlier declines are forgotten. Raises NotUsable."""
    _check(wanted)
    values = {
        "is_on": True,
        "threshold_cents": wanted.threshold_cents,
        "mode": wanted.mode,
        "amount_cents": wanted.amount_cents,
        "cap_cents": wanted.cap_cents,
        "card": wanted.card,
        "failures": 0,
        "not_before": None,
        "off_reason": "",
        "changed_by": user,
        "changed_at": timezone.now(),
    }
    with transaction.atomic():
        if not AutoRecharge.objects.filter(customer=customer).update(**values):
            AutoRecharge.objects.bulk_create([AutoRecharge(customer=customer, **values)], ignore_conflicts=True)
        shown = {name: values[name] for name in ("threshold_cents", "mode", "amount_cents", "cap_cents")}
        audit.write(
            "auto_recharge.on",
            subject=f"customer:{customer.pk}",
            actor=user,
            customer=customer,
            after={**shown, "card": str(wanted.card)},
        )
    return AutoRecharge.objects.get(customer=customer)


def switch_off(customer: Customer, *, user: User) -> None:
    with transaction.atomic():
        if AutoRecharge.objects.filter(customer=customer, is_on=True).update(
            is_on=False, off_reason="", changed_by=user, changed_at=timezone.now()
        ):
            audit.write("auto_recharge.off", subject=f"customer:{customer.pk}", actor=user, customer=customer)


def run(*, limit: int = 100) -> int:
    """Looks for balances below their threshold and charges; returns how many top-ups were begun."""
    if not settings.STRIPE_SECRET_KEY:
        return 0
    begun = 0
    for customer_id in _low(limit):
        top_up = _begin(customer_id)
        if top_up is None:
            continue
        begun += 1
        try:
            topups.settle(top_up.id)
        except (stripe_gateway.Unavailable, stripe_gateway.Refused) as error:
            log.warning("automatic top-up %s goes on later: %s", top_up.id, error)
        except topups.CreditMissing as error:
            log.error("top-up %s was booked under another row: %s", top_up.id, error)
    return begun


def spent_cents(customer_id: int, *, now: datetime) -> int:
    """What was charged by itself in this calendar month (UTC), and what is on its way to be; before tax."""
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = Q(status=TopUp.Status.PAID, created_at__gte=month) | Q(status__in=_ON_ITS_WAY)
    rows = TopUp.objects.filter(counted, customer_id=customer_id, method=TopUp.Method.AUTO)
    return int(rows.aggregate(total=Sum("net_cents"))["total"] or 0)


def history(customer: Customer, *, limit: int = 20) -> list[TopUp]:
    rows = TopUp.objects.filter(customer=customer, method=TopUp.Method.AUTO)
    return list(rows.order_by("-created_at")[:limit])


def month_end(now: datetime) -> datetime:
    """When the monthly limit starts anew."""
    now = now.astimezone(UTC)
    days = calendar.monthrange(now.year, now.month)[1]
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start + timedelta(days=days)


def _check(wanted: Wanted) -> None:
    least, most = settings.TOP_UP_MINIMUM_CENTS, settings.TOP_UP_MAXIMUM_CENTS
    if wanted.mode == AutoRecharge.Mode.TARGET and wanted.amount_cents < wanted.threshold_cents + least:
        raise NotUsable("The balance to reach must be well above the one at which the card is charged.")
    if wanted.mode == AutoRecharge.Mode.AMOUNT and not least <= wanted.amount_cents <= most:
        raise NotUsable("The amount is outside of what one top-up may be.")
    if wanted.cap_cents < least or (wanted.mode == AutoRecharge.Mode.AMOUNT and wanted.cap_cents < wanted.amount_cents):
        raise NotUsable("The monthly limit is smaller than one charge.")


def _low(limit: int, *, customer_id: int | None = None) -> list[int]:
    """Who is on, may be charged, and holds less than the threshold with all that is on its way."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT a.customer_id FROM billing_autorecharge a
            JOIN accounts_customer c ON c.id = a.customer_id AND c.status = 'active'
            JOIN billing_savedcard s ON s.id = a.card_id AND s.removed_at IS NULL
            LEFT JOIN billing_wallet w ON w.customer_id = a.customer_id
            WHERE a.is_on AND coalesce(a.not_before, '-infinity') <= clock_timestamp()
              AND coalesce(w.debt_nano_usd, 0) = 0
              AND coalesce(w.available_nano_usd, 0) + (
                  SELECT coalesce(sum(t.credit_nano_usd), 0) FROM billing_topup t
                  WHERE t.customer_id = a.customer_id
                    AND (t.status = 'processing' OR (t.status = 'started' AND t.method <> 'checkout'))
              ) < a.threshold_cents::bigint * %s
              AND NOT EXISTS (SELECT 1 FROM billing_topup t WHERE t.customer_id = a.customer_id
                              AND t.method = 'auto' AND t.status IN ('started', 'open', 'processing'))
              AND a.customer_id = coalesce(%s, a.customer_id)
            ORDER BY a.customer_id LIMIT %s
            """,
            [NANO_USD_PER_CENT, customer_id, limit],
        )
        return [row[0] for row in cursor.fetchall() if not _is_stopped(row[0])]


def _is_stopped(customer_id: int) -> bool:
    """Rooms above this one say why somebody is not to be charged; settings name their functions."""
    guards: list[Callable[[int], bool]] = [import_string(path) for path in settings.AUTO_RECHARGE_GUARDS]
    return any(guard(customer_id) for guard in guards)


def _begin(customer_id: int) -> TopUp | None:
    """One wish, written while nobody else can write one for this customer; None when there is nothing to do now."""
    try:
        with transaction.atomic():
            lock(customer_id)
            recharge = AutoRecharge.objects.select_for_update().get(customer_id=customer_id)
            if not recharge.is_on or recharge.card is None or not _low(1, customer_id=customer_id):
                return None
            now = timezone.now()
            if _is_burst(recharge, now):
                return None
            amount_cents = _amount(recharge, now)
            if amount_cents is None:
                return None
            return topups.wish(
                customer=recharge.customer,
                user=recharge.changed_by,
                amount_cents=amount_cents,
                currency="usd",
                top_up_id=uuid.uuid4(),
                method=TopUp.Method.AUTO,
                saved_card=recharge.card,
            )
    except IntegrityError:
        return None  # another worker was first
    except topups.AmountOutOfRange as error:
        log.warning("customer %s is not recharged for a while: %s", customer_id, error)
        pause = timedelta(seconds=settings.AUTO_RECHARGE_PAUSE_SECONDS)
        AutoRecharge.objects.filter(customer_id=customer_id).update(not_before=timezone.now() + pause)
        return None


def _is_burst(recharge: AutoRecharge, now: datetime) -> bool:
    """Three charges within ten minutes are not how anybody uses credit: something is wrong, and it ends here."""
    recent = TopUp.objects.filter(
        customer_id=recharge.customer_id, method=TopUp.Method.AUTO, created_at__gt=now - BURST_WITHIN
    ).count()
    if recent < BURST:
        return False
    recharge.is_on = False
    recharge.off_reason = f"Switched off: {recent} charges within ten minutes."
    recharge.notice = AutoRecharge.Notice.BURST
    recharge.save(update_fields=["is_on", "off_reason", "notice"])
    log.error("automatic recharge of customer %s was switched off: a burst", recharge.customer_id)
    return True


def _amount(recharge: AutoRecharge, now: datetime) -> int | None:
    """What is charged now in US cents: as set, or what the month leaves of it; None when that is too little."""
    wallet = Wallet.objects.filter(customer_id=recharge.customer_id).first()
    available_cents = (wallet.available_nano_usd if wallet else 0) // NANO_USD_PER_CENT
    wanted = recharge.amount_cents
    if recharge.mode == AutoRecharge.Mode.TARGET:
        wanted = max(settings.TOP_UP_MINIMUM_CENTS, recharge.amount_cents - available_cents)
        wanted = min(wanted, settings.TOP_UP_MAXIMUM_CENTS)  # the next charge goes on from there
    left = recharge.cap_cents - spent_cents(recharge.customer_id, now=now)
    if min(wanted, left) >= settings.TOP_UP_MINIMUM_CENTS:
        return min(wanted, left)
    month = now.astimezone(UTC).date().replace(day=1)
    if recharge.capped_month != month:
        recharge.capped_month, recharge.notice = month, AutoRecharge.Notice.CAPPED
        recharge.save(update_fields=["capped_month", "notice"])
    return None
