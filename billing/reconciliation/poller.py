"""Reads the provider's lists: events that no webhook brought, and every movement of our balance.

Each list is read from the newest entry down to an hour before where the last pass began, once a day a full day more.
What is known already is left alone, so reading twice, or from a cursor that was set back, changes nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from billing import inbox, stripe_gateway
from billing.models import ProviderCursor, StripeEvent
from billing.reconciliation import mirror
from billing.stripe_gateway import Event, Page

log = logging.getLogger(__name__)

OVERLAP = timedelta(hours=1)
FULL_DAY = timedelta(days=1)
# The provider forgets events after 30 days; of our balance we want to know everything.
EVENTS_KEPT = timedelta(days=30)
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)

type Read[T] = Callable[[datetime, str], Page[T]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What a page was about: the ids in its order, its newest moment, and how much of it was new to us."""

    ids: list[str]
    newest: int
    new: int


def poll() -> dict[str, int]:
    """One pass over both lists; how many entries of each were new. What the provider does not answer is read later."""
    return {
        "events": _read(ProviderCursor.Name.EVENTS, _events),
        "movements": _read(ProviderCursor.Name.MOVEMENTS, _movements),
    }


def waits_since(moment: datetime) -> bool:
    """Whether one of the lists was not read to its end since then; nobody waits for a provider that is not asked."""
    unread = Q(read_at=None) | Q(read_at__lt=moment)
    return bool(settings.STRIPE_SECRET_KEY) and ProviderCursor.objects.filter(unread).exists()


def _events(since: datetime, after: str) -> tuple[_Seen, bool]:
    page = stripe_gateway.list_events(since=since, after=after)
    known = set(
        StripeEvent.objects.filter(event_id__in=[each.id for each in page.items]).values_list("event_id", flat=True)
    )
    missed: list[Event] = [each for each in page.items if each.id not in known]
    inbox.keep(missed, source=StripeEvent.Source.POLL)
    return _seen([(each.id, each.created) for each in page.items], new=len(missed)), page.more


def _movements(since: datetime, after: str) -> tuple[_Seen, bool]:
    page = stripe_gateway.list_movements(since=since, after=after)
    new = mirror.keep(page.items)
    return _seen([(each.id, each.created) for each in page.items], new=new), page.more


def _seen(entries: list[tuple[str, int]], *, new: int) -> _Seen:
    return _Seen(ids=[id for id, _ in entries], newest=max((created for _, created in entries), default=0), new=new)


def _read(name: ProviderCursor.Name, read: Callable[[datetime, str], tuple[_Seen, bool]]) -> int:
    """Reads page after page; after each the cursor knows where to go on, should this process end here."""
    cursor, new = _cursor(name), 0
    try:
        while True:
            # Decided once a page: the day may be full while the provider answers.
            is_full = _is_full(cursor)
            seen, more = read(_from(cursor, is_full=is_full), cursor.after)
            new += seen.new
            if not _turned(cursor, seen, more=more, is_full=is_full):
                break
            if not more:
                _note(name, "")
                break
            cursor.refresh_from_db()
    except stripe_gateway.Refused as error:
        # The entry to go on after is gone, for instance: the next pass begins at the newest again.
        log.error("the provider's list of %s is read from its top again: %s", name.value, error)
        ProviderCursor.objects.filter(name=name).update(after="", newest=None, error=str(error)[:300])
    except stripe_gateway.Unavailable as error:
        log.warning("the provider's list of %s is read on later: %s", name.value, error)
        _note(name, f"The provider does not answer: {error}")
    if new:
        log.info("%s %s were new", new, name.value)
    return new


def _turned(cursor: ProviderCursor, seen: _Seen, *, more: bool, is_full: bool) -> bool:
    """Moves the cursor behind a page; False when somebody else moved it meanwhile, who then reads on."""
    newest = cursor.newest
    if not cursor.after:  # the first page of a pass has the newest entry
        newest = datetime.fromtimestamp(seen.newest, UTC) if seen.newest else cursor.since
    where = ProviderCursor.objects.filter(name=cursor.name, since=cursor.since, after=cursor.after)
    if more:
        return bool(where.update(after=seen.ids[-1], newest=newest))
    done = {"since": max(cursor.since, newest or cursor.since), "after": "", "newest": None, "read_at": timezone.now()}
    if is_full:
        done["full_day_read_at"] = timezone.now()
    return bool(where.update(**done))


def _from(cursor: ProviderCursor, *, is_full: bool) -> datetime:
    return cursor.since - OVERLAP - (FULL_DAY if is_full else timedelta())


def _is_full(cursor: ProviderCursor) -> bool:
    return cursor.full_day_read_at is None or timezone.now() - cursor.full_day_read_at > FULL_DAY


def _cursor(name: ProviderCursor.Name) -> ProviderCursor:
    first = timezone.now() - EVENTS_KEPT if name == ProviderCursor.Name.EVENTS else BEGINNING
    return ProviderCursor.objects.get_or_create(name=name, defaults={"since": first})[0]


def _note(name: ProviderCursor.Name, error: str) -> None:
    ProviderCursor.objects.filter(name=name).update(error=error[:300])
