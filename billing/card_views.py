"""The pages of saved cards and of automatic recharge."""

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.access import CustomerRequest, customer_required, owner_required
from accounts.models import Customer, Membership
from billing import auto_recharge, cards, stripe_gateway, tasks, taxing
from billing.forms import AutoRechargeForm
from billing.models import AutoRecharge, CardSetup
from billing.views import available_nano_usd

_MOVING = (CardSetup.Status.STARTED, CardSetup.Status.OPEN)


@require_POST
@owner_required
def card_setup(request: CustomerRequest) -> HttpResponse:
    """Writes the wish down and goes to its page, which leads on to the provider's; the same form twice is one wish."""
    try:
        setup_id = uuid.UUID(request.POST.get("setup", ""))
    except ValueError:
        setup_id = uuid.uuid4()
    if request.customer.status != Customer.Status.ACTIVE or "agreed" not in request.POST:
        return redirect("wallet")
    try:
        setup = cards.start_setup(customer=request.customer, user=request.user, setup_id=setup_id)
    except stripe_gateway.NotConfigured:
        return redirect("wallet")
    return redirect(f"{reverse('card_return', args=[setup.id])}?go=1")


@never_cache
@require_GET
@customer_required
def card_return(request: CustomerRequest, setup_id: uuid.UUID) -> HttpResponse:
    """The way to the provider's page and back from it; it asks itself whether the card was kept."""
    setup = get_object_or_404(CardSetup.objects.select_related("card"), id=setup_id, customer=request.customer)
    asks_again = "HX-Request" in request.headers
    leads_on = "go" in request.GET and setup.status == CardSetup.Status.OPEN
    if leads_on and asks_again:
        return HttpResponse(headers={"HX-Redirect": setup.checkout_url})
    if setup.status == CardSetup.Status.OPEN and not asks_again and not leads_on:
        tasks.wake(tasks.settle_card_setup, str(setup.id))
    context = {
        "setup": setup,
        "leads_on": leads_on,
        "query": "?left=1" if "left" in request.GET else "?go=1" if "go" in request.GET else "",
        "left": "left" in request.GET,
        "asks": setup.status in _MOVING and not leads_on,
    }
    return render(request, "billing/parts/card_setup.html" if asks_again else "billing/card_setup.html", context)


@require_POST
@owner_required
def card_default(request: CustomerRequest, card_id: uuid.UUID) -> HttpResponse:
    card = get_object_or_404(cards.of(request.customer), id=card_id)
    cards.choose(card, user=request.user)
    messages.success(request, f"{card} is offered first from now on.")
    return redirect("wallet")


@require_POST
@owner_required
def card_remove(request: CustomerRequest, card_id: uuid.UUID) -> HttpResponse:
    card = get_object_or_404(cards.of(request.customer), id=card_id)
    if cards.remove(card, user=request.user):
        messages.success(request, f"{card} was removed and is not charged any more.")
    return redirect("wallet")


@never_cache
@require_GET
@customer_required
def recharge(request: CustomerRequest) -> HttpResponse:
    found = AutoRecharge.objects.filter(customer=request.customer).first()
    initial = AutoRechargeForm.shown(found) if found else {}
    return _page(request, AutoRechargeForm(customer=request.customer, initial=initial))


@require_POST
@owner_required
def recharge_on(request: CustomerRequest) -> HttpResponse:
    form = AutoRechargeForm(request.POST, customer=request.customer)
    if request.customer.status != Customer.Status.ACTIVE:
        return _page(request, form, status=403)
    if not form.is_valid():
        return _page(request, form, status=422)
    wanted = form.cleaned_data
    try:
        auto_recharge.switch_on(
            request.customer,
            auto_recharge.Wanted(
                threshold_cents=wanted["threshold_cents"],
                mode=wanted["mode"],
                amount_cents=wanted["amount_cents"],
                cap_cents=wanted["cap_cents"],
                card=form.cards[wanted["card"]],
            ),
            user=request.user,
        )
    except auto_recharge.NotUsable as error:
        form.add_error(None, str(error))
        return _page(request, form, status=422)
    messages.success(request, "Automatic recharge is on.")
    return redirect("auto_recharge")


@require_POST
@owner_required
def recharge_off(request: CustomerRequest) -> HttpResponse:
    auto_recharge.switch_off(request.customer, user=request.user)
    messages.success(request, "Automatic recharge is off. What was charged already stays in the balance.")
    return redirect("auto_recharge")


def _page(request: CustomerRequest, form: AutoRechargeForm, *, status: int = 200) -> HttpResponse:
    now = timezone.now()
    found = AutoRecharge.objects.filter(customer=request.customer).select_related("card", "changed_by").first()
    spent = auto_recharge.spent_cents(request.customer.pk, now=now)
    context = {
        "form": form,
        "recharge": found,
        "taxed": taxing.is_on(),
        "is_paused": bool(found and found.is_on and found.not_before and found.not_before > now),
        "spent_cents": spent,
        "left_cents": max(0, found.cap_cents - spent) if found else 0,
        "starts_anew": auto_recharge.month_end(now),
        "available": available_nano_usd(request.customer),
        "history": auto_recharge.history(request.customer),
        "is_owner": request.membership.role == Membership.Role.OWNER,
    }
    return render(request, "billing/auto_recharge.html", context, status=status)
