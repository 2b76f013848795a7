"""One connection of a line: questions go out and answers come in as libpq has them, and then it is lost or closed."""

import asyncio
from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from signing.signer.outages import reason

type Connection = psycopg.AsyncConnection[Any]

_SECONDS_TO_BEGIN = 1.5
_WELL = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
_WITHOUT_END = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)
# It became a standby: whoever connects again finds the server that took over.
_READ_ONLY = "25006"


class Wire:
    """It is up from `begin` on, until anything goes wrong; then it is dropped, once and for all."""

    def __init__(self, connection: Connection) -> None:
        self.is_up = False
        self._connection: Connection | None = connection
        self._pgconn: PGconn = connection.pgconn
        self._socket = connection.fileno()
        self._prepared: dict[bytes, bytes] = {}
        self._answer: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None

    async def begin(self, statement: bytes) -> None:
        """Raises psycopg.Error; TimeoutError where the server says nothing."""
        try:
            asyncio.get_running_loop().add_reader(self._socket, self._read)
            # Who connects and then hears nothing more would wait for ever.
            async with asyncio.timeout(_SECONDS_TO_BEGIN):
                self._pgconn.send_query(statement)
                await self._exchange()
        except BaseException:
            self.drop()
            raise
        self.is_up = self._connection is not None

    async def ask(self, statement: bytes, *parameters: bytes | str) -> bytes | None:
        """As a line is asked; of a wire that was dropped, raises psycopg.OperationalError."""
        try:
            name = self._prepared.get(statement)
            if name is None:
                name = b"line_%d" % len(self._prepared)
                self._pgconn.send_prepare(name, statement)
                await self._exchange()
                self._prepared[statement] = name
            values = [each if isinstance(each, bytes) else each.encode() for each in parameters]
            formats = [Format.BINARY if isinstance(each, bytes) else Format.TEXT for each in parameters]
            self._pgconn.send_query_prepared(name, values, formats)
            return (await self._exchange()).get_value(0, 0)
        except psycopg.Error as error:
            if not error.sqlstate or error.sqlstate == _READ_ONLY:
                self.drop()
            raise
        except BaseException:
            self.drop()
            raise

    def drop(self, error: psycopg.Error | None = None) -> None:
        """What the connection may still bring is nobody's answer."""
        connection, self._connection, self.is_up = self._connection, None, False
        if connection:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            connection.pgconn.finish()
        if self._answer and not self._answer.done():
            why = f": {reason(error)}" if error else ""
            self._answer.set_exception(psycopg.OperationalError(f"the connection was lost{why}"))

    async def _exchange(self) -> PGresult:
        """The result of what was just sent. Raises psycopg.Error."""
        self._result, self._answer = None, asyncio.get_running_loop().create_future()
        if self._pgconn.flush():
            asyncio.get_running_loop().add_writer(self._socket, self._write)
        result = await self._answer
        if result.status not in _WELL:
            raise error_from_result(result)
        return result

    def _write(self) -> None:
        """The socket takes more of a long question."""
        try:
            if not self._pgconn.flush():
                asyncio.get_running_loop().remove_writer(self._socket)
        except psycopg.Error as error:
            self.drop(error)

    def _read(self) -> None:
        """Something came: a part of the answer, its end, or the connection's."""
        try:
            self._pgconn.consume_input()
            if self._answer is None or self._answer.done() or self._pgconn.is_busy():
                return
            while result := self._pgconn.get_result():
                # The commit itself comes after the answer, and may fail.
                if self._result is None or result.status not in _WELL:
                    self._result = result
                if result.status in _WITHOUT_END:
                    raise psycopg.OperationalError("no answer but a stream")
                if self._pgconn.is_busy():
                    return
        except psycopg.Error as error:
            self.drop(error)
            return
        if self._result:
            self._answer.set_result(self._result)
        else:
            self.drop()
