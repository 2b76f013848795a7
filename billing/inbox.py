"""What an event of the provider means: the row says which object to ask about, never what is true."""

import json
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

from billing import stripe_gateway, topups
from billing.models import StripeEvent, TopUp

log = logging.getLogger(__name__)

_SESSION_EVENTS = frozenset(
    {
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
    }
)
# The balance transaction, and with it the fee, arrives with the charge's update.
_CHARGE_EVENTS = frozenset({"charge.succeeded", "charge.updated"})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Claimed:
    id: int
    type: str
    subject: dict[str, Any]


def handle_waiting(*, limit: int = 500) -> int:
    """Handles events that wait and returns how many; one that fails waits longer each time, up to an hour."""
    handled = 0
    for event in _claims(limit):
        try:
            _handle(event)
        except Exception as error:  # whatever one event does, the next one has its turn
            log.warning("event row %s waits for another try: %s", event.id, type(error).__name__)
            StripeEvent.objects.filter(id=event.id).update(error=f"{type(error).__name__}: {error}"[:300])
            if isinstance(error, stripe_gateway.Unavailable):
                break
        else:
            StripeEvent.objects.filter(id=event.id).update(handled_at=timezone.now(), error="")
            handled += 1
    return handled


def _handle(event: _Claimed) -> None:
    """Unknown kinds, and objects that are none of ours, are handled by doing nothing."""
    if event.type in _SESSION_EVENTS:
        top_up_id = _known(event.subject.get("client_reference_id"))
        if top_up_id is not None:
            topups.settle(top_up_id, session_id=str(event.subject.get("id", "")))
    elif event.type in _CHARGE_EVENTS:
        top_up = TopUp.objects.filter(payment_intent_id=event.subject.get("payment_intent") or "-").first()
        if top_up is not None and top_up.balance_transaction_id is None:
            topups.settle(top_up.id)


def _known(reference: object) -> uuid.UUID | None:
    try:
        top_up_id = uuid.UUID(str(reference))
    except ValueError:
        return None
    return top_up_id if TopUp.objects.filter(id=top_up_id).exists() else None


def _claims(limit: int) -> Iterator[_Claimed]:
    """One event after the other, each taken by one worker only; a worker that dies gives it back by the clock."""
    for _ in range(limit):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE billing_stripeevent SET
                    attempts = attempts + 1,
                    not_before = clock_timestamp()
                        + least(interval '1 hour', interval '10 seconds' * 2 ^ least(attempts, 9))
                WHERE id = (
                    SELECT id FROM billing_stripeevent
                    WHERE handled_at IS NULL AND not_before <= clock_timestamp()
                    ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED
                ) RETURNING id, type, payload #> '{data,object}'
                """
            )
            row = cursor.fetchone()
        if row is None:
            return
        yield _Claimed(id=row[0], type=row[1], subject=_object(row[2]))


def _object(value: Any) -> dict[str, Any]:
    """Django's connection leaves JSON as text."""
    parsed = json.loads(value) if isinstance(value, str) else value
    return parsed if isinstance(parsed, dict) else {}
