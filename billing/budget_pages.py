"""The page of spending limits: members see them, owners set and lift them."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.access import CustomerRequest, customer_required, owner_required
from accounts.models import ApiKey, Customer, Membership
from billing import budgets
from billing.forms import cents_from_text
from billing.models import Budget
from billing.money import NANO_USD_PER_CENT


class BudgetForm(forms.Form):
    """Cleaned to `api_key` (None for the whole account), `period` and `limit_nano_usd`."""

    subject = forms.ChoiceField(label="For")
    period = forms.ChoiceField(label="In", choices=Budget.Period.choices)
    amount = forms.CharField(label="At most", max_length=20)

    def __init__(self, customer: Customer, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keys = {str(key.pk): key for key in ApiKey.objects.filter(customer=customer, revoked_at=None)}
        subject = self.fields["subject"]
        assert isinstance(subject, forms.ChoiceField)
        subject.choices = [("", "The whole account"), *((pk, f"Key {key.name}") for pk, key in self.keys.items())]
        subject.required = False

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        cleaned["api_key"] = self.keys.get(cleaned.get("subject") or "")
        cents = cents_from_text(cleaned.get("amount", ""))
        if cents:
            cleaned["limit_nano_usd"] = cents * NANO_USD_PER_CENT
        elif "amount" not in self.errors:
            self.add_error("amount", "Write an amount in dollars, such as 25 or 25.50.")
        return cleaned


@never_cache
@require_GET
@customer_required
def budget_list(request: CustomerRequest) -> HttpResponse:
    return _page(request, BudgetForm(request.customer))


@never_cache
@require_POST
@owner_required
def budget_set(request: CustomerRequest) -> HttpResponse:
    form = BudgetForm(request.customer, request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    limit = {name: form.cleaned_data[name] for name in ("api_key", "period", "limit_nano_usd")}
    budgets.set_limit(user=request.user, customer=request.customer, **limit)
    messages.success(request, "Budget saved")
    return redirect("budgets")


@never_cache
@require_POST
@owner_required
def budget_lift(request: CustomerRequest, budget_id: int) -> HttpResponse:
    if budgets.lift(user=request.user, customer=request.customer, budget_id=budget_id):
        messages.success(request, "Budget lifted")
    return redirect("budgets")


def _page(request: CustomerRequest, form: BudgetForm, *, status: int = 200) -> HttpResponse:
    context = {
        "form": form,
        "standings": budgets.standings(request.customer, now=timezone.now()),
        "is_owner": request.membership.role == Membership.Role.OWNER,
        "lifting": int(asked) if (asked := request.GET.get("lift", "")).isascii() and asked.isdigit() else None,
    }
    return render(request, "billing/budgets.html", context, status=status)
