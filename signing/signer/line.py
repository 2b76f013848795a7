"""A connection kept for one asker, over libpq itself: psycopg's layers above it cost more than a small answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import psycopg

from signing.signer.outages import reason
from signing.signer.wire import Connection, Wire

_CONNECTION_SECONDS = 0.5
_SECONDS_BETWEEN_CONNECTIONS = 0.1
# A server that is not the right one any more may keep its connections; names, passwords and settings change too.
MOST_SECONDS_OF_A_CONNECTION = 600.0
_SECONDS_BETWEEN_RENEWALS = 5.0
# Longer than anybody waits for an answer.
_SECONDS_TO_FINISH = 3.0


class Line:
    """One question at a time. Who asks on a line that is down waits for half a second until it is up again.

    A connection begins with the statement `begin`, whose answer says nothing. One that has grown old is replaced once
    another one is up.

    Whatever goes wrong with the connection, it is dropped and made anew: no answer is ever taken for another one's.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, begin: bytes) -> None:
        self._connect = connect
        self._begin = begin
        self._wire: Wire | None = None
        self._last_wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connecting_since = -math.inf
        self._renewal: asyncio.TimerHandle | None = None
        self._why = "still connecting"

    def open(self) -> None:
        """Starts to connect, if nobody does."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._open())
            self._connecting.add_done_callback(lambda done: done.cancelled() or done.exception())

    def close(self) -> None:
        if self._connecting:
            self._connecting.cancel()
        if self._renewal:
            self._renewal.cancel()
        for wire in (self._wire, self._last_wire):
            if wire:
                wire.drop()

    async def ask(self, statement: bytes, *parameters: bytes | str) -> bytes | None:
        """The first value of the answer, as text; bytes are sent in binary form, and texts as such.

        Raises psycopg.Error: one with a `sqlstate` is what the server said, after any other nobody knows whether it
        heard the question. Whoever is cancelled does not know it either.
        """
        wire = self._wire
        if wire is None or not wire.is_up:
            wire = await self.up()
        return await wire.ask(statement, *parameters)

    async def up(self) -> Wire:
        """The connection, made anew if it is down. Raises psycopg.OperationalError where that takes too long."""
        if self._wire is None or not self._wire.is_up:
            self.open()
            assert self._connecting
            await asyncio.wait({self._connecting}, timeout=_CONNECTION_SECONDS)
        if self._wire is None or not self._wire.is_up:
            raise psycopg.OperationalError(f"no connection: {self._why}")
        return self._wire

    async def _open(self) -> None:
        # A server that turns everybody away has enough to do.
        await asyncio.sleep(self._connecting_since + _SECONDS_BETWEEN_CONNECTIONS - time.monotonic())
        self._connecting_since = time.monotonic()
        self._why = "still connecting"
        try:
            wire = Wire(await self._connect())
            await wire.begin(self._begin)
        except Exception as error:
            self._why = reason(error)
            self._open_later(_SECONDS_BETWEEN_RENEWALS)
            raise
        if self._last_wire:
            self._last_wire.drop()
        # Who is still asking on the last one finishes there.
        self._last_wire, self._wire = self._wire, wire
        if self._last_wire:
            asyncio.get_running_loop().call_later(_SECONDS_TO_FINISH, self._last_wire.drop)
        self._open_later(MOST_SECONDS_OF_A_CONNECTION)

    def _open_later(self, seconds: float) -> None:
        if self._renewal:
            self._renewal.cancel()
        self._renewal = asyncio.get_running_loop().call_later(seconds, self.open)
