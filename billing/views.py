"""The customer's money pages: wallet and top-ups, statements and their files."""

import uuid
from datetime import date, timedelta

from django.conf import settings
from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import hold_letters, origin, terms
from accounts.access import CustomerRequest, customer_required
from accounts.models import Customer
from billing import bank_transfers, fx, set_aside, statements, stripe_gateway, tasks, taxing, topups, usage
from billing.documents import statement_pdf
from billing.exports import statement_csv
from billing.forms import TopUpForm
from billing.models import AutoRecharge, Document, Grant, TopUp, Wallet
from billing.statements import Statement

_SHOWN_TOP_UPS = 100
_BANKS = {"sepa_debit": "SEPA direct debit", "us_bank_account": "US bank account"}
# What a page looks at again by itself; a bank's days are too long for that.
_MOVING = (TopUp.Status.STARTED, TopUp.Status.OPEN)


# The number of our own receipt.
_RECEIPT = Subquery(Document.objects.filter(top_up=OuterRef("pk"), kind=Document.Kind.RECEIPT).values("number")[:1])


def available_nano_usd(customer: Customer) -> int:
    wallet = Wallet.objects.filter(customer=customer).first()
    return wallet.available_nano_usd if wallet else 0


@never_cache
@require_GET
@customer_required
def wallet(request: CustomerRequest) -> HttpResponse:
    return _wallet(request, TopUpForm(customer=request.customer))


@require_POST
@customer_required
def top_up_start(request: CustomerRequest) -> HttpResponse:
    """Writes the wish down and goes to its page, which leads on to the provider's; the same form twice is one wish."""
    form = TopUpForm(request.POST, customer=request.customer)
    if not form.is_valid():
        return _wallet(request, form, status=422)
    if request.customer.status != Customer.Status.ACTIVE:
        return _wallet(request, form, status=403)
    card, wanted = form.cleaned_data["card"], form.cleaned_data
    try:
        top_up = topups.start(
            customer=request.customer,
            user=request.user,
            amount_cents=wanted["amount_cents"],
            currency=wanted["currency"],
            top_up_id=wanted["top_up"],
            card=card,
            saves_card=wanted["save_card"] and card is None,
            ip=origin.address_of(request),
        )
    except stripe_gateway.NotConfigured:
        return _wallet(request, form, status=503)
    except topups.AmountOutOfRange as error:
        form.add_error(None, str(error))
        return _wallet(request, form, status=422)
    except fx.RateMissing:
        form.add_error(None, "This currency cannot be charged at the moment. Choose dollars.")
        return _wallet(request, form, status=422)
    except taxing.ProfileNeeded:
        return redirect(f"{reverse('billing_profile')}?why=top-up")
    if card is not None:
        tasks.wake(tasks.settle_top_up, str(top_up.id))
    return redirect(f"{reverse('top_up_return', args=[top_up.id])}?pay=1")


@require_POST
@customer_required
def top_up_cancel(request: CustomerRequest, top_up_id: uuid.UUID) -> HttpResponse:
    """Somebody does not want to pay any more: the worker closes the page at the provider."""
    top_up = get_object_or_404(TopUp, id=top_up_id, customer=request.customer)
    tasks.wake(tasks.cancel_top_up, str(top_up.id))
    return redirect(f"{reverse('top_up_return', args=[top_up.id])}?left=1")


@never_cache
@require_GET
@customer_required
def top_up_return(request: CustomerRequest, top_up_id: uuid.UUID) -> HttpResponse:
    """The way to the provider's page and back from it; it asks itself how the payment stands until that is known.

    With `?pay=1` it leads on to the provider's page. That is a step of its own because browsers hold whatever a form
    redirects to against the policy of our pages, and the provider's page may live under any name.
    """
    top_up = get_object_or_404(TopUp, id=top_up_id, customer=request.customer)
    asks_again = "HX-Request" in request.headers
    leads_on = "pay" in request.GET and top_up.status == TopUp.Status.OPEN
    if leads_on and asks_again:
        return HttpResponse(headers={"HX-Redirect": top_up.checkout_url})
    if top_up.status == TopUp.Status.OPEN and not asks_again and not leads_on:
        tasks.wake(tasks.settle_top_up, str(top_up.id))
    context = {
        "top_up": top_up,
        "leads_on": leads_on,
        "query": "?left=1" if "left" in request.GET else "?pay=1" if "pay" in request.GET else "",
        "left": "left" in request.GET,
        "available": available_nano_usd(request.customer),
        "asks": top_up.status in _MOVING and not leads_on,
    }
    return render(request, "billing/parts/top_up.html" if asks_again else "billing/top_up.html", context)


@never_cache
@require_GET
@customer_required
def statement_list(request: CustomerRequest) -> HttpResponse:
    return render(
        request,
        "billing/statements.html",
        {"months": statements.list_months(request.customer, now=timezone.now())},
    )


@never_cache
@require_GET
@customer_required
def statement(request: CustomerRequest, month: date) -> HttpResponse:
    found = _statement(request, month)
    last = found.end - timedelta(days=1)
    context = {
        "statement": found,
        "days": statements.days(found),
        "groups": statements.groups(found),
        "last": last,
        "used": -found.charge_nano_usd,
    }
    return render(request, "billing/statement.html", context)


@never_cache
@require_GET
@customer_required
def statement_as_pdf(request: CustomerRequest, month: date) -> HttpResponse:
    found = _statement(request, month)
    return _file(HttpResponse(statement_pdf.render(found), content_type="application/pdf"), f"{found.number}.pdf")


@never_cache
@require_GET
@customer_required
def statement_as_csv(request: CustomerRequest, month: date) -> HttpResponseBase:
    found = _statement(request, month)
    return _file(
        StreamingHttpResponse(statement_csv.lines(found), content_type="text/csv; charset=utf-8"),
        f"{found.number}.csv",
    )


def _wallet(request: CustomerRequest, form: TopUpForm, *, status: int = 200) -> HttpResponse:
    now = timezone.now()
    available = available_nano_usd(request.customer)
    burn = usage.burn(request.customer.pk, now=now)
    lasts = burn.lasts(available) if burn else None
    wallet = Wallet.objects.filter(customer=request.customer).first()
    context = {
        "form": form,
        "available": available,
        "burn": burn,
        "lasts": lasts,
        "empty_at": now + lasts if lasts else None,
        "top_ups": TopUp.objects.filter(customer=request.customer)
        .annotate(receipt=_RECEIPT)
        .select_related("created_by", "saved_card")
        .order_by("-created_at")[:_SHOWN_TOP_UPS],
        "can_pay": bool(settings.STRIPE_SECRET_KEY) and request.customer.status == Customer.Status.ACTIVE,
        "bank_offered": bank_transfers.offered(),
        "configured": bool(settings.STRIPE_SECRET_KEY),
        "cards": list(form.cards.values()),
        "new_setup": uuid.uuid4(),
        "recharge": AutoRecharge.objects.filter(customer=request.customer).select_related("card").first(),
        "banks": [_BANKS[name] for name in settings.TOP_UP_METHODS if name in _BANKS],
        "wallet": wallet,
        "paid": available - wallet.promo_nano_usd if wallet else available,
        "promo_ends": Grant.objects.filter(
            customer=request.customer, kind=Grant.Kind.PROMO, remaining_nano_usd__gt=0, expires_at__gt=now
        )
        .order_by("expires_at")
        .first(),
        "beside": set_aside.at(request.customer, now),
        "why_frozen": hold_letters.why_frozen(request.customer),
        "taxed": taxing.is_on(),
        "terms_due": terms.are_due(request.user),
        "terms_version": settings.TERMS_VERSION,
        "terms_url": settings.TERMS_URL,
    }
    return render(request, "billing/wallet.html", context, status=status)


def _statement(request: CustomerRequest, month: date) -> Statement:
    now = timezone.now()
    if month not in statements.months(request.customer, now=now):
        raise Http404
    return statements.of_month(request.customer, month, now=now)


def _file[R: HttpResponseBase](response: R, name: str) -> R:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
