"""Forms of the money pages: an amount in dollars becomes whole cents here and nowhere else."""

import re
import uuid
from typing import Any

from django import forms
from django.conf import settings

from billing.display import usd_text
from billing.money import NANO_USD_PER_CENT

OTHER = "other"
_USUAL_CENTS = (2_000, 5_000, 20_000, 100_000)
_DOLLARS = re.compile(r"\$?\s*((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,9}))(?:\.([0-9]{1,2}))?", re.ASCII)


def dollars(cents: int) -> str:
    return usd_text(cents * NANO_USD_PER_CENT)


def cents_from_text(text: str) -> int | None:
    """Whole cents of `25`, `25.50` or `$1,000`; None for anything else."""
    found = _DOLLARS.fullmatch(text.strip())
    if not found:
        return None
    return int(found[1].replace(",", "")) * 100 + int((found[2] or "").ljust(2, "0"))


class TopUpForm(forms.Form):
    """An amount to choose or to type, and the id under which this one wish is known."""

    top_up = forms.UUIDField(widget=forms.HiddenInput)
    choice = forms.ChoiceField(label="Amount", widget=forms.RadioSelect)
    other = forms.CharField(label="Other amount", required=False, max_length=20)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        least, most = settings.TOP_UP_MINIMUM_CENTS, settings.TOP_UP_MAXIMUM_CENTS
        amounts = [cents for cents in _USUAL_CENTS if least <= cents <= most]
        choice = self.fields["choice"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [(str(cents), dollars(cents).removesuffix(".00")) for cents in amounts] + [(OTHER, "Other")]
        self.initial.setdefault("top_up", uuid.uuid4())
        self.initial.setdefault("choice", str(amounts[len(amounts) // 2]) if amounts else OTHER)
        self.limits = f"From {dollars(least)} to {dollars(most)}"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        # A typed amount counts, whichever button stands pressed beside it.
        if cleaned.get("choice") != OTHER and not cleaned.get("other"):
            if cleaned.get("choice"):
                cleaned["amount_cents"] = int(cleaned["choice"])
            return cleaned
        cents = cents_from_text(cleaned.get("other", ""))
        if cents is None:
            self.add_error("other", "Write an amount in dollars, such as 25 or 25.50.")
        elif not settings.TOP_UP_MINIMUM_CENTS <= cents <= settings.TOP_UP_MAXIMUM_CENTS:
            self.add_error("other", f"Must be {self.limits.lower()}.")
        else:
            cleaned["amount_cents"] = cents
        return cleaned
