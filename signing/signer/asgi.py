"""The doors of the signer: three routes and two probes, JSON in and out, no sessions and no pages."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from signing.chain.answers import ChainUnavailable
from signing.signer.discovery import Listing
from signing.signer.gate import Claim, Gate, Headers, Visitor
from signing.signer.house import House
from signing.signer.payments import Chain, Payments
from signing.signer.refusals import Refused, Unavailable
from signing.signer.senders import Senders

logger = logging.getLogger(__name__)

_PAYMENTS = "/generate-live-payment"
_NO_HEADERS: Mapping[str, str] = {}
MAX_BODY_BYTES = 1024 * 1024
_MOST_BYTES_DISCARDED = 16 * 1024 * 1024
_MOST_SECONDS_READING = 10.0
_MOST_REQUESTS = 4096

type Scope = Mapping[str, Any]
type Receive = Callable[[], Awaitable[Mapping[str, Any]]]
type Send = Callable[[Mapping[str, Any]], Awaitable[None]]
type Answer = tuple[int, bytes, Mapping[str, str]]
type Door = Callable[[Scope, Receive], Awaitable[bytes]]


class Signer:
    """The ASGI application."""

    def __init__(
        self,
        *,
        senders: Senders,
        chain: Chain,
        gate: Gate,
        payments: Payments,
        listing: Listing,
        house: House,
    ) -> None:
        self._chain = chain
        self._gate = gate
        self._payments = payments
        self._listing = listing
        self._house = house
        self._senders = senders
        self._requests = 0
        self._doors: dict[str, tuple[str, Door]] = {
            "/sign-orchestrator-info": ("POST", self._sign_orchestrator_info),
            _PAYMENTS: ("POST", self._generate_live_payment),
            "/discover-orchestrators": ("GET", self._discover_orchestrators),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await _send(send, *await self._answer(scope, receive))

    def claim(self, peer: str | None, headers: Headers) -> Claim:
        """What the head of a payment request says of who asks."""
        return self._gate.claim(peer, headers)

    async def answer_payment(self, claim: Claim, body: bytes) -> Answer:
        """The status, body and headers that a payment request gets which came whole."""
        self._requests += 1
        try:
            self._check_load()
            visitor = await self._gate.enter(claim)
            return 200, await self._pay(visitor, body), _NO_HEADERS
        except Exception as error:
            return _explained(error, _PAYMENTS)
        finally:
            self._requests -= 1

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        self._requests += 1
        try:
            self._check_load()
            return 200, await self._open_door(scope, receive), _NO_HEADERS
        except Exception as error:
            return _explained(error, scope["path"])
        finally:
            self._requests -= 1

    def _check_load(self) -> None:
        if self._requests > _MOST_REQUESTS:
            raise Unavailable("overloaded", "too many requests at once, try again")

    async def _open_door(self, scope: Scope, receive: Receive) -> bytes:
        method, door = self._doors.get(scope["path"], ("", None))
        if door is None:
            raise Refused(404, "not_found", "404 page not found")
        if scope["method"] != method:
            raise Refused(405, "method_not_allowed", "Method Not Allowed", {"Allow": method})
        return await door(scope, receive)

    async def _sign_orchestrator_info(self, scope: Scope, receive: Receive) -> bytes:
        """Any body or none: the answer is the same whenever a customer asks."""
        visitor = await self._enter(scope)
        await _read_body(receive)
        return self._senders.introduction(await self._senders.key_of(visitor.caller))

    async def _generate_live_payment(self, scope: Scope, receive: Receive) -> bytes:
        visitor = await self._enter(scope)
        return await self._pay(visitor, await _read_body(receive))

    async def _discover_orchestrators(self, scope: Scope, receive: Receive) -> bytes:
        await self._enter(scope)
        return await self._listing.answer(bytes(scope.get("query_string", b"")))

    async def _enter(self, scope: Scope) -> Visitor:
        peer = scope.get("client")
        return await self._gate.enter(self._gate.claim(peer[0] if peer else None, scope["headers"]))

    async def _pay(self, visitor: Visitor, body: bytes) -> bytes:
        try:
            return await self._payments.pay(visitor, body)
        except Refused as refused:
            self._house.refusal_notes.note(visitor.caller.customer_id, refused)
            raise

    async def _healthz(self, scope: Scope, receive: Receive) -> bytes:
        """The process lives."""
        return b'{"status":"ok"}'

    async def _readyz(self, scope: Scope, receive: Receive) -> bytes:
        """A payment could be made now: the chain and its rate are fresh, the database answers."""
        await self._house.check(self._chain.view())
        return b'{"status":"ready"}'

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._house.open()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._house.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _read_body(receive: Receive) -> bytes:
    """The whole body. Raises Refused: 413 over a mebibyte, 408 when it does not come."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_MOST_SECONDS_READING):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "incomplete_body", "the body did not come to its end")
                part = message.get("body", b"")
                size += len(part)
                if size <= MAX_BODY_BYTES:
                    parts.append(part)
                # What is too long is read on for a while: a client that is still sending would not see the answer.
                if not message.get("more_body", False) or size > _MOST_BYTES_DISCARDED:
                    break
    except TimeoutError:
        raise Refused(408, "body_timeout", "the body did not come in time", {"Connection": "close"}) from None
    if size > MAX_BODY_BYTES:
        raise Refused(413, "body_too_large", f"the body exceeds {MAX_BODY_BYTES} bytes", {"Connection": "close"})
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _explained(error: Exception, path: str) -> Answer:
    """What is said in place of an answer."""
    if isinstance(error, ChainUnavailable):
        error = Unavailable(error.reason_code, str(error))
    if not isinstance(error, Refused):
        logger.error("%s failed", path, exc_info=error)
        error = Refused(500, "internal_error", "Internal Server Error")
    return error.status, error.body, error.headers


async def _send(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    lines = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    lines += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
