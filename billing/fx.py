"""What other currencies are worth in dollars: recorded rates, fresh enough or not used at all."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.models import User
from billing.models import FxRate
from billing.money import NANO_USD_PER_CENT

USD = "usd"


class RateMissing(Exception):
    """No rate of this currency is fresh enough to sell at."""


def offered(*, now: datetime) -> list[str]:
    """The currencies in which somebody can pay now: dollars, then those with a fresh rate."""
    return [USD, *(currency for currency in settings.TOP_UP_CURRENCIES if fresh(currency, now=now))]


def fresh(currency: str, *, now: datetime) -> FxRate | None:
    """The rate in force, unless it has grown older than FX_MAX_AGE_HOURS."""
    rate = latest(currency, now=now)
    age = timedelta(hours=settings.FX_MAX_AGE_HOURS)
    return rate if rate and rate.valid_from > now - age else None


def latest(currency: str, *, now: datetime) -> FxRate | None:
    """The rate in force, however old: for amounts that have moved already."""
    return FxRate.objects.filter(currency=currency, valid_from__lte=now).order_by("-valid_from", "-id").first()


def latest_now(currency: str) -> FxRate | None:
    return latest(currency, now=timezone.now())


def for_sale(currency: str) -> FxRate | None:
    """The rate at which a top-up is sold; None for dollars. Raises RateMissing."""
    if currency == USD:
        return None
    rate = fresh(currency, now=timezone.now()) if currency in settings.TOP_UP_CURRENCIES else None
    if rate is None:
        raise RateMissing(currency)
    return rate


def nano_usd(cents: int, rate: FxRate | None) -> int:
    """An amount in minor units in the books; exact, because rates are kept per minor unit."""
    return cents * (rate.nano_usd_per_cent if rate else NANO_USD_PER_CENT)


def record(*, currency: str, nano_usd_per_cent: int, source: str, user: User | None = None) -> FxRate:
    """In force from now on; `user` is who asked for it, when a person did."""
    rate = FxRate.objects.create(
        currency=currency, nano_usd_per_cent=nano_usd_per_cent, source=source[:80], recorded_by=user
    )
    rate.refresh_from_db()
    return rate


def refresh() -> int:
    """Asks FX_SOURCE for a new rate of each currency whose last one is half as old as allowed; how many were recorded.

    FX_SOURCE names a function that takes a currency and gives nano-dollars per minor unit; it runs in the worker.
    """
    if not settings.FX_SOURCE:
        return 0
    source: Callable[[str], int] = import_string(settings.FX_SOURCE)
    now, recorded = timezone.now(), 0
    for currency in settings.TOP_UP_CURRENCIES:
        rate = latest(currency, now=now)
        if rate is None or rate.valid_from < now - timedelta(hours=settings.FX_MAX_AGE_HOURS) / 2:
            record(currency=currency, nano_usd_per_cent=source(currency), source=settings.FX_SOURCE)
            recorded += 1
    return recorded
