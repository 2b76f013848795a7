"""A shortcut of the server: a payment request that came whole and plain is answered without the steps of ASGI."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from signing.signer.gate import Claim
from signing.signer.plain_requests import Head, Headers, PlainRequest, plain_request

_SECONDS_FOR_A_BODY = 1.0
_MOST_MISSING = 64 * 1024

type Answer = tuple[int, bytes, Mapping[str, str]]


class Payable(Protocol):
    """An application that answers payment requests without ASGI."""

    def claim(self, peer: str | None, headers: Headers) -> Claim:
        """What a head says of who asks; it is asked once for many requests with this head."""

    def answer_payment(self, claim: Claim, body: bytes) -> Awaitable[Answer]:
        """Status, body and headers."""


class QuickHttp(HttpToolsProtocol):
    """One connection. The application's `answer_payment` takes what is plain, and ASGI the rest, one after the other.

    Of the last plain request the head and its claim are kept, no longer than the connection lives: the next one has
    the same head as a rule.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        app: Any = self.app
        self._payable: Payable | None = app if hasattr(app, "answer_payment") else None
        self._head: Head | None = None
        self._claim: Claim | None = None
        self._headers_of_all: Headers = []
        self._begin_of_all = b""
        self._is_inside = False
        self._is_asking = False
        self._is_ending = False
        self._early: list[bytes] = []
        self._begun = b""
        self._body_timer: asyncio.TimerHandle | None = None
        self._answered_at = 0.0

    def data_received(self, data: bytes) -> None:
        if self._is_asking:
            # It did not wait for its answer: the next request waits instead.
            self._early.append(data)
            self.transport.pause_reading()
            return
        if self._begun:
            data = self._begun + data
        # Between two messages only: the rest of a body may look like a request.
        if self._payable and not self._is_inside and (self.cycle is None or self.cycle.response_complete):
            request = plain_request(data, self._head)
            if request and not request.missing:
                self._take_begun()
                self._start(self._payable, request)
                return
            if request and request.missing <= _MOST_MISSING:
                self._wait_for_the_rest(data)
                return
        self._take_begun()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_begun()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def _take_begun(self) -> bytes:
        if self._body_timer:
            self._body_timer.cancel()
            self._body_timer = None
        begun, self._begun = self._begun, b""
        return begun

    def _wait_for_the_rest(self, data: bytes) -> None:
        """Many clients send the head and the body, or the first 4 KiB and the rest, one after the other."""
        self._begun = data
        if self._body_timer is None:
            self._unset_keepalive_if_required()
            self._body_timer = self.loop.call_later(_SECONDS_FOR_A_BODY, self._give_to_the_parser)

    def _give_to_the_parser(self) -> None:
        super().data_received(self._take_begun())

    def _start(self, payable: Payable, request: PlainRequest) -> None:
        if self._claim is None or request.head is not self._head:
            self._claim = payable.claim(self.client[0] if self.client else None, request.head.headers)
            self._head = request.head
        self._is_asking = True
        # It runs at once until it waits for something, and mostly that is the commit.
        asked = payable.answer_payment(self._claim, request.body)
        task = asyncio.Task(self._respond(asked), loop=self.loop, eager_start=True)
        if not task.done():
            self.tasks.add(task)

    def on_message_begin(self) -> None:
        self._is_inside = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_inside = False
        super().on_message_complete()

    def shutdown(self) -> None:
        if self._is_asking:
            self._is_ending = True
        else:
            super().shutdown()

    async def _respond(self, asked: Awaitable[Answer]) -> None:
        try:
            status, answer, more = await asked
            self.server_state.total_requests += 1
            is_last = self._is_ending or "Connection" in more
            if not self.transport.is_closing():
                self.transport.write(self._head_of(status, len(answer), more, is_last=is_last) + answer)
            if self.flow.write_paused and not is_last:
                # Whoever does not read answers gets no further ones: they would pile up here.
                await self.flow.drain()
        except BaseException:
            self.transport.close()
            raise
        finally:
            if task := asyncio.current_task():
                self.tasks.discard(task)
        self._is_asking = False
        if self.transport.is_closing():
            return
        if is_last or self._is_ending:
            self.transport.close()
        elif self._early:
            early = b"".join(self._early)
            self._early.clear()
            self.transport.resume_reading()
            self.data_received(early)
        else:
            self._answered_at = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._wait_for_idleness(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """One timer for many requests: when it rings it may have to wait for the last of them to grow old."""
        self.timeout_keep_alive_task = None
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if self._is_asking or left > 0:
            self._wait_for_idleness(max(left, 1.0))
        else:
            super().timeout_keep_alive_handler()

    def _wait_for_idleness(self, seconds: float) -> None:
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _head_of(self, status: int, length: int, more: Mapping[str, str], *, is_last: bool) -> bytes:
        headers = self.server_state.default_headers
        if headers is not self._headers_of_all:
            # The server makes them anew once a second.
            self._headers_of_all = headers
            self._begin_of_all = b"".join(b"%b: %b\r\n" % line for line in headers)
        lines = [STATUS_LINE[status], self._begin_of_all]
        lines += [
            b"%b: %b\r\n" % (name.lower().encode(), value.encode("latin-1"))
            for name, value in more.items()
            if name != "Connection"
        ]
        if is_last:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % length)
        return b"".join(lines)
