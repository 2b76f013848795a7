"""What staff type about a recipient: which address, what holds for it, and why."""

from typing import Any

from django import forms

from signing import recipients
from signing.models import RecipientRule

_UNTYPED = {"autocomplete": "off", "spellcheck": "false"}


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        label="Why",
        max_length=200,
        widget=forms.TextInput(attrs=_UNTYPED),
        error_messages={"required": "Must say why; colleagues read it when they wonder whether it still holds."},
    )


class RuleForm(ReasonForm):
    """Cleaned to a lower-case `address`, a `standing`, a `label` and a `reason`."""

    field_order = ("address", "standing", "label", "reason")
    address = forms.CharField(label="Recipient", max_length=60, widget=forms.TextInput(attrs=_UNTYPED))
    standing = forms.ChoiceField(label="What holds for it", choices=RecipientRule.Standing.choices, initial="flagged")
    label = forms.CharField(label="Called", required=False, max_length=120, widget=forms.TextInput(attrs=_UNTYPED))

    def clean_address(self) -> str:
        text = str(self.cleaned_data["address"]).strip()
        if not recipients.ADDRESS.fullmatch(text):
            raise forms.ValidationError("Must be an address: 0x and 40 hexadecimal digits.")
        return text.lower()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if {"address", "standing"} <= cleaned.keys() and recipients.stands(cleaned["address"], cleaned["standing"]):
            self.add_error("address", f"It is {cleaned['standing']} already.")
        return cleaned
