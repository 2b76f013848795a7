"""A customer's sessions, the last opened first, without an index that every opening would have to write."""

import uuid
from datetime import datetime, timedelta

from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL

from signing.models import SignerSession

# Numbers are given by the signers' clocks, and the time of opening is the database's.
_CLOCKS_APART = timedelta(hours=1)
# Sessions of before were numbered at random; the index session_of_before, which has these words, is theirs alone.
_IS_OF_BEFORE = RawSQL("(get_byte(uuid_send(signing_session.id), 6) >> 4) <> 7", (), output_field=BooleanField())
# The planner takes what equals a number for rare, and would sort; of coalesce it assumes nothing.
_IS_NUMBERED_BY_TIME = RawSQL(
    "NOT coalesce((get_byte(uuid_send(signing_session.id), 6) >> 4) <> 7, false)", (), output_field=BooleanField()
)


def newest_sessions(
    customer_id: int,
    *,
    limit: int,
    now: datetime,
    since: datetime | None = None,
    api_key_id: int | None = None,
    before: tuple[datetime, uuid.UUID] | None = None,
) -> list[SignerSession]:
    """Those opened from `since` on, after the one named by `before` (when it was opened, and its id).

    An id begins with the time (UUID version 7), so the key's own index has them in this order.
    """
    found = SignerSession.objects.filter(customer_id=customer_id).select_related("api_key")
    if since is not None:
        found = found.filter(opened_at__gte=since)
    if api_key_id is not None:
        found = found.filter(api_key_id=api_key_id)
    rows: list[SignerSession] = []
    if before is None or before[1].version == 7:
        below = before[1] if before else _least_id(now + _CLOCKS_APART)
        rows += _numbered_by_time(found, since=since, below=below)[:limit]
        before = None
    if len(rows) < limit:
        rows += _of_before(found, before=before)[: limit - len(rows)]
    return rows


def _numbered_by_time(
    found: QuerySet[SignerSession], *, since: datetime | None, below: uuid.UUID
) -> QuerySet[SignerSession]:
    if since is not None:
        found = found.filter(id__gte=_least_id(since - _CLOCKS_APART))
    return found.filter(_IS_NUMBERED_BY_TIME, id__lt=below).order_by("-id")


def _of_before(found: QuerySet[SignerSession], *, before: tuple[datetime, uuid.UUID] | None) -> QuerySet[SignerSession]:
    if before is not None:
        opened, session_id = before
        found = found.filter(Q(opened_at__lt=opened) | Q(opened_at=opened, id__lt=session_id))
    return found.filter(_IS_OF_BEFORE).order_by("-opened_at", "-id")


def _least_id(at: datetime) -> uuid.UUID:
    return uuid.UUID(int=int(at.timestamp() * 1000) << 80)
