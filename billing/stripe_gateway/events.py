"""Events of the provider: whether one of our secrets signed them."""

import json
from dataclasses import dataclass
from typing import Any

import stripe
from django.conf import settings


class BadSignature(Exception):
    """A webhook body that none of our secrets signed, or an old one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A verified event: ids, and the body as it came."""

    id: str
    type: str
    kind: str
    object_id: str
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
        except (ValueError, KeyError, TypeError):
            break
    raise BadSignature


def _event(payload: dict[str, Any]) -> Event:
    return Event(
        id=str(payload["id"]),
        type=str(payload["type"]),
        kind=str(payload["data"]["object"].get("object", "")),
        object_id=str(payload["data"]["object"].get("id", "")),
        payload=payload,
    )
