"""The inbox of the provider's events: an event says which object to ask about, never what is true.

Handling one is `sync(kind, id)`: the object is fetched again and our rows are moved to what the provider says now. So
the order of events, their number and their snapshots do not matter. A room that follows a kind adds a line to SYNCS.
"""

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from accounts import claims
from billing import cards, disputes, fraud_warnings, refund_bookings, stripe_gateway, topups
from billing.models import CardSetup, StripeEvent, TopUp
from billing.reconciliation import payouts

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """An object of the provider to ask about. `hint` is an old snapshot: good to find our row, for nothing else."""

    kind: str
    id: str
    hint: dict[str, Any] = field(default_factory=dict)


def _sync_session(subject: Subject) -> None:
    """A page on which a top-up is paid or a card is kept."""
    reference = _uuid(subject.hint.get("client_reference_id"))
    if TopUp.objects.filter(id=reference).exists():
        topups.settle(reference, session_id=subject.id)
    elif CardSetup.objects.filter(id=reference).exists():
        cards.settle_setup(reference, session_id=subject.id)


def _sync_payment(subject: Subject) -> None:
    """A payment by a saved card; those of pages are followed by their session."""
    top_up = TopUp.objects.filter(payment_intent_id=subject.id, checkout_session_id=None).first()
    if top_up is not None:
        topups.settle(top_up.id)


def _sync_card(subject: Subject) -> None:
    cards.follow(subject.id)


def _sync_charge(subject: Subject) -> None:
    """The balance transaction, and with it the fee, arrives with the charge's update."""
    top_up = TopUp.objects.filter(payment_intent_id=subject.hint.get("payment_intent") or "-").first()
    if top_up is not None and top_up.balance_transaction_id is None:
        topups.settle(top_up.id)


# By the kind of the object, which is `data.object.object` of an event. Each may be called at any time and any number of
# times, fetches the object itself and leaves objects alone that are none of ours.
SYNCS: dict[str, Callable[[Subject], None]] = {
    "checkout.session": _sync_session,
    "payment_intent": _sync_payment,
    "payment_method": _sync_card,
    "charge": _sync_charge,
    "payout": lambda subject: payouts.sync(subject.id),
    "refund": lambda subject: refund_bookings.sync(subject.id),
    "dispute": lambda subject: disputes.sync(subject.id),
    "radar.early_fraud_warning": lambda subject: fraud_warnings.sync(subject.id),
}


def keep(events: Iterable[stripe_gateway.Event], *, source: StripeEvent.Source) -> None:
    """Writes events into the inbox; one that is there already stays as it is."""
    rows = [
        StripeEvent(
            event_id=event.id,
            type=event.type[:80],
            kind=event.kind[:40],
            object_id=event.object_id[:120],
            payload=event.payload,
            source=source,
        )
        for event in events
    ]
    StripeEvent.objects.bulk_create(rows, ignore_conflicts=True)


def sync(subject: Subject) -> bool:
    """Brings our rows up to what the provider says of this object; False when no room follows its kind."""
    follow = SYNCS.get(subject.kind)
    if follow is not None:
        follow(subject)
    return follow is not None


def handle_waiting(*, limit: int = 500) -> int:
    """Handles events that wait and returns how many; one that fails waits longer each time, up to an hour."""
    handled = 0
    for event in _claims(limit):
        try:
            followed = sync(event.subject)
        except Exception as error:  # whatever one event does, the next one has its turn
            log.warning("event row %s waits for another try: %s", event.id, type(error).__name__)
            StripeEvent.objects.filter(id=event.id).update(error=f"{type(error).__name__}: {error}"[:300])
            if isinstance(error, stripe_gateway.Unavailable):
                break
        else:
            handled += _note_handled(event, followed)
    return handled


def try_again(event_id: int) -> bool:
    """Puts an event that failed in front of the queue; False when it is handled or gone."""
    return bool(StripeEvent.objects.filter(id=event_id, handled_at=None).update(not_before=timezone.now()))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Claimed:
    id: int
    subject: Subject
    at: datetime


def _claims(limit: int) -> Iterator[_Claimed]:
    """One event after the other, each taken by one worker only; a worker that dies gives it back by the clock."""
    due = claims.rows(
        """
        UPDATE billing_stripeevent SET
            attempts = attempts + 1,
            not_before = clock_timestamp()
                + least(interval '1 hour', interval '10 seconds' * 2 ^ least(attempts, 9))
        WHERE id = (
            SELECT id FROM billing_stripeevent
            WHERE handled_at IS NULL AND not_before <= clock_timestamp()
            ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING id, coalesce(payload #>> '{data,object,object}', ''), object_id,
                    payload #> '{data,object}', clock_timestamp()
        """,
        limit,
    )
    for row in due:
        subject = Subject(kind=row[1], id=row[2], hint=_object(row[3]))
        yield _Claimed(id=row[0], subject=subject, at=row[4])


def _note_handled(event: _Claimed, followed: bool) -> int:
    """One look at an object answers every event about it that was here before the look."""
    outcome = StripeEvent.Outcome.SYNCED if followed else StripeEvent.Outcome.UNUSED
    values = {"handled_at": timezone.now(), "outcome": outcome, "error": ""}
    handled = StripeEvent.objects.filter(id=event.id).update(**values)
    if followed and event.subject.id:
        same = StripeEvent.objects.filter(object_id=event.subject.id, kind=event.subject.kind, handled_at=None)
        handled += same.filter(received_at__lte=event.at).update(**values)
    return handled


def _uuid(reference: object) -> uuid.UUID:
    """The id of one of our rows, or one that no row has."""
    try:
        return uuid.UUID(str(reference))
    except ValueError:
        return uuid.UUID(int=0)


def _object(value: Any) -> dict[str, Any]:
    """Django's connection leaves JSON as text."""
    parsed = json.loads(value) if isinstance(value, str) else value
    return parsed if isinstance(parsed, dict) else {}
