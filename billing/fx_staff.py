"""The finance page of exchange rates: what is in force and how fresh, what was before, and asking for a new one."""

import uuid
from fractions import Fraction
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import second_person
from accounts.access import StaffRequest, need, staff_required
from accounts.models import Approval
from billing import fx, fx_approvals
from billing.models import FxRate
from billing.money import NANO_USD_PER_CENT

_SHOWN = 100


class RateForm(forms.Form):
    """Dollars for one whole unit; cleaned to `nano_usd_per_cent`."""

    once = forms.UUIDField(widget=forms.HiddenInput)
    currency = forms.ChoiceField(label="Currency")
    dollars = forms.CharField(label="One is worth", max_length=20)
    source = forms.CharField(label="Source", max_length=80)
    reason = forms.CharField(label="Why", max_length=200)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        currency = self.fields["currency"]
        assert isinstance(currency, forms.ChoiceField)
        currency.choices = [(name, name.upper()) for name in settings.TOP_UP_CURRENCIES]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        rate = rate_from_text(cleaned.get("dollars", ""))
        if rate is None and "dollars" not in self.errors:
            self.add_error("dollars", "Write dollars with at most seven decimals, such as 1.085.")
        return {**cleaned, "nano_usd_per_cent": rate}


def rate_from_text(text: str) -> int | None:
    """Nano-dollars a minor unit from `1.085`; None for anything else."""
    if not text.replace(".", "", 1).isdecimal() or not text.isascii():
        return None
    rate = Fraction(text) * NANO_USD_PER_CENT
    return int(rate) if rate > 0 and rate.denominator == 1 and rate < 10**15 else None


@never_cache
@require_http_methods(["GET", "POST"])
@staff_required("fx.see")
def rates_page(request: StaffRequest) -> HttpResponse:
    form = RateForm(request.POST if request.method == "POST" else None, initial={"once": uuid.uuid4()})
    if request.method == "POST":
        need(request.user, "fx.ask")
        if form.is_valid() and _ask(request, form):
            messages.success(request, "Asked. It counts once a second person has approved it")
            return redirect("fx_rates")
    now = timezone.now()
    context = {
        "form": form,
        "in_force": [(name, fx.latest(name, now=now), fx.fresh(name, now=now)) for name in settings.TOP_UP_CURRENCIES],
        "rates": FxRate.objects.select_related("recorded_by").order_by("-valid_from", "-id")[:_SHOWN],
        "waiting": second_person.waiting(fx_approvals.RATE),
        "hours": settings.FX_MAX_AGE_HOURS,
        "source": settings.FX_SOURCE,
        "may_ask": request.user.has_perm("fx.ask"),
    }
    return render(request, "staff/rates.html", context, status=422 if form.errors else 200)


def _ask(request: StaffRequest, form: RateForm) -> Approval | None:
    payload = {name: form.cleaned_data[name] for name in ("currency", "nano_usd_per_cent", "source")}
    return second_person.ask(request, form, kind=fx_approvals.RATE, payload=payload)
