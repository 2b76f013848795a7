"""The billing profile: who an account is on documents, and what became of its tax id."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import moments
from accounts.access import CustomerRequest, customer_required, owner_required
from accounts.models import Membership
from billing import countries, profiles, tasks, vat
from billing.models import BillingProfile, TaxIdState


class BillingProfileForm(forms.Form):
    """Each error says what is wrong, then what would be right."""

    legal_name = forms.CharField(
        max_length=200,
        label="Legal name",
        error_messages={"required": "Documents need the name of the company or person that pays."},
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    country = forms.ChoiceField(
        label="Country",
        error_messages={"required": "Choose the country of this address; it decides about tax."},
        widget=forms.Select(attrs={"autocomplete": "country"}),
    )
    line1 = forms.CharField(
        max_length=200,
        label="Street and number",
        error_messages={"required": "Give street and number, for example 12 rue de Rivoli."},
        widget=forms.TextInput(attrs={"autocomplete": "address-line1"}),
    )
    line2 = forms.CharField(
        max_length=200,
        required=False,
        label="Further line",
        widget=forms.TextInput(attrs={"autocomplete": "address-line2"}),
    )
    postal_code = forms.CharField(
        max_length=20,
        required=False,
        label="Postal code",
        widget=forms.TextInput(attrs={"autocomplete": "postal-code"}),
    )
    city = forms.CharField(
        max_length=100,
        label="City",
        error_messages={"required": "Give the city of the address."},
        widget=forms.TextInput(attrs={"autocomplete": "address-level2"}),
    )
    region = forms.ChoiceField(required=False, label="State", widget=forms.Select())
    tax_id = forms.CharField(
        max_length=40, required=False, label="VAT or tax id", widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    invoice_email = forms.EmailField(
        required=False,
        label="Email for receipts",
        error_messages={"invalid": "This is not a whole address. One looks like accounts@example.com."},
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    po_number = forms.CharField(max_length=60, required=False, label="Purchase order")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        by_name = sorted(countries.NAMES.items(), key=lambda entry: entry[1])
        self._offer("country", [("", "Choose a country"), *by_name])
        self._offer("region", [("", "Only for the United States"), *countries.US_STATES.items()])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        country = cleaned.get("country", "")
        if country == "US" and not cleaned.get("region"):
            self.add_error("region", "Choose the state; it decides about sales tax.")
        if country != "US":
            cleaned["region"] = ""
        if country in countries.EU | {"US"} and not cleaned.get("postal_code"):
            self.add_error("postal_code", "Addresses of this country have a postal code.")
        cleaned["tax_id_kind"] = ""
        if country and cleaned.get("tax_id"):
            try:
                found = vat.read(cleaned["tax_id"], country)
                cleaned |= {"tax_id": found.number, "tax_id_kind": found.kind.value}
            except vat.BadTaxId as error:
                self.add_error("tax_id", str(error))
        return cleaned

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices


@never_cache
@require_GET
@customer_required
def billing_profile(request: CustomerRequest) -> HttpResponse:
    known = BillingProfile.objects.filter(customer=request.customer).first()
    initial = {name: getattr(known, name) for name in profiles.FIELDS} if known else {}
    return _page(request, BillingProfileForm(initial=initial or {"legal_name": request.customer.name}))


@require_POST
@owner_required
def save_billing_profile(request: CustomerRequest) -> HttpResponse:
    form = BillingProfileForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    saved = profiles.save(request.customer, user=request.user, values=form.cleaned_data)
    if saved.tax_id_state == TaxIdState.PENDING:
        tasks.wake(tasks.check_tax_ids)
    messages.success(request, "Billing profile saved")
    return redirect("billing_profile")


def _page(request: CustomerRequest, form: BillingProfileForm, *, status: int = 200) -> HttpResponse:
    profile = BillingProfile.objects.filter(customer=request.customer).first()
    context = {
        "form": form,
        "profile": profile,
        "country": countries.name(profile.country) if profile else "",
        "is_owner": request.membership.role == Membership.Role.OWNER,
        "checked": _checked(profile) if profile else "",
        "why": request.GET.get("why", "") == "top-up",
    }
    return render(request, "billing/profile.html", context, status=status)


def _checked(profile: BillingProfile) -> str:
    """How and when a valid tax id was confirmed, in words."""
    if profile.tax_id_checked_at is None:
        return ""
    number = f", consultation number {profile.consultation_number}" if profile.consultation_number else ""
    return f"Confirmed by {profile.tax_id_source} on {moments.day(profile.tax_id_checked_at)}{number}."
