"""The customer's page of refunds: what can go back, to which cards, and what became of it."""

import uuid
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import connection
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import hold_letters, terms
from accounts.access import CustomerRequest, customer_required, owner_required
from accounts.models import Customer, Membership
from billing import bank_refunds, display, refund_bookings, refunds, tasks
from billing.forms import cents_from_text
from billing.models import Refund
from billing.money import NANO_USD_PER_CENT

_SHOWN = 50


class RefundForm(forms.Form):
    """How much, and if they like why; `refund` is the id under which this one wish is known."""

    refund = forms.UUIDField(widget=forms.HiddenInput)
    amount = forms.CharField(
        label="Amount", max_length=20, error_messages={"required": "Write an amount in dollars, such as 25 or 25.50."}
    )
    reason = forms.CharField(label="Reason", max_length=200, required=False)

    def __init__(self, *args: Any, most_nano_usd: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.most_nano_usd = most_nano_usd

    def clean_amount(self) -> int:
        """In nano-dollars."""
        cents = cents_from_text(self.cleaned_data["amount"])
        if not cents:
            raise forms.ValidationError("Write an amount in dollars, such as 25 or 25.50.")
        if cents * NANO_USD_PER_CENT > self.most_nano_usd:
            raise forms.ValidationError(f"At most {display.usd_text(self.most_nano_usd)} can be refunded.")
        return cents * NANO_USD_PER_CENT


@dataclass(frozen=True, kw_only=True)
class Way:
    """What of a refund would go to one card, tax included, in words."""

    card: str
    amount: str


@never_cache
@require_http_methods(["GET", "POST"])
@customer_required
def refunds_page(request: CustomerRequest) -> HttpResponse:
    """The page; a wish sent to it is only looked at: what it would do is shown, to be confirmed."""
    if request.method == "POST":
        return _review(request)
    return _page(request)


@require_POST
@owner_required
def request_refund(request: CustomerRequest) -> HttpResponse:
    """Writes the wish down, once however often its form is sent."""
    most = refunds.refundable_nano_usd(request.customer)
    known = Refund.objects.filter(id=_form_id(request), customer=request.customer).exists()
    form = RefundForm(request.POST, most_nano_usd=10**18 if known else most)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    try:
        refunds.request(
            customer=request.customer,
            user=request.user,
            amount_nano_usd=form.cleaned_data["amount"],
            reason=form.cleaned_data["reason"],
            refund_id=form.cleaned_data["refund"],
        )
    except refunds.NotPossible as error:
        form.add_error(None, str(error))
        return _page(request, form=form, status=422)
    tasks.wake(tasks.work_refunds)
    messages.success(request, "Refund asked for. The amount has left your balance")
    return redirect("refunds")


@require_POST
@customer_required
def accept_terms(request: CustomerRequest) -> HttpResponse:
    """The version of the terms in force, for whoever has not accepted it."""
    if terms.are_due(request.user):
        terms.accept(request, request.user)
    messages.success(request, "Thank you")
    return redirect("wallet")


def _review(request: CustomerRequest) -> HttpResponse:
    form = RefundForm(request.POST, most_nano_usd=refunds.refundable_nano_usd(request.customer))
    if not form.is_valid():
        return _page(request, form=form, status=422)
    amount: int = form.cleaned_data["amount"]
    return _page(request, form=form, amount=amount, ways=ways(request.customer, amount))


def _page(request: CustomerRequest, *, form: RefundForm | None = None, status: int = 200, **more: Any) -> HttpResponse:
    most = refunds.refundable_nano_usd(request.customer)
    rows = request.customer.refunds.prefetch_related("parts__top_up").order_by("-created_at")[:_SHOWN]
    context = {
        "form": form or RefundForm(initial={"refund": uuid.uuid4()}, most_nano_usd=most),
        "most": most,
        "by_bank_cents": bank_refunds.left_cents(request.customer),
        "whom_to_ask": settings.SELLER_EMAIL,
        "why_frozen": hold_letters.why_frozen(request.customer),
        "refunds": [(refund, refunds.needs_second_person(refund)) for refund in rows],
        "is_owner": request.membership.role == Membership.Role.OWNER,
        **more,
    }
    return render(request, "billing/refunds.html", context, status=status)


def ways(customer: Customer, amount_nano_usd: int) -> list[Way]:
    """The oldest payment first, as the request itself does; shown before anything is written."""
    found, left = [], amount_nano_usd
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT card, currency, nano_usd_per_cent, net_left, tax_cents, net_cents"
            " FROM billing_refundable_payments WHERE customer_id = %s AND net_left > 0 ORDER BY settled_at, id",
            [customer.pk],
        )
        for card, currency, rate, net_left, tax, net_whole in cursor.fetchall():
            net = min(net_left, left // rate)
            if net:
                total = net + refund_bookings.share(tax, net, net_whole)
                found.append(Way(card=card or "Card", amount=display.cents_text(total, currency)))
                left -= net * rate
    return found


def _form_id(request: CustomerRequest) -> uuid.UUID:
    try:
        return uuid.UUID(request.POST.get("refund", ""))
    except ValueError:
        return uuid.UUID(int=0)
