"""Forms of the money pages: an amount in dollars becomes whole cents here and nowhere else."""

import re
import uuid
from typing import Any

from django import forms
from django.utils import timezone

from accounts.models import Customer
from billing import cards, display, fx, top_up_limits
from billing.display import SIGNS, usd_text
from billing.models import AutoRecharge, FxRate
from billing.money import NANO_USD_PER_CENT

OTHER = "other"
NEW = "new"
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


class AmountField(forms.CharField):
    """An amount in dollars as it is typed, cleaned to whole cents; nothing is no amount."""

    wrong = "Write an amount in dollars, such as 25 or 25.50."

    def __init__(self) -> None:
        super().__init__(label="Amount", max_length=20, error_messages={"required": self.wrong})

    def clean(self, value: Any) -> int:
        cents = cents_from_text(super().clean(value))
        if not cents:
            raise forms.ValidationError(self.wrong)
        return cents


class TopUpForm(forms.Form):
    """An amount to choose or to type, a currency, what to pay with, and the id under which this one wish is known."""

    top_up = forms.UUIDField(widget=forms.HiddenInput)
    choice = forms.ChoiceField(label="Amount", widget=forms.RadioSelect)
    other = forms.CharField(label="Other amount", required=False, max_length=20)
    currency = forms.ChoiceField(label="Currency", widget=forms.RadioSelect, required=False)
    pay_with = forms.ChoiceField(label="Pay with", widget=forms.RadioSelect, required=False)
    save_card = forms.BooleanField(required=False)

    def __init__(self, *args: Any, customer: Customer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cards = {str(card.id): card for card in cards.of(customer)}
        offered = fx.offered(now=timezone.now())
        self.rates = [rate for rate in map(_fresh, offered) if rate]
        least, most = top_up_limits.range_cents(None)
        amounts = [cents for cents in _USUAL_CENTS if least <= cents <= most]
        sign = "$" if len(offered) == 1 else ""
        self._choices("choice", [(str(cents), f"{sign}{cents // 100:,}") for cents in amounts] + [(OTHER, "Other")])
        self._choices("currency", [(name, f"{name.upper()} {SIGNS.get(name, '')}".strip()) for name in offered])
        shown = [(key, f"{card}, until {card.exp_month:02d}/{card.exp_year}") for key, card in self.cards.items()]
        self._choices("pay_with", [*shown, (NEW, "Another card or account")])
        self.initial.setdefault("top_up", uuid.uuid4())
        self.initial.setdefault("choice", str(amounts[len(amounts) // 2]) if amounts else OTHER)
        self.initial.setdefault("currency", fx.USD)
        self.initial.setdefault("pay_with", next(iter(self.cards), NEW))
        self.limits = f"From {dollars(least)} to {dollars(most)}"
        self.many_currencies = len(offered) > 1

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        cleaned["currency"] = cleaned.get("currency") or fx.USD
        cleaned["card"] = self.cards.get(cleaned.get("pay_with") or NEW)
        # A typed amount counts, whichever button stands pressed beside it.
        if cleaned.get("choice") != OTHER and not cleaned.get("other"):
            if cleaned.get("choice"):
                cleaned["amount_cents"] = int(cleaned["choice"])
            return cleaned
        cents = cents_from_text(cleaned.get("other", ""))
        least, most = top_up_limits.range_cents(_fresh(cleaned["currency"]))
        if cents is None:
            self.add_error("other", "Write an amount, such as 25 or 25.50.")
        elif not least <= cents <= most:
            shown = [display.cents_text(limit, cleaned["currency"]) for limit in (least, most)]
            self.add_error("other", f"Must be from {shown[0]} to {shown[1]}.")
        else:
            cleaned["amount_cents"] = cents
        return cleaned

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices


class AutoRechargeForm(forms.Form):
    """When the card is charged, how much, and at most how much in a month; amounts in dollars become cents here."""

    threshold = forms.CharField(label="When the balance falls below", max_length=20)
    mode = forms.ChoiceField(label="Charge", choices=AutoRecharge.Mode.choices, widget=forms.RadioSelect)
    amount = forms.CharField(label="Amount, or balance to reach", max_length=20)
    cap = forms.CharField(label="At most in a month", max_length=20)
    card = forms.ChoiceField(label="Card", widget=forms.RadioSelect)
    agreed = forms.BooleanField(label="Agreed", error_messages={"required": "Tick the box to allow these charges."})

    def __init__(self, *args: Any, customer: Customer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cards = {str(card.id): card for card in cards.of(customer)}
        field = self.fields["card"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(key, str(card)) for key, card in self.cards.items()]
        for name, value in (("threshold", "20"), ("mode", "amount"), ("amount", "50"), ("cap", "500")):
            self.initial.setdefault(name, value)
        self.initial.setdefault("card", next(iter(self.cards), ""))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in ("threshold", "amount", "cap"):
            cents = cents_from_text(cleaned.get(name, "") or "")
            if name in cleaned and cents is None:
                self.add_error(name, AmountField.wrong)
            cleaned[f"{name}_cents"] = cents
        return cleaned

    @staticmethod
    def shown(recharge: AutoRecharge) -> dict[str, str]:
        """The settings as the form shows them."""
        cents = {"threshold": recharge.threshold_cents, "amount": recharge.amount_cents, "cap": recharge.cap_cents}
        texts = {name: f"{value // 100}.{value % 100:02d}".removesuffix(".00") for name, value in cents.items()}
        return texts | {"mode": recharge.mode, "card": str(recharge.card_id or "")}


def _fresh(currency: str) -> FxRate | None:
    return None if currency == fx.USD else fx.fresh(currency, now=timezone.now())
