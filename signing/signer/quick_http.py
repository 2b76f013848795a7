"""A shortcut of the server: a payment request that came whole and plain is answered without the steps of ASGI."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from signing.signer.bounded_http import BoundedHttp
from signing.signer.gate import Claim
from signing.signer.lobby import lobby_of
from signing.signer.plain_requests import Head, Headers, PlainRequest, plain_request
from signing.signer.refusals import Unavailable

_SECONDS_FOR_A_BODY = 1.0
_SECONDS_FOR_A_REQUEST = 10.0
_SECONDS_TO_READ_ANSWERS = 30.0
_SECONDS_TO_LOOK_AGAIN = 1.0
_MOST_MISSING = 64 * 1024

type Answer = tuple[int, bytes, Mapping[str, str]]


class Payable(Protocol):
    """An application that answers payment requests without ASGI."""

    def claim(self, peer: str | None, headers: Headers) -> Claim:
        """What a head says of who asks; it is asked once for many requests with this head."""

    def answer_payment(self, claim: Claim, body: bytes) -> Awaitable[Answer]:
        """Status, body and headers."""


class QuickHttp(BoundedHttp):
    """One connection. The application's `answer_payment` takes what is plain, and ASGI the rest, one after the other.

    Of the last plain request the head and its claim are kept, no longer than the connection lives: the next one has
    the same head as a rule.

    One timer watches it from its first moment to its last. Whoever lets `_due` pass is hung up on: who sends no request
    or a part of one, is idle for long, or does not read what he is answered.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        app: Any = self.app
        self._payable: Payable | None = app if hasattr(app, "answer_payment") else None
        self._head: Head | None = None
        self._claim: Claim | None = None
        self._is_inside = False
        self._is_asking = False
        self._is_ending = False
        self._early: list[bytes] = []
        self._begun = b""
        self._body_timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._lobby = lobby_of(self.server_state)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._give(_SECONDS_FOR_A_REQUEST)
        if not self._lobby.enter(self):
            self.refuse(Unavailable("overloaded", "too many connections are open, try again"))

    def give_way(self) -> None:
        self.transport.abort()

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
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        self._watch(self._due - self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        self._lobby.leave(self)
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
            self._body_timer = self.loop.call_later(_SECONDS_FOR_A_BODY, self._give_to_the_parser)

    def _give_to_the_parser(self) -> None:
        self._parse(self._take_begun())

    def _start(self, payable: Payable, request: PlainRequest) -> None:
        if self._claim is None or request.head is not self._head:
            self._claim = payable.claim(self.client[0] if self.client else None, request.head.headers)
            self._head = request.head
            self._lobby.ask(self)
        self._is_asking = True
        # It runs at once until it waits for something, and mostly that is the commit.
        asked = payable.answer_payment(self._claim, request.body)
        task = asyncio.Task(self._respond(asked), loop=self.loop, eager_start=True)
        if not task.done():
            self.tasks.add(task)

    def on_message_begin(self) -> None:
        self._is_inside = True
        self._due = self.loop.time() + _SECONDS_FOR_A_REQUEST
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_inside = False
        self._due = self.loop.time() + self.timeout_keep_alive
        self._lobby.ask(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._give_its_time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._give_its_time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._give_its_time()

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
            self._due = self.loop.time() + self.timeout_keep_alive
            if self.timeout_keep_alive_task is None:
                self._watch(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """One timer for many requests: when it rings it may have to wait for the last of them to grow old."""
        self.timeout_keep_alive_task = None
        left = self._due - self.loop.time()
        is_answering = self._is_asking or self._body_timer or not (self.cycle is None or self.cycle.response_complete)
        if left > 0 or (is_answering and not self.flow.write_paused):
            self._watch(max(left, _SECONDS_TO_LOOK_AGAIN))
        else:
            # Closing would wait for who does not read.
            self.transport.abort()

    def _give(self, seconds: float) -> None:
        """So much time from now on, also where there was more."""
        self._unset_keepalive_if_required()
        self._due = self.loop.time() + seconds
        self._watch(seconds)

    def _give_its_time(self) -> None:
        """Time for what the client has to do next."""
        if self.flow.write_paused or self.transport.is_closing():
            self._give(_SECONDS_TO_READ_ANSWERS)
        elif self._is_inside:
            # Also of a request that was answered before it came whole, the rest is still to come.
            self._give(_SECONDS_FOR_A_REQUEST)
        else:
            self._give(self.timeout_keep_alive)

    def _watch(self, seconds: float) -> None:
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(max(seconds, 0), self.timeout_keep_alive_handler)
