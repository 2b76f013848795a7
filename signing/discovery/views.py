"""The page on which customers see which orchestrators their gateways can turn to, and for how much."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.access import CustomerRequest, customer_required
from signing.discovery import prices


@never_cache
@require_GET
@customer_required
def orchestrators(request: CustomerRequest) -> HttpResponse:
    """Every offer with its price in dollars, in the order gateways get them; `work` chooses one kind."""
    work = request.GET.get("work", "")
    context = {"market": prices.market(request.customer.pk, work=work), "work": work}
    in_part = "HX-Request" in request.headers
    return render(request, "signing/parts/orchestrators.html" if in_part else "signing/orchestrators.html", context)
