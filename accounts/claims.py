"""Rows that are due, taken one after the other: each by one worker only, and by the clock again when that one dies."""

from collections.abc import Iterator
from typing import Any, LiteralString

from django.db import connection
from psycopg import sql


def rows(
    statement: LiteralString | sql.Composed, limit: int, parameters: list[Any] | None = None
) -> Iterator[tuple[Any, ...]]:
    """What the statement returns, asked anew for each row as late as the caller wants it, until nothing is due.

    It is an UPDATE that picks one row FOR UPDATE SKIP LOCKED and puts its next turn off, so that workers at once
    share what is due and none waits for another.
    """
    for _ in range(limit):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone()
        if row is None:
            return
        yield row


def ids(statement: LiteralString | sql.Composed, limit: int, parameters: list[Any] | None = None) -> Iterator[Any]:
    """The same of a statement that returns one column."""
    return (row[0] for row in rows(statement, limit, parameters))
