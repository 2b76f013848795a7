"""A customer's page about one API key: the most that its payments may cost a unit of work."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.access import CustomerRequest, customer_required
from accounts.models import ApiKey
from signing import prices
from signing.price_forms import LimitForm

_SHOWN = 20


@never_cache
@require_http_methods(["GET", "POST"])
@customer_required
def key_prices(request: CustomerRequest, key_id: int) -> HttpResponse:
    """What holds now and what was before; POST sets another ceiling, from now on."""
    key = get_object_or_404(ApiKey, pk=key_id, customer=request.customer)
    form = LimitForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and key.revoked_at is None:
        prices.add_ceiling(user=request.user, scope="api_key", api_key=key, **form.cleaned_data["limit"])
        messages.success(request, "Highest price saved")
        return redirect("key_prices", key.pk)
    rows = list(prices.of_key(key)[:_SHOWN])
    in_force = [row for row in rows if row.valid_from <= timezone.now()]
    newest = {row.unit: row.pk for row in reversed(in_force)}
    context = {
        "key": key,
        "form": form,
        "lines": [(row, prices.limit_text(row), newest.get(row.unit) == row.pk) for row in in_force],
    }
    return render(request, "signing/key_prices.html", context, status=422 if form.errors else 200)
