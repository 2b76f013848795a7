"""A connection kept for one asker, over libpq itself: psycopg's layers above it cost more than a small answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

type Connection = psycopg.AsyncConnection[Any]

_CONNECTION_SECONDS = 0.5
_SECONDS_TO_BEGIN = 1.5
_SECONDS_BETWEEN_CONNECTIONS = 0.1
_WITHOUT_END = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)


class Line:
    """One question at a time. Who asks on a line that is down waits for half a second until it is up again.

    A connection begins with the statement `begin`, whose answer says nothing.

    Whatever goes wrong with the connection, it is dropped and made anew: no answer is ever taken for another one's.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, begin: bytes) -> None:
        self._connect = connect
        self._begin = begin
        self._connection: Connection | None = None
        self._is_up = False
        self._connecting: asyncio.Task[None] | None = None
        self._connecting_since = -math.inf
        self._socket = -1
        self._prepared: dict[bytes, bytes] = {}
        self._answer: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None

    def open(self) -> None:
        """Starts to connect, if nobody does."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._open())
            self._connecting.add_done_callback(lambda done: done.cancelled() or done.exception())

    def close(self) -> None:
        if self._connecting:
            self._connecting.cancel()
        self._drop()

    async def ask(self, statement: bytes, *parameters: bytes | str) -> bytes | None:
        """The first value of the answer, as text; bytes are sent in binary form, and texts as such.

        Raises psycopg.Error: one with a `sqlstate` is what the server said, after any other nobody knows whether it
        heard the question. Whoever is cancelled does not know it either.
        """
        pgconn = await self.up()
        try:
            name = self._prepared.get(statement)
            if name is None:
                name = b"line_%d" % len(self._prepared)
                pgconn.send_prepare(name, statement)
                await self._exchange(pgconn)
                self._prepared[statement] = name
            values = [each if isinstance(each, bytes) else each.encode() for each in parameters]
            formats = [Format.BINARY if isinstance(each, bytes) else Format.TEXT for each in parameters]
            pgconn.send_query_prepared(name, values, formats)
            return (await self._exchange(pgconn)).get_value(0, 0)
        except psycopg.Error as error:
            if not error.sqlstate:
                self._drop()
            raise
        except BaseException:
            self._drop()
            raise

    async def up(self) -> PGconn:
        """The connection, made anew if it is down. Raises psycopg.OperationalError where that takes too long."""
        if not self._is_up:
            self.open()
            assert self._connecting
            await asyncio.wait({self._connecting}, timeout=_CONNECTION_SECONDS)
        if self._connection is None or not self._is_up:
            raise psycopg.OperationalError("no connection")
        return self._connection.pgconn

    async def _open(self) -> None:
        # A server that turns everybody away has enough to do.
        await asyncio.sleep(self._connecting_since + _SECONDS_BETWEEN_CONNECTIONS - time.monotonic())
        self._connecting_since = time.monotonic()
        connection = await self._connect()
        self._socket = connection.fileno()
        self._connection = connection
        try:
            asyncio.get_running_loop().add_reader(self._socket, self._read, connection.pgconn)
            # Who connects and then hears nothing more would wait for ever.
            async with asyncio.timeout(_SECONDS_TO_BEGIN):
                connection.pgconn.send_query(self._begin)
                await self._exchange(connection.pgconn)
        except BaseException:
            self._drop()
            raise
        self._is_up = self._connection is not None

    def _drop(self) -> None:
        """What the connection may still bring is nobody's answer."""
        connection, self._connection, self._is_up = self._connection, None, False
        self._prepared.clear()
        if connection:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            connection.pgconn.finish()
        if self._answer and not self._answer.done():
            self._answer.set_exception(psycopg.OperationalError("the connection was lost"))

    async def _exchange(self, pgconn: PGconn) -> PGresult:
        """The result of what was just sent. Raises psycopg.Error."""
        self._result, self._answer = None, asyncio.get_running_loop().create_future()
        if pgconn.flush():
            asyncio.get_running_loop().add_writer(self._socket, self._write, pgconn)
        result = await self._answer
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise error_from_result(result)
        return result

    def _write(self, pgconn: PGconn) -> None:
        """The socket takes more of a long question."""
        try:
            if not pgconn.flush():
                asyncio.get_running_loop().remove_writer(self._socket)
        except psycopg.Error:
            self._drop()

    def _read(self, pgconn: PGconn) -> None:
        """Something came: a part of the answer, its end, or the connection's."""
        try:
            pgconn.consume_input()
            if self._answer is None or self._answer.done() or pgconn.is_busy():
                return
            while result := pgconn.get_result():
                self._result = self._result or result
                if result.status in _WITHOUT_END:
                    raise psycopg.OperationalError("no answer but a stream")
                if pgconn.is_busy():
                    return
        except psycopg.Error:
            self._drop()
            return
        if self._result:
            self._answer.set_result(self._result)
        else:
            self._drop()
