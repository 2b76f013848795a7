"""Events of the provider: whether one of our secrets signed them, and the list of all that happened."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import stripe
from django.conf import settings

from billing.stripe_gateway.client import Page, Translated, client, page_params


class BadSignature(Exception):
    """A webhook body that none of our secrets signed, or an old one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A verified event: ids, when it happened there in Unix seconds, and the body as it came."""

    id: str
    type: str
    kind: str
    object_id: str
    created: int
    payload: dict[str, Any]


def verify_event(body: bytes, signature: str) -> Event:
    """The event of a webhook request whose raw body one of our secrets signed. Raises BadSignature."""
    for secret in settings.STRIPE_WEBHOOK_SECRETS:
        try:
            stripe.WebhookSignature.verify_header(
                body.decode(), signature, secret, tolerance=stripe.Webhook.DEFAULT_TOLERANCE
            )
            return _event(json.loads(body))
        except stripe.SignatureVerificationError:
            continue
        except (ValueError, KeyError, TypeError, AttributeError):
            break
    raise BadSignature


def list_events(*, since: datetime, after: str = "") -> Page[Event]:
    """A page of what happened from `since` on, newest first; `after` is the last id of the page before.

    The provider keeps them for 30 days. Raises NotConfigured, Unavailable, Refused.
    """
    with Translated():
        found = client().v1.events.list(page_params(since, after))
        return Page(items=[_event(event.to_dict(for_json=True)) for event in found.data], more=found.has_more)


def _event(payload: dict[str, Any]) -> Event:
    return Event(
        id=str(payload["id"]),
        type=str(payload["type"]),
        kind=str(payload["data"]["object"].get("object", "")),
        object_id=str(payload["data"]["object"].get("id", "")),
        created=int(payload.get("created") or 0),
        payload=payload,
    )
