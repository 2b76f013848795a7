"""The staff page of refunds: how each stands, and asking for one on behalf of a customer."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import approvals, audit
from accounts.access import StaffRequest, need, staff_required
from accounts.models import Approval, Customer, User
from billing import bank_refunds, display, refund_approvals, refund_pages, refund_waits, refunds, tasks
from billing.account_search import AccountForm, whose
from billing.forms import AmountField
from billing.models import Refund
from billing.money import NANO_USD_PER_CENT

_SHOWN = 100
Status = Refund.Status
STATES: dict[str, list[str]] = {
    "open": [Status.REQUESTED],
    "ended": [Status.DONE, Status.PARTLY],
    "back": [Status.RETURNED],
}


class StaffRefundForm(AccountForm):
    """For which account, how much and why; cleaned to `amount_nano_usd` too."""

    refund = forms.UUIDField(widget=forms.HiddenInput)
    amount = AmountField()
    reason = forms.CharField(label="Words for the customer", max_length=200, required=False)
    why = forms.CharField(label="Why", max_length=200)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "account" not in cleaned or "amount" not in cleaned:
            return cleaned
        customer, most = cleaned["account"], refunds.refundable_nano_usd(cleaned["account"])
        cleaned["amount_nano_usd"] = cleaned["amount"] * NANO_USD_PER_CENT
        if cleaned["amount_nano_usd"] > most:
            by_bank = bank_refunds.left_cents(customer)
            also = f" {display.cents_text(by_bank)} came by bank transfer: see By bank above." if by_bank else ""
            self.add_error(
                "amount", f"At most {display.usd_text(most)} can go back to the cards of {customer.name}.{also}"
            )
        return cleaned


def ask(*, customer: Customer, user: User, amount_nano_usd: int, reason: str, why: str, refund_id: uuid.UUID) -> Refund:
    """Writes the refund, and above the limit of one person the request for a second one, all in one transaction.

    Raises refunds.NotPossible, approvals.NotPossible and approvals.NotAllowed; then nothing is written.
    """
    with transaction.atomic():
        refund = refunds.request(
            customer=customer, user=user, amount_nano_usd=amount_nano_usd, reason=reason, refund_id=refund_id
        )
        after = {"amount": display.usd_text(refund.amount_nano_usd), "why": why}
        audit.write("refund.asked", subject=f"refund:{refund.pk}", actor=user, customer=customer, after=after)
        if refunds.needs_second_person(refund):
            approvals.ask(
                kind=refund_approvals.REFUND,
                payload={"refund": str(refund.pk)},
                reason=why,
                user=user,
                customer=customer,
                once=str(refund.pk),
            )
    return refund


@never_cache
@require_http_methods(["GET", "POST"])
@staff_required("refunds.see")
def staff_refunds(request: StaffRequest) -> HttpResponse:
    """The page; a wish sent to it is only looked at: whose it is and where it would go is shown, to be confirmed."""
    if request.method == "GET":
        return _page(request)
    need(request.user, "refunds.ask")
    form = StaffRefundForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    payee: Customer = form.cleaned_data["account"]
    amount = display.usd_text(form.cleaned_data["amount_nano_usd"])
    ways = refund_pages.ways(payee, form.cleaned_data["amount_nano_usd"])
    lines = [("Credit", amount), *((f"To {way.card}", way.amount) for way in ways)]
    return _page(request, form=form, amount=amount, payee=whose(payee) if ways else None, lines=lines)


@require_POST
@staff_required("refunds.ask")
def staff_refund_ask(request: StaffRequest) -> HttpResponse:
    """Once however often its form is sent."""
    form = StaffRefundForm(request.POST)
    known = _known(request)
    if known is None:
        if not form.is_valid():
            return _page(request, form=form, status=422)
        given = {name: form.cleaned_data[name] for name in ("amount_nano_usd", "reason", "why")}
        payee, wish = form.cleaned_data["account"], form.cleaned_data["refund"]
        try:
            known = ask(customer=payee, user=request.user, refund_id=wish, **given)
        except approvals.NotAllowed:
            raise PermissionDenied from None
        except (refunds.NotPossible, approvals.NotPossible) as error:
            form.add_error(None, str(error))
            return _page(request, form=form, status=422)
    if refunds.needs_second_person(known):
        messages.success(request, "Asked. It is sent once a second person has approved it")
    else:
        tasks.wake(tasks.work_refunds)
        messages.success(request, "Refund on its way. Its amount has left the balance")
    return redirect("staff_refunds")


@require_POST
@staff_required("refunds.decide")
def staff_refund_back(request: StaffRequest, refund_id: uuid.UUID) -> HttpResponse:
    """What stands still goes back into the balance that it came from."""
    refund = get_object_or_404(Refund.objects.select_related("customer"), pk=refund_id)
    if refund_waits.give_back(refund, user=request.user):
        tasks.wake(tasks.work_refunds)
        messages.success(request, f"Given back. It is in the balance of {refund.customer.name} within seconds")
    else:
        messages.info(request, "This refund went on in the meantime")
    return redirect("staff_refunds")


def _page(
    request: StaffRequest, *, form: StaffRefundForm | None = None, status: int = 200, **more: Any
) -> HttpResponse:
    chosen, account = request.GET.get("show", ""), request.GET.get("account", "")
    rows = Refund.objects.select_related("customer", "requested_by", "approval__decided_by")
    rows = rows.prefetch_related("parts__top_up").order_by("-created_at")
    if chosen in STATES:
        rows = rows.filter(status__in=STATES[chosen])
    if account.isdecimal() and len(account) < 18:
        rows = rows.filter(customer_id=int(account))
    asked = Approval.objects.filter(kind=refund_approvals.REFUND, status__in=["asked", "approved"])
    requests = {each.payload["refund"]: each.pk for each in asked}
    found = [(row, refunds.needs_second_person(row), requests.get(str(row.pk))) for row in rows[:_SHOWN]]
    context = {
        "form": form or StaffRefundForm(initial={"refund": uuid.uuid4(), "account": account}),
        "refunds": found,
        "waits": refund_waits.of(now=timezone.now()),
        "chosen": chosen if chosen in STATES else "",
        "account": account,
        "under_way": _sum(Status.REQUESTED),
        "waiting": len(requests),
        "sent": _sum(Status.DONE),
        "returned": _sum(Status.RETURNED),
        "may_ask": request.user.has_perm("refunds.ask"),
        **more,
    }
    return render(request, "staff/refunds.html", context, status=status)


def _sum(status: str) -> dict[str, int]:
    """Number and nano-dollars of all refunds that stand so."""
    return Refund.objects.filter(status=status).aggregate(
        number=Count("pk"), nano_usd=Sum("amount_nano_usd", default=0)
    )


def _known(request: StaffRequest) -> Refund | None:
    try:
        return Refund.objects.filter(pk=uuid.UUID(request.POST.get("refund", "")), requested_by=request.user).first()
    except ValueError:
        return None
