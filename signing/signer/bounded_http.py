"""The server's general parser with bounds: a head without end is not kept, and what cannot be read is told in JSON."""

from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from signing.signer.plain_requests import Headers
from signing.signer.refusals import Refused

_LONGEST_HEAD = 64 * 1024
_MOST_WAITING = 500
# Between a header's name and its value, and behind it.
_BYTES_BESIDES = 4


class _HeadTooLarge(Exception):
    """Stops the parser."""


class _TooManyWaiting(Exception):
    """Stops the parser."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. Address and headers of a request, with those behind its body, are 64 KiB at most (431).

    Counted is what the parser has told, and what it was given since it last told something: that it keeps itself, and
    copies it with each read. So besides those 64 KiB no more than one read is ever kept.

    Who does not wait for answers may have 500 requests here that nobody has looked at yet, and is hung up on then: a
    read can bring thousands, and reading goes on after each answer.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_size = 0
        self._untold = 0
        self._running: RequestResponseCycle | None = None
        self._headers_of_all: Headers = []
        self._begin_of_all = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._let_go()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._untold += len(data)
        super().data_received(data)
        if self._untold > _LONGEST_HEAD and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        self._head_size = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + _BYTES_BESIDES)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._untold = 0
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_WAITING:
            raise _TooManyWaiting

    def on_body(self, body: bytes) -> None:
        self._untold = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._untold = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Whatever stopped the parser."""
        if self._head_size > _LONGEST_HEAD:
            self._refuse_head()
        else:
            self._refuse_what_is_read(Refused(400, "invalid_request", msg))

    def _count(self, size: int) -> None:
        self._untold = 0
        self._head_size += size
        if self._head_size > _LONGEST_HEAD:
            raise _HeadTooLarge

    def _refuse_head(self) -> None:
        too_large = f"the request's address and headers exceed {_LONGEST_HEAD} bytes"
        self._refuse_what_is_read(Refused(431, "head_too_large", too_large))

    def _refuse_what_is_read(self, refused: Refused) -> None:
        """Who awaits another answer would take it for that, and is told none."""
        if self._is_answer_due():
            self.transport.close()
        else:
            self.refuse(refused)
        self._let_go()

    def refuse(self, refused: Refused) -> None:
        """The last thing that is said here."""
        head = self._head_of(refused.status, len(refused.body), refused.headers, is_last=True)
        self.transport.write(head + refused.body)
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _let_go(self) -> None:
        """The application's answer goes nowhere; the parent tells that to the last request only, which may wait yet."""
        if self._running:
            self._running.disconnected = True

    def _is_answer_due(self) -> bool:
        """Whether an answer has begun, or one is to come of a request before the one that is being read."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or cycle.scope is not self.scope or bool(self.pipeline)

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
