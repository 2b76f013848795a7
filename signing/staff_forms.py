"""What staff type about the pooled money, read exactly: ether as whole wei, never through a float."""

import re
from collections.abc import Sequence
from typing import Any

from django import forms

from billing import display
from billing.money import WEI_PER_ETH

_AMOUNT = re.compile(r"(\d{1,9})(?:\.(\d*))?", re.ASCII)
_DECIMALS = 18


def eth_in_full(wei: int) -> str:
    """`1.5 ETH`: every digit that counts and no more, for what is about to be sent."""
    return f"{display.eth_exact(wei).rstrip('0').rstrip('.')} ETH"


class EthField(forms.CharField):
    """An amount typed in ETH, cleaned to whole wei; empty is 0."""

    def clean(self, value: object) -> int:
        text = str(super().clean(value)).strip()
        if not text:
            return 0
        if text.startswith(("-", display.MINUS)):
            raise forms.ValidationError("Must be 0 or more.")
        found = _AMOUNT.fullmatch(text if not text.startswith(".") else f"0{text}")
        if found is None:
            raise forms.ValidationError("Must be a number of ETH with a point before the decimals, such as 1.5.")
        whole, decimals = found[1], found[2] or ""
        if len(decimals) > _DECIMALS:
            raise forms.ValidationError(
                f"Must have {_DECIMALS} decimals at most: the smallest part of an ETH is 1 wei."
            )
        return int(whole) * WEI_PER_ETH + int(decimals.ljust(_DECIMALS, "0"))


class FundingForm(forms.Form):
    """How much goes to the deposit and how much to the reserve; `spendable_wei` is what the wallet can send."""

    deposit = EthField(label="To the deposit", required=False, max_length=40)
    reserve = EthField(label="To the reserve", required=False, max_length=40)

    def __init__(self, *args: Any, spendable_wei: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._spendable_wei = spendable_wei

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        total_wei = cleaned["deposit"] + cleaned["reserve"]
        if not total_wei:
            self.add_error("deposit", "Deposit and reserve are both 0. Must be more than 0 in at least one of them.")
        elif total_wei > self._spendable_wei:
            self.add_error(
                "deposit",
                f"{eth_in_full(total_wei)} is more than the treasury wallet can send."
                f" Must be {eth_in_full(self._spendable_wei)} at most, after requests under way and gas.",
            )
        return cleaned


class ApprovalForm(FundingForm):
    """The same amounts once more, with the ticked comparison and the id that makes a double click one request.

    `senders` are those that may be funded; where none is named it is the first.
    """

    request_id = forms.UUIDField(widget=forms.HiddenInput)
    sender = forms.CharField(required=False, max_length=42, widget=forms.HiddenInput)
    compared = forms.BooleanField(
        label="I compared this address with the runbook",
        error_messages={"required": "Must be ticked: compare the address with the one in the runbook first."},
    )

    def __init__(self, *args: Any, senders: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._senders = senders

    def clean_sender(self) -> str:
        sender = str(self.cleaned_data["sender"]).lower() or next(iter(self._senders), "")
        if sender not in self._senders:
            raise forms.ValidationError("Must be a sender in use.")
        return sender
