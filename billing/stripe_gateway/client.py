"""The one client of the payment provider: its address, its patience, and its errors in our own words."""

import functools
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import stripe
from django.conf import settings

CONNECT_SECONDS = 3.05
ANSWER_SECONDS = 10.0
RETRIES = 2
PAGE = 100


class NotConfigured(Exception):
    """STRIPE_SECRET_KEY is not set, so nobody can pay in by card."""


class Unavailable(Exception):
    """No usable answer now: network, overload or the provider's own fault. Asking again later is right."""


class AnswerStuck(Unavailable):
    """The provider repeats a failure that it keeps under our idempotency key; only another key gets another answer."""


class Refused(Exception):
    """The provider understood and said no; asking again would change nothing. `code` is the provider's, or empty."""

    def __init__(self, reason: str, *, code: str = "") -> None:
        super().__init__(reason)
        self.code = code


def client() -> stripe.StripeClient:
    if not settings.STRIPE_SECRET_KEY:
        raise NotConfigured
    return _cached_client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@functools.lru_cache(maxsize=4)
def _cached_client(secret_key: str, api_base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_base},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=(CONNECT_SECONDS, ANSWER_SECONDS)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Page[T]:
    """One page of a list, newest first, and whether older ones follow."""

    items: list[T]
    more: bool


def page_params(since: datetime, after: str) -> Any:
    return {
        "limit": PAGE,
        "created": {"gte": max(0, int(since.timestamp()))},
        **({"starting_after": after} if after else {}),
    }


class Translated:
    """Turns the SDK's errors into the three that the house knows."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, stripe.StripeError):
            return
        reason = f"{type(error).__name__} {error.code or error.http_status or ''}".strip()
        status = error.http_status or 0
        if status >= 500 and _is_replay(error):
            raise AnswerStuck(reason) from None
        if status in (0, 409, 429) or status >= 500:
            raise Unavailable(reason) from None
        raise Refused(reason, code=error.code or "") from None


def _is_replay(error: stripe.StripeError) -> bool:
    headers = {name.lower(): value for name, value in dict(error.headers or {}).items()}
    return headers.get("idempotent-replayed") == "true"
