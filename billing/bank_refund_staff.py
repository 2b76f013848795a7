"""The staff page of refunds by bank: asking a second person for one, and those that were made."""

import uuid
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import approvals, second_person
from accounts.access import StaffRequest, need, staff_required
from accounts.models import Approval
from billing import bank_refunds
from billing.account_search import AccountForm, whose
from billing.forms import AmountField
from billing.models import Refund

_SHOWN = 50
_FAILURES_SHOWN = timedelta(days=30)


class BankRefundForm(AccountForm):
    """Cleaned to the `payload` of its approval, with a `reason` and the form's own `once`."""

    once = forms.UUIDField(widget=forms.HiddenInput)
    amount = AmountField()
    reference = forms.CharField(label="Reference of the transfer", max_length=bank_refunds.LONGEST_REFERENCE)
    words = forms.CharField(label="Words for the customer", max_length=200, required=False)
    reason = forms.CharField(label="Why", max_length=200)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        cleaned["payload"] = {
            "customer": cleaned["account"].pk,
            "net_cents": cleaned["amount"],
            "reference": cleaned["reference"],
            "words": cleaned["words"],
        }
        try:
            bank_refunds.check(cleaned["payload"])
        except approvals.NotPossible as error:
            self.add_error(None, str(error))
        return cleaned


@never_cache
@require_http_methods(["GET", "POST"])
@staff_required("refunds.see")
def bank_refunds_page(request: StaffRequest) -> HttpResponse:
    """The page; a wish sent to it is only looked at: whose it is and what is to be sent is shown, to be confirmed."""
    if request.method == "GET":
        return _page(request)
    need(request.user, "bank_transfers.ask")
    form = BankRefundForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form)
    lines = bank_refunds.describe(form.cleaned_data["payload"])
    return _page(request, form=form, payee=whose(form.cleaned_data["account"]), lines=lines[1:])


@require_POST
@staff_required("bank_transfers.ask")
def bank_refund_ask(request: StaffRequest) -> HttpResponse:
    """Asks a second person, once however often its form is sent."""
    form = BankRefundForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form)
    given = form.cleaned_data
    asked = second_person.ask(
        request, form, kind=bank_refunds.KIND, payload=given["payload"], customer=given["account"]
    )
    if not asked:
        return _page(request, form=form)
    messages.success(request, "Asked. Send the money at the bank once it stands on the list as refunded, not before")
    return redirect("approval", asked.pk)


def _page(request: StaffRequest, *, form: BankRefundForm | None = None, **more: Any) -> HttpResponse:
    made = Refund.objects.filter(source=Refund.Source.BANK).select_related("customer", "requested_by")
    # One that was approved and could not be booked is told here too, or somebody sends the money all the same.
    is_open = Q(status__in=[Approval.Status.ASKED, Approval.Status.APPROVED])
    is_failed = Q(status=Approval.Status.FAILED, asked_at__gt=timezone.now() - _FAILURES_SHOWN)
    waiting = Approval.objects.filter(is_open | is_failed, kind=bank_refunds.KIND)
    context = {
        "form": form or BankRefundForm(initial={"once": uuid.uuid4(), "account": request.GET.get("account", "")}),
        "refunds": made.select_related("approval__decided_by")
        .prefetch_related("parts")
        .order_by("-created_at")[:_SHOWN],
        "waiting": waiting.select_related("customer").order_by("pk"),
        "may_ask": request.user.has_perm("bank_transfers.ask"),
        **more,
    }
    return render(request, "staff/bank_refunds.html", context, status=422 if form and form.errors else 200)
