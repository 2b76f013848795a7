"""The page of credit that staff give: asking for promotional credit and corrections, and what was given."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import approvals, second_person
from accounts.access import StaffRequest, need, staff_required
from billing import approvable
from billing.account_search import AccountForm, whose
from billing.forms import AmountField
from billing.models import Grant
from billing.money import NANO_USD_PER_CENT

_SHOWN = 50
_PRIORITIES = [("0", "Before all other promotional credit"), ("50", "As usual"), ("100", "After all other")]


class CreditForm(AccountForm):
    """Cleaned to `kind` and the `payload` of its approval, with a `reason` and the form's own `once`."""

    once = forms.UUIDField(widget=forms.HiddenInput)
    what = forms.ChoiceField(
        label="What",
        choices=[("grant", "Promotional credit"), ("credit", "Correction: credit"), ("take", "Correction: take")],
    )
    amount = AmountField()
    text = forms.CharField(label="Campaign, or words on the statement", max_length=80)
    priority = forms.ChoiceField(label="Used", choices=_PRIORITIES, initial="50")
    last_day = forms.DateField(label="Last day", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    reason = forms.CharField(label="Why", max_length=200)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        amount, last_day = cleaned["amount"] * NANO_USD_PER_CENT, cleaned["last_day"]
        if cleaned["what"] == "grant":
            cleaned["kind"] = approvable.GRANT
            cleaned["payload"] = {
                "customer": cleaned["account"].pk,
                "amount_nano_usd": amount,
                "campaign": cleaned["text"],
                "priority": int(cleaned["priority"]),
                "last_day": last_day.isoformat() if last_day else "",
            }
        else:
            cleaned["kind"] = approvable.ADJUSTMENT
            cleaned["payload"] = {
                "customer": cleaned["account"].pk,
                "amount_nano_usd": amount if cleaned["what"] == "credit" else -amount,
                "description": cleaned["text"],
            }
        return cleaned


@never_cache
@require_http_methods(["GET", "POST"])
@staff_required("grants.see")
def credits_page(request: StaffRequest) -> HttpResponse:
    """What was given and what waits; a wish sent to it is only looked at: whose it is is shown, to be confirmed."""
    if request.method == "GET":
        return _page(request)
    form = CreditForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form)
    kind, payload = form.cleaned_data["kind"], form.cleaned_data["payload"]
    need(request.user, approvable.KINDS[kind].ask_permission)
    try:
        approvable.KINDS[kind].check(payload)
    except approvals.NotPossible as error:
        form.add_error(None, str(error))
        return _page(request, form=form)
    lines = approvable.KINDS[kind].describe(payload)
    return _page(request, form=form, payee=whose(form.cleaned_data["account"]), lines=lines[1:])


@require_POST
@staff_required("grants.see")
def credit_ask(request: StaffRequest) -> HttpResponse:
    """Asks a second person, once however often its form is sent."""
    form = CreditForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form)
    given = form.cleaned_data
    if not second_person.ask(request, form, kind=given["kind"], payload=given["payload"], customer=given["account"]):
        return _page(request, form=form)
    messages.success(request, "Asked. It is given once a second person has approved it")
    return redirect("credits")


def _page(request: StaffRequest, *, form: CreditForm | None = None, **more: Any) -> HttpResponse:
    context = {
        "form": form or CreditForm(initial={"once": uuid.uuid4(), "account": request.GET.get("account", "")}),
        "waiting": second_person.waiting(*approvable.KINDS),
        "grants": Grant.objects.filter(kind=Grant.Kind.PROMO).select_related("customer").order_by("-id")[:_SHOWN],
        "may_ask": request.user.has_perm("grants.ask"),
        **more,
    }
    return render(request, "staff/credits.html", context, status=422 if form and form.errors else 200)
