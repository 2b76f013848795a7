"""What people type as a highest price, read exactly: an amount, its currency, and what it is for."""

import math
import re
from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone

from billing.money import NANO_USD_PER_USD

# So many digits that the whole number of the smallest parts fits the column.
_DOLLARS = re.compile(r"(\d{1,6})(?:\.(\d{1,12}))?", re.ASCII)
_WEI = re.compile(r"(\d{1,30})(?:\.(\d{1,6}))?", re.ASCII)
PER = {
    "hour": ("second", 3_600, "hour"),
    "second": ("second", 1, "second"),
    "million_pixels": ("pixel", 10**6, "million pixels"),
    "pixel": ("pixel", 1, "pixel"),
    "job": ("job", 1, "job"),
}


class LimitForm(forms.Form):
    """Cleaned to `limit`: the columns of a ceiling that say how much. An empty amount ends the ceiling."""

    amount = forms.CharField(label="At most", required=False, max_length=40)
    currency = forms.ChoiceField(label="Currency", choices=[("usd", "US dollars"), ("wei", "wei")])
    per = forms.ChoiceField(label="For each", choices=[(name, word) for name, (_, _, word) in PER.items()])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if {"amount", "currency", "per"} <= cleaned.keys():
            try:
                cleaned["limit"] = limit(cleaned["amount"].strip(), cleaned["currency"], cleaned["per"])
            except forms.ValidationError as error:
                self.add_error("amount", error)
        return cleaned


def limit(amount: str, currency: str, per: str) -> dict[str, Any]:
    """Whole wei or nano-dollars for a whole number of units, nothing rounded. Raises ValidationError."""
    unit, units, _ = PER[per]
    if not amount:
        return {"unit": unit, "limit_wei": None, "limit_nano_usd": None, "per_units": 1}
    pattern, column = (_DOLLARS, "limit_nano_usd") if currency == "usd" else (_WEI, "limit_wei")
    found = pattern.fullmatch(amount)
    if found is None:
        raise forms.ValidationError("Must be a number with a point before the decimals, such as 1.25.")
    decimals = (found[2] or "").rstrip("0")
    whole = int(found[1] + decimals)
    if not whole:
        raise forms.ValidationError("Must be more than 0. Leave it empty for no ceiling.")
    parts = NANO_USD_PER_USD if currency == "usd" else 1
    # Decimals below the smallest part: more units are counted together.
    scale = 10 ** len(decimals)
    together = scale // math.gcd(scale, parts)
    return {
        "unit": unit,
        "limit_wei": None,
        "limit_nano_usd": None,
        "per_units": units * together,
        column: whole * parts * together // scale,
    }


def not_before_now(given: datetime | None) -> datetime | None:
    """Raises ValidationError: what was charged already stays as it was charged."""
    if given is not None and given <= timezone.now():
        raise forms.ValidationError("Must be in the future. Leave it empty for now.")
    return given
