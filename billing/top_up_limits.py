"""How much may be paid in: at once, the first time, and in a day; told in words before anything is charged."""

from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from billing import display
from billing.models import FxRate, TopUp
from billing.money import NANO_USD_PER_CENT

_WAITING = (TopUp.Status.STARTED, TopUp.Status.OPEN, TopUp.Status.PROCESSING)
_DAY = timedelta(hours=24)


class AmountOutOfRange(Exception):
    """The amount is too small or too large; the text says what is possible."""


def range_cents(rate: FxRate | None) -> tuple[int, int]:
    """The smallest and the largest top-up in minor units of the rate's currency, dollars without one."""
    least, most = settings.TOP_UP_MINIMUM_CENTS, settings.TOP_UP_MAXIMUM_CENTS
    if rate is None:
        return least, most
    return (
        -(-least * NANO_USD_PER_CENT // rate.nano_usd_per_cent),
        most * NANO_USD_PER_CENT // rate.nano_usd_per_cent,
    )


def check(*, customer_id: int, amount_cents: int, currency: str, rate: FxRate | None, credit_nano_usd: int) -> None:
    """Raises AmountOutOfRange. Until the caller's transaction ends no other top-up of this customer is checked.

    What waits for payment counts, so that two pages open at once cannot pay in more than one.
    """
    least, most = range_cents(rate)
    if not least <= amount_cents <= most:
        shown = (display.cents_text(least, currency), display.cents_text(most, currency))
        raise AmountOutOfRange(f"Must be from {shown[0]} to {shown[1]}.")
    lock(customer_id)
    rows = TopUp.objects.filter(customer_id=customer_id).exclude(method=TopUp.Method.BANK)
    # A direct debit is on its way for days, and counts as long as it is.
    waiting = Q(status__in=_WAITING, created_at__gt=timezone.now() - _DAY) | Q(status=TopUp.Status.PROCESSING)
    first_nano_usd = settings.TOP_UP_FIRST_MAXIMUM_CENTS * NANO_USD_PER_CENT
    if not rows.filter(status=TopUp.Status.PAID).exists():
        _refuse_above(first_nano_usd, _sum(rows.filter(waiting)), credit_nano_usd, "before your first top-up is paid")
    recent = rows.filter(waiting | Q(status=TopUp.Status.PAID, settled_at__gt=timezone.now() - _DAY))
    day_nano_usd = settings.TOP_UP_DAY_MAXIMUM_CENTS * NANO_USD_PER_CENT
    _refuse_above(day_nano_usd, _sum(recent), credit_nano_usd, "within 24 hours")


def lock(customer_id: int) -> None:
    """One at a time for each customer; every role of the database may do this."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('billing_topup'), %s)", [customer_id])


def _refuse_above(limit: int, counted: int, wanted: int, when: str) -> None:
    if counted + wanted <= limit:
        return
    left = max(0, limit - counted)
    words = f"At most {display.usd_text(limit)} can be paid in {when}"
    if counted:
        words += f"; {display.usd_text(counted)} is counted already, also what waits for payment"
    raise AmountOutOfRange(f"{words}. {f'Up to {display.usd_text(left)} is possible now.' if left else ''}".strip())


def _sum(rows: QuerySet[TopUp]) -> int:
    return int(rows.aggregate(total=Sum("credit_nano_usd"))["total"] or 0)
