"""Price ceilings and markups: each a row that is written once and told in the audit log, and how they read."""

from datetime import datetime
from fractions import Fraction
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import ApiKey, Customer, User
from billing import display
from billing.models import Markup
from billing.money import NANO_USD_PER_USD
from signing.models import PriceCeiling
from signing.pm.quotes import fixed_text

# How people count a unit when they speak of dollars.
_SPOKEN = {"pixel": (10**6, "million pixels"), "second": (3_600, "hour"), "job": (1, "job")}
_DECIMALS = 12


def add_ceiling(*, user: User, valid_from: datetime | None = None, **given: Any) -> PriceCeiling:
    """In force from now or from `valid_from` on; without a limit it ends what was before. `given` are columns."""
    with transaction.atomic():
        row = PriceCeiling.objects.create(made_by=user, valid_from=valid_from or Now(), **given)
        row.refresh_from_db()
        after = {"subject": subject_text(row), "limit": limit_text(row), "valid_from": row.valid_from.isoformat()}
        customer = row.customer or (row.api_key.customer if row.api_key else None)
        audit.write(
            "price_ceiling.added", subject=f"price_ceiling:{row.pk}", actor=user, customer=customer, after=after
        )
    return row


def add_markup(
    *, user: User, customer: Customer | None, bps: int | None, reason: str, valid_from: datetime | None = None
) -> Markup:
    """In force from now or from `valid_from` on; None for `bps` ends what was before."""
    with transaction.atomic():
        row = Markup.objects.create(
            customer=customer, bps=bps, reason=reason, made_by=user, valid_from=valid_from or Now()
        )
        row.refresh_from_db()
        after = {"bps": bps, "reason": reason, "valid_from": row.valid_from.isoformat()}
        audit.write("markup.added", subject=f"markup:{row.pk}", actor=user, customer=customer, after=after)
    return row


def of_key(key: ApiKey) -> QuerySet[PriceCeiling]:
    """Every ceiling a key ever had, the newest first."""
    return PriceCeiling.objects.filter(api_key=key).select_related("made_by").order_by("-valid_from", "-id")


def subject_text(row: PriceCeiling) -> str:
    """`Everything`, `Capability 35, model x`, `Acme (account 7)`, `Key gw-fra-1 (ch_live_1a2b3c4d…)`"""
    if row.customer:
        return f"{row.customer.name} (account {row.customer_id})"
    if row.api_key:
        return f"Key {row.api_key}"
    if row.capability is not None:
        return f"Capability {row.capability}" + (f", model {row.model}" if row.model else "")
    return "Everything"


def limit_text(row: PriceCeiling) -> str:
    """`$1.10 per hour` or `1,200 wei per pixel`, to the last digit that counts; `No ceiling`."""
    spoken, word = _SPOKEN[row.unit]
    if row.limit_nano_usd is not None:
        dollars = Fraction(row.limit_nano_usd * spoken, row.per_units * NANO_USD_PER_USD)
        return f"${_trimmed(dollars, least=2)} per {word}"
    if row.limit_wei is not None:
        return f"{_trimmed(Fraction(row.limit_wei, row.per_units))} wei per {row.unit}"
    return f"No ceiling per {row.unit}"


def markup_text(row: Markup) -> str:
    if row.bps is not None:
        return display.bps_text(row.bps)
    return "The default again" if row.customer_id else "The setting again"


def _trimmed(value: Fraction, *, least: int = 0) -> str:
    whole, _, decimals = fixed_text(value, _DECIMALS).partition(".")
    decimals = decimals.rstrip("0").ljust(least, "0")
    return f"{int(whole):,}" + (f".{decimals}" if decimals else "")
