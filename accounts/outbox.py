"""Mails that wait in a table: each is taken by one worker, and one that cannot be sent waits longer each time."""

import logging
from collections.abc import Callable, Iterator
from smtplib import SMTPException
from typing import Any

from django.db import models
from django.utils import timezone
from psycopg import sql

from accounts import claims

log = logging.getLogger(__name__)

_MOST_TRIES = 8
_CLAIM = sql.SQL(
    """
    UPDATE {table} SET
        attempts = attempts + 1,
        not_before = clock_timestamp() + interval '1 minute' * 4 ^ least(attempts, 5)
    WHERE id = (
        SELECT id FROM {table}
        WHERE sent_at IS NULL AND attempts < %s AND not_before <= clock_timestamp()
        ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id
    """
)


def send_waiting(rows: models.QuerySet[Any], send: Callable[[Any], None], *, limit: int) -> int:
    """Sends what waits among `rows`, which have `attempts`, `not_before`, `sent_at` and `error`; returns how many went.

    A worker that dies between the mail server's yes and our note of it sends once more, under the same Message-ID,
    so that a mailbox shows it once. One that is refused, or is no mail, waits longer each time and is given up after
    eight tries; the others go on.
    """
    sent = 0
    for row_id in _claims(rows.model._meta.db_table, limit):
        row = rows.get(pk=row_id)
        waiting = rows.model._default_manager.filter(pk=row_id, sent_at=None)
        try:
            send(row)
        except (SMTPException, OSError, ValueError) as error:
            log.warning("%s is mailed later: %s", row, type(error).__name__)
            waiting.update(error=type(error).__name__)
        else:
            waiting.update(sent_at=timezone.now(), error="")
            sent += 1
    return sent


def _claims(table: str, limit: int) -> Iterator[int]:
    """One mail after the other, each taken by one worker only."""
    return claims.ids(_CLAIM.format(table=sql.Identifier(table)), limit, [_MOST_TRIES])
