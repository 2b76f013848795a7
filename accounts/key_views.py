"""The pages of API keys: the list with the once-shown secret, and one page a key."""

import base64
import json

from django.conf import settings
from django.contrib import messages
from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import keys
from accounts.access import CustomerRequest, customer_required
from accounts.api_keys import IssuedKey
from accounts.forms import KeyForm, RevokeForm
from accounts.models import ApiKey

NAME_TAKEN = "An active key has this name already. Choose another, or revoke that key first."
TOO_MANY = f"{keys.MOST_ACTIVE_KEYS} keys are active, the most there can be. Revoke one first."
CHANGES = {"api_key.created": "created", "api_key.renamed": "renamed", "api_key.revoked": "revoked"}


def sdk_token(text: str) -> str:
    """What the Python SDK takes as its token: standard base64 of a JSON object with signer and headers."""
    token = {"signer": settings.SIGNER_URL, "signer_headers": {"Authorization": f"Bearer {text}"}}
    return base64.b64encode(json.dumps(token).encode()).decode()


def _list(
    request: CustomerRequest,
    *,
    form: KeyForm | None = None,
    made: ApiKey | None = None,
    issued: IssuedKey | None = None,
) -> HttpResponse:
    rows = ApiKey.objects.filter(customer=request.customer).select_related("created_by")
    changes = [
        {
            "name": entry.after.get("name") or entry.before.get("name") or entry.subject,
            "word": CHANGES.get(entry.action, "changed"),
            "actor": entry.actor,
            "at": entry.at,
        }
        for entry in keys.recent_changes(request.customer)
    ]
    context = {
        "keys": rows.order_by(F("revoked_at").desc(nulls_first=True), "-created_at", "-id"),
        "changes": changes,
        "form": form or KeyForm(),
        "asking": form is not None or "new" in request.GET,
        "made": made,
        "issued": issued,
        "sdk_token": sdk_token(issued.text) if issued else "",
    }
    return render(request, "accounts/keys.html", context, status=422 if form else 201 if issued else 200)


@require_GET
@customer_required
def api_keys(request: CustomerRequest) -> HttpResponse:
    return _list(request)


@require_POST
@never_cache
@customer_required
def create_api_key(request: CustomerRequest) -> HttpResponse:
    """Answers with the secret itself; a repeat of the request meets the name that is taken."""
    form = KeyForm(request.POST)
    if form.is_valid():
        try:
            made, issued = keys.create(customer=request.customer, user=request.user, name=form.cleaned_data["name"])
        except keys.NameTaken:
            form.add_error("name", NAME_TAKEN)
        except keys.TooManyKeys:
            form.add_error("name", TOO_MANY)
        else:
            return _list(request, made=made, issued=issued)
    return _list(request, form=form)


def _own_key(request: CustomerRequest, key_id: int) -> ApiKey:
    return get_object_or_404(
        ApiKey.objects.select_related("customer", "created_by", "revoked_by"),
        pk=key_id,
        customer=request.customer,
    )


def _page(
    request: CustomerRequest, key: ApiKey, *, form: KeyForm | None = None, revoking: RevokeForm | None = None
) -> HttpResponse:
    context = {
        "key": key,
        "form": form or KeyForm(initial={"name": key.name}),
        "revoking": revoking or RevokeForm(name=key.name),
        "asking": revoking is not None or "revoke" in request.GET,
    }
    return render(request, "accounts/key.html", context, status=422 if form or revoking else 200)


@require_http_methods(["GET", "POST"])
@customer_required
def api_key(request: CustomerRequest, key_id: int) -> HttpResponse:
    """One key; POST renames it."""
    key = _own_key(request, key_id)
    if request.method == "GET":
        return _page(request, key)
    form = KeyForm(request.POST)
    if form.is_valid():
        try:
            keys.rename(key, user=request.user, name=form.cleaned_data["name"])
        except keys.NameTaken:
            form.add_error("name", NAME_TAKEN)
        except keys.KeyIsRevoked:
            form.add_error("name", "This key was revoked meanwhile, so its name stays.")
        else:
            messages.success(request, "Name saved")
            return redirect("api_key", key_id)
    return _page(request, key, form=form)


@require_POST
@customer_required
def revoke_api_key(request: CustomerRequest, key_id: int) -> HttpResponse:
    key = _own_key(request, key_id)
    form = RevokeForm(request.POST, name=key.name)
    if key.revoked_at is None and not form.is_valid():
        return _page(request, key, revoking=form)
    if keys.revoke(key, user=request.user):
        messages.success(request, f"{key.name} revoked")
    return redirect("api_keys")
