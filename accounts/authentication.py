"""How the REST API knows who asks: an API key, or the session of a signed-in member."""

from datetime import timedelta
from typing import TYPE_CHECKING, cast

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import access, api_keys
from accounts.models import ApiKey, Customer

if TYPE_CHECKING:  # the views import this file
    from rest_framework.views import APIView

USED_EVERY = timedelta(minutes=1)


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer ch_live_...`; a wrong, unknown or revoked key is 401, never another way in."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = _active_key(text.strip())
        if key is None:
            raise AuthenticationFailed("This API key is unknown or revoked.")
        _note_use(key)
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """What the API's documentation says about it."""

    target_class = "accounts.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key of the portal's keys page."}


class HasCustomer(BasePermission):
    """Lets in whoever stands for a customer: a key's owner, or the account a session works from."""

    message = "Send an API key, or sign in as a member of an account."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        customer = _customer(request)
        if customer is None or customer.status == Customer.Status.CLOSED:
            return False
        request.customer = customer  # type: ignore[attr-defined]  # read back by customer_of
        return True


def customer_of(request: Request) -> Customer:
    """The customer that HasCustomer found."""
    return cast(Customer, request.customer)  # type: ignore[attr-defined]


def _customer(request: Request) -> Customer | None:
    if isinstance(request.auth, ApiKey):
        return request.auth.customer
    seat = access.membership_of(request._request)
    return seat.customer if seat else None


def _active_key(text: str) -> ApiKey | None:
    """Looked up by digest alone, whatever the text looks like, as the signer does."""
    found = ApiKey.objects.filter(secret_sha256=api_keys.digest(text), revoked_at=None)
    return found.select_related("customer").first()


def _note_use(key: ApiKey) -> None:
    """Writes at most once a minute, so that reading stays reading."""
    now = timezone.now()
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USED_EVERY)
    ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
