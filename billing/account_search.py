"""Which account staff mean before money moves: by its number, a part of its name, or a member's e-mail address."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.db.models import Q

from accounts.models import Customer, Membership
from billing.models import Wallet

SHOWN = 8
_LONGEST_NUMBER = 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Whose:
    """An account as a person knows it again. `addresses` are its owners', or all members' where no owner is left."""

    customer: Customer
    addresses: list[str]
    available_nano_usd: int
    promo_nano_usd: int
    debt_nano_usd: int


def find(text: str) -> list[Customer]:
    """At most SHOWN + 1 accounts by name; an account with this very number, or this very address, comes alone."""
    text = text.strip().removeprefix("#")
    if text.isdecimal() and len(text) <= _LONGEST_NUMBER:
        by_number = Customer.objects.filter(pk=int(text))
        if by_number:
            return list(by_number)
    if not text:
        return []
    active = Q(members__is_active=True)
    rows = Customer.objects.order_by("name", "pk")
    exact = list(rows.filter(active, members__email__iexact=text).distinct()[: SHOWN + 1])
    part = Q(name__icontains=text) | active & Q(members__email__icontains=text)
    return exact or list(rows.filter(part).distinct()[: SHOWN + 1])


def whose(customer: Customer) -> Whose:
    seats = Membership.objects.filter(customer=customer, user__is_active=True).select_related("user").order_by("pk")
    owners = [seat.user.email for seat in seats if seat.role == Membership.Role.OWNER]
    wallet = Wallet.objects.filter(customer=customer).first()
    return Whose(
        customer=customer,
        addresses=owners or [seat.user.email for seat in seats],
        available_nano_usd=wallet.available_nano_usd if wallet else 0,
        promo_nano_usd=wallet.promo_nano_usd if wallet else 0,
        debt_nano_usd=wallet.debt_nano_usd if wallet else 0,
    )


class AccountForm(forms.Form):
    """A form about one account; `account` is cleaned to its Customer.

    Where several match, `picks` lists them, and a button of that list sends the number of one as `pick`.
    """

    account = forms.CharField(
        label="Account",
        max_length=254,
        error_messages={"required": "Write the account’s number, its name, or a member’s e-mail address."},
    )

    def __init__(self, data: Any = None, **kwargs: Any) -> None:
        if data is not None and data.get("pick"):
            data = data.copy()
            data["account"] = data["pick"]
        super().__init__(data, **kwargs)
        self.picks: list[Whose] = []

    def clean_account(self) -> Customer:
        found = find(self.cleaned_data["account"])
        if not found:
            raise forms.ValidationError("No account has this number, this in its name, or a member with this address.")
        if len(found) == 1:
            return found[0]
        self.picks = [whose(customer) for customer in found[:SHOWN]]
        if len(found) > SHOWN:
            raise forms.ValidationError(
                f"More than {SHOWN} accounts match. Pick one, or write more of the name or the whole address."
            )
        raise forms.ValidationError(f"{len(found)} accounts match. Pick one.")
