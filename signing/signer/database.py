"""The signer's connections to PostgreSQL, and the one clock that all signers share: the database's."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from signing.signer.line import MOST_SECONDS_OF_A_CONNECTION, Line
from signing.signer.outages import reason
from signing.signer.refusals import Unavailable
from signing.signer.wire import Connection

logger = logging.getLogger(__name__)

_STATEMENT_SECONDS = 1.5
_LOCK_SECONDS = 0.25
_CONNECTION_SECONDS = 0.5
_OVERALL_SECONDS = 1.9
_CONNECTIONS = 4
_CLOCK_SAMPLES = 3
# Whatever a role or database has as its default: a commit looks at what others committed while it waited for a lock,
# and what is answered is on the disk.
_LIMIT = (
    f"SELECT set_config('statement_timeout', '{_STATEMENT_SECONDS * 1000:.0f}', false),"
    f" set_config('lock_timeout', '{_LOCK_SECONDS * 1000:.0f}', false),"
    " set_config('default_transaction_isolation', 'read committed', false),"
    " CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"
)
# Where nobody waits for the answer any more the connection is hung up, and the server looks whether it was.
_LIMIT_OF_THE_POOL = f"{_LIMIT}, set_config('client_connection_check_interval', '200', false)"
_NO_OUTAGE = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
_OUTAGE = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction, PoolTimeout, TimeoutError)


class DatabaseUnavailable(Unavailable):
    """PostgreSQL could not be reached, or did not answer in time."""

    def __init__(self) -> None:
        super().__init__("database_unavailable", "the database is unavailable, try again")


class Database:
    """A small pool of connections in autocommit, and a line for commits alone: one statement is one transaction.

    Every call answers or raises DatabaseUnavailable within two seconds. Both reconnect by themselves.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        conninfo = _conninfo(settings)
        self._pool = AsyncConnectionPool(
            conninfo,
            open=False,
            min_size=2,
            max_size=_CONNECTIONS,
            timeout=_CONNECTION_SECONDS,
            reconnect_timeout=5,
            max_lifetime=MOST_SECONDS_OF_A_CONNECTION,
            kwargs={"autocommit": True, "prepare_threshold": 0},
            configure=_limit,
        )
        self._line = Line(lambda: psycopg.AsyncConnection.connect(conninfo, autocommit=True), begin=_LIMIT.encode())
        self._offset_ns: int | None = None

    async def open(self) -> None:
        """Starts to connect; a database that is away now is found when it comes back."""
        await self._pool.open(wait=False)
        self._line.open()

    async def close(self) -> None:
        self._line.close()
        await self._pool.close(timeout=5)

    async def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement. Raises DatabaseUnavailable, or psycopg.Error for what is no outage."""
        used: list[Connection] = []
        query = asyncio.create_task(self._query(statement.encode(), parameters, used))
        query.add_done_callback(_forget)
        try:
            done, _ = await asyncio.wait({query}, timeout=_OVERALL_SECONDS)
        except asyncio.CancelledError:
            # Whoever asked has no more time: the connection is for those who have.
            _give_up(query, used)
            raise
        if not done:
            _give_up(query, used)
            _raise_outage(TimeoutError())
        try:
            return query.result()
        except _OUTAGE as error:
            _raise_outage(error)

    async def ask(self, statement: bytes, *parameters: bytes | str) -> bytes | None:
        """The first value of a statement whose answer is one row, over the line; one statement at a time.

        Raises DatabaseUnavailable, or psycopg.Error for what is no outage.
        """
        try:
            async with asyncio.timeout(_OVERALL_SECONDS):
                return await self._line.ask(statement, *parameters)
        except _OUTAGE as error:
            _raise_outage(error)

    async def check(self) -> None:
        """Raises DatabaseUnavailable where no line for commits can be had."""
        try:
            await self._line.up()
        except psycopg.OperationalError as error:
            _raise_outage(error)

    async def _query(
        self, statement: bytes, parameters: Sequence[object], used: list[Connection]
    ) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            used.append(connection)
            try:
                cursor = await connection.execute(statement, parameters)
            except psycopg.errors.ReadOnlySqlTransaction:
                # Another server writes now: the pool is to connect to that one.
                await connection.close()
                raise
            return await cursor.fetchall() if cursor.description else []

    @property
    def knows_the_time(self) -> bool:
        return self._offset_ns is not None

    def now_ns(self) -> int:
        """The database's time in Unix nanoseconds, in whole microseconds. Raises DatabaseUnavailable.

        Prices depend on the seconds since a session's last payment, so they must be known before the
        commit. Each process therefore keeps its distance to the database's clock and proposes a moment in
        that time; the commit refuses one that is off, and compares it with the session's row.
        """
        if self._offset_ns is None:
            raise DatabaseUnavailable
        return (time.monotonic_ns() + self._offset_ns) // 1000 * 1000

    async def measure_clock(self) -> None:
        """Learn the distance to the database's clock from the quickest of a few round trips."""
        samples = []
        for _ in range(_CLOCK_SAMPLES):
            before = time.monotonic_ns()
            rows = await self.fetch("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            after = time.monotonic_ns()
            samples.append((after - before, int(rows[0][0]) * 1000 - (before + after) // 2))
        self._offset_ns = min(samples)[1]


def _conninfo(settings: Mapping[str, Any]) -> str:
    given = {
        "dbname": settings["NAME"],
        "user": settings["USER"],
        "password": settings["PASSWORD"],
        "host": settings["HOST"],
        "port": settings["PORT"],
        **settings.get("OPTIONS", {}),
        "connect_timeout": 2,
        # A standby that the name leads to for a while would be kept for good, though its answers are old.
        "target_session_attrs": "read-write",
        "application_name": "clearinghouse-signer",
        # A peer that vanished without a word must not hold a connection for minutes.
        "tcp_user_timeout": 2000,
        "keepalives_idle": 5,
    }
    return make_conninfo(**{name: value for name, value in given.items() if value not in ("", None)})


async def _limit(connection: Connection) -> None:
    """Raises psycopg.OperationalError where the server says nothing: the pool itself would wait for ever."""
    silence = asyncio.get_running_loop().call_later(_STATEMENT_SECONDS, _hang_up, connection)
    try:
        await connection.execute(_LIMIT_OF_THE_POOL)
    except BaseException:
        await connection.close()
        raise
    finally:
        silence.cancel()


def _give_up(query: asyncio.Task[Any], used: Sequence[Connection]) -> None:
    """Cancelling would ask the server, which may be what does not answer, and keep the connection meanwhile."""
    if not used:
        query.cancel()
    elif not query.done():
        _hang_up(used[0])


def _hang_up(connection: Connection) -> None:
    """Whoever waits for an answer on it is told that it was lost."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _raise_outage(error: Exception) -> NoReturn:
    """Raises DatabaseUnavailable, or the error itself where a payment in the way is all that is wrong."""
    if isinstance(error, _NO_OUTAGE):
        raise error
    logger.warning("database: %s", reason(error))
    raise DatabaseUnavailable from None


def _forget(query: asyncio.Task[Any]) -> None:
    if not query.cancelled():
        query.exception()
