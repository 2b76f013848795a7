"""What staff type to stop something: which kind of thing, which one of it, and why."""

import re
from dataclasses import dataclass
from typing import Any

from django import forms

from accounts.models import ApiKey, Customer
from signing.models import Stop

WORD = "STOP"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_PREFIX = 16
_UNTYPED = {"autocomplete": "off", "spellcheck": "false"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is meant: `subject` as a stop keeps it, `name` as people call it."""

    scope: str
    subject: str
    name: str


class StopForm(forms.Form):
    """Cleaned to a `target`, which is looked up, and a `reason`."""

    scope = forms.ChoiceField(label="What", choices=Stop.Scope.choices)
    subject = forms.CharField(label="Which one", required=False, max_length=120, widget=forms.TextInput(attrs=_UNTYPED))
    reason = forms.CharField(
        label="Why",
        max_length=200,
        widget=forms.TextInput(attrs=_UNTYPED),
        error_messages={"required": "Must say why; colleagues read it when they wonder whether to lift it."},
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "scope" not in cleaned or "subject" not in cleaned:
            return cleaned
        try:
            cleaned["target"] = target(cleaned["scope"], cleaned["subject"].strip())
        except forms.ValidationError as error:
            self.add_error("subject", error)
            return cleaned
        found = cleaned["target"]
        if Stop.objects.filter(scope=found.scope, subject=found.subject, lifted_at=None).exists():
            self.add_error("subject", f"{found.name} is stopped already.")
        return cleaned


class ConfirmedStopForm(StopForm):
    """The same once more, with the typed word."""

    typed = forms.CharField(
        label=f"Type {WORD} to confirm", required=False, max_length=20, widget=forms.TextInput(attrs=_UNTYPED)
    )

    def clean_typed(self) -> str:
        typed = str(self.cleaned_data["typed"]).strip()
        if typed != WORD:
            raise forms.ValidationError(f"Must be {WORD}, in capitals.")
        return typed


def target(scope: str, text: str) -> Target:
    """Looks up what was typed. Raises ValidationError with what would be right."""
    match scope:
        case Stop.Scope.ALL:
            if text:
                raise forms.ValidationError("Must be empty to stop all signing.")
            return Target(scope=scope, subject="", name="All signing")
        case Stop.Scope.CUSTOMER:
            customer = _customer(text)
            return Target(scope=scope, subject=str(customer.pk), name=_name_of(customer))
        case Stop.Scope.API_KEY:
            key = _key(text)
            return Target(scope=scope, subject=str(key.pk), name=f"Key {key} of {_name_of(key.customer)}")
        case _:
            if not _ADDRESS.fullmatch(text):
                raise forms.ValidationError("Must be an address: 0x and 40 hexadecimal digits.")
            what = "Recipient" if scope == Stop.Scope.RECIPIENT else "Sender"
            return Target(scope=scope, subject=text.lower(), name=f"{what} {text.lower()}")


def named(rows: list[Stop]) -> list[tuple[Stop, str]]:
    """Each stop with what it names, in a query a kind."""
    of_customers = [row.subject for row in rows if row.scope == Stop.Scope.CUSTOMER]
    of_keys = [row.subject for row in rows if row.scope == Stop.Scope.API_KEY]
    customers = {str(each.pk): _name_of(each) for each in Customer.objects.filter(pk__in=of_customers)}
    keys = {
        str(key.pk): f"Key {key} of {_name_of(key.customer)}"
        for key in ApiKey.objects.filter(pk__in=of_keys).select_related("customer")
    }
    names = {
        Stop.Scope.ALL: {"": "All signing"},
        Stop.Scope.CUSTOMER: customers,
        Stop.Scope.API_KEY: keys,
        Stop.Scope.RECIPIENT: dict.fromkeys((row.subject for row in rows), "Recipient"),
        Stop.Scope.SENDER: dict.fromkeys((row.subject for row in rows), "Sender key"),
    }
    return [(row, names[Stop.Scope(row.scope)].get(row.subject, str(row))) for row in rows]


def _customer(text: str) -> Customer:
    if text.isascii() and text.isdecimal() and len(text) < 18:
        found = list(Customer.objects.filter(pk=int(text)))
    else:
        found = list(Customer.objects.filter(name__iexact=text)[:2]) or list(
            Customer.objects.filter(members__email__iexact=text)[:2]
        )
    if len(found) > 1:
        raise forms.ValidationError("Several accounts are called so. Must be the account's number.")
    if not found:
        raise forms.ValidationError("Must be an account's number, its name, or the e-mail address of a member.")
    return found[0]


def _key(text: str) -> ApiKey:
    """By its prefix; whoever pastes a whole key means its beginning."""
    found = ApiKey.objects.filter(prefix=text[:_PREFIX]).select_related("customer").first()
    if found is None:
        raise forms.ValidationError("Must be a key's prefix, the part that lists show.")
    return found


def _name_of(customer: Customer) -> str:
    return f"{customer.name} (account {customer.pk})"
