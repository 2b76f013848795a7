"""Where the request of a page came from, as evidence and not as identity."""

from django.conf import settings
from django.http import HttpRequest

from accounts.client_address import client_address


def address_of(request: HttpRequest) -> str | None:
    """The client's address in text, proxies of ours left out; None where there is none."""
    found = client_address(
        request.META.get("REMOTE_ADDR"), request.headers.get("X-Forwarded-For", ""), settings.TRUSTED_PROXIES
    )
    return str(found) if found else None
