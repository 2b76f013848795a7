"""Forms about our bank: a transfer that a customer wishes to make, and lines of the statement."""

import uuid
from typing import Any

from django import forms
from django.conf import settings

from billing import bank_statement
from billing.bank_statement import Entry, WrongFile
from billing.forms import cents_from_text, dollars

LARGEST_FILE = 2 * 2**20


class BankTransferForm(forms.Form):
    """An amount in dollars and the payer's own order number; `wish` is the id under which this form is known."""

    wish = forms.UUIDField(widget=forms.HiddenInput)
    amount = forms.CharField(label="Amount", max_length=20)
    po_number = forms.CharField(label="Your purchase order number", required=False, max_length=60)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        least, most = settings.BANK_TRANSFER_MINIMUM_CENTS, settings.BANK_TRANSFER_MAXIMUM_CENTS
        self.initial.setdefault("wish", uuid.uuid4())
        self.limits = f"From {dollars(least)} to {dollars(most)}"

    def clean_amount(self) -> int:
        cents = cents_from_text(self.cleaned_data["amount"])
        if cents is None:
            raise forms.ValidationError("Write an amount in dollars, such as 5,000.")
        if not settings.BANK_TRANSFER_MINIMUM_CENTS <= cents <= settings.BANK_TRANSFER_MAXIMUM_CENTS:
            raise forms.ValidationError(f"Must be {self.limits.lower()}.")
        return cents


class StatementForm(forms.Form):
    """A CSV file of the bank's statement; `entries` are its lines when it is right."""

    file = forms.FileField(label="CSV file", max_length=200)
    entries: list[Entry]

    def clean_file(self) -> Any:
        given = self.cleaned_data["file"]
        if given.size > LARGEST_FILE:
            raise forms.ValidationError("Larger than 2 MB: divide the file.")
        try:
            self.entries = bank_statement.read(given.read().decode("utf-8"))
        except UnicodeDecodeError:
            raise forms.ValidationError("Not text in UTF-8.") from None
        except WrongFile as error:
            raise forms.ValidationError(str(error)) from None
        return given


class LineForm(forms.Form):
    """One line of the statement, typed."""

    date = forms.CharField(max_length=10)
    amount = forms.CharField(max_length=20)
    currency = forms.ChoiceField(choices=[(name, name.upper()) for name in bank_statement.CURRENCIES])
    reference = forms.CharField(max_length=200, required=False)
    counterparty = forms.CharField(max_length=200, required=False)
    entries: list[Entry]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                self.entries = [bank_statement.entry({**cleaned}, 1)]
            except WrongFile as error:
                raise forms.ValidationError(str(error).removeprefix("Line 1: ").capitalize()) from None
        return cleaned


class CreditForm(forms.Form):
    """Which customer's transfer a line of the bank is."""

    once = forms.UUIDField(widget=forms.HiddenInput, required=False)
    reference = forms.CharField(label="Reference of the transfer", max_length=40)
    reason = forms.CharField(label="Why you are sure", max_length=200)
