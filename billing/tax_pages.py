"""The line below an amount that says what it costs with tax; pages ask for it whenever the amount changes."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.access import CustomerRequest, customer_required
from billing import fx, tax_preview
from billing.forms import OTHER, cents_from_text


@never_cache
@require_GET
@customer_required
def tax_preview_line(request: CustomerRequest) -> HttpResponse:
    """Of the amount as a form has it now: `choice` or typed into `other` or `amount`; nothing while there is none."""
    given = request.GET
    choice = given.get("choice", "")
    typed = given.get("other", "") or given.get("amount", "")
    cents = cents_from_text(typed) if typed or choice in ("", OTHER) else int(choice) if choice.isdecimal() else None
    currency = given.get("currency") or fx.USD
    preview = None
    if cents and 0 < cents < 10**11 and currency in (fx.USD, *settings.TOP_UP_CURRENCIES):
        preview = tax_preview.of(customer=request.customer, user=request.user, net_cents=cents, currency=currency)
    return render(request, "billing/parts/tax_preview.html", {"preview": preview})
