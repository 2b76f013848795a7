"""A shortcut of the server: a payment request that came whole and plain is answered without the steps of ASGI."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

_START = b"POST /generate-live-payment HTTP/1.1\r\n"
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_UNCLEAN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_SECONDS_FOR_A_BODY = 1.0
_FOR_THE_PARSER = {b"transfer-encoding", b"expect", b"upgrade", b"trailer"}

type Headers = list[tuple[bytes, bytes]]
type Answer = tuple[int, bytes, Mapping[str, str]]
type Ask = Callable[[Mapping[str, Any]], Awaitable[Answer]]


class PlainRequest(NamedTuple):
    """A payment request that leaves no questions: headers with names in lower case, and `missing` bytes of body."""

    headers: Headers
    body: bytes
    missing: int


def plain_request(data: bytes) -> PlainRequest | None:
    """Reads the bytes of one payment request. None for everything else: the general parser decides about that."""
    if not data.startswith(_START):
        return None
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or _UNCLEAN.search(head):
        return None
    headers: Headers = []
    length = -1
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if not colon or not _NAME.fullmatch(name) or name in _FOR_THE_PARSER:
            return None
        if name == b"connection" and value.lower() != b"keep-alive":
            return None
        if name == b"content-length":
            if length >= 0 or not value.isdigit() or len(value) > 6:
                return None
            length = int(value)
        headers.append((name, value))
    return PlainRequest(headers, body, length - len(body)) if length >= len(body) else None


class QuickHttp(HttpToolsProtocol):
    """One connection. The application's `answer` takes what is plain, and ASGI the rest, one after the other."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._ask: Ask | None = getattr(self.app, "answer", None)
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
        is_second = bool(self._begun)
        data = self._take_begun() + data
        # Between two messages only: the rest of a body may look like a request.
        if self._ask and not self._is_inside and (self.cycle is None or self.cycle.response_complete):
            request = plain_request(data)
            if request and not request.missing:
                self._start(self._ask, request)
                return
            if request and not request.body and not is_second:
                # Many clients send the head and the body one after the other.
                self._unset_keepalive_if_required()
                self._begun = data
                self._body_timer = self.loop.call_later(_SECONDS_FOR_A_BODY, self._give_to_the_parser)
                return
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

    def _give_to_the_parser(self) -> None:
        super().data_received(self._take_begun())

    def _start(self, ask: Ask, request: PlainRequest) -> None:
        self._is_asking = True
        # It runs at once until it waits for something, and mostly that is the commit.
        task = asyncio.Task(self._respond(ask, request), loop=self.loop, eager_start=True)
        if not task.done():
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

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

    async def _respond(self, ask: Ask, request: PlainRequest) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/generate-live-payment",
            "query_string": b"",
            "client": self.client,
            "headers": request.headers,
            "body": request.body,
        }
        try:
            status, answer, more = await ask(scope)
        except BaseException:
            self.transport.close()
            raise
        self.server_state.total_requests += 1
        is_last = self._is_ending or "Connection" in more
        if not self.transport.is_closing():
            self.transport.write(self._head(status, len(answer), more, is_last=is_last) + answer)
        if self.flow.write_paused and not is_last:
            # Whoever does not read answers gets no further ones: they would pile up here.
            await self.flow.drain()
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

    def _head(self, status: int, length: int, more: Mapping[str, str], *, is_last: bool) -> bytes:
        lines = [STATUS_LINE[status]]
        lines += [b"%b: %b\r\n" % line for line in self.server_state.default_headers]
        lines += [
            b"%b: %b\r\n" % (name.lower().encode(), value.encode("latin-1"))
            for name, value in more.items()
            if name != "Connection"
        ]
        if is_last:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % length)
        return b"".join(lines)
