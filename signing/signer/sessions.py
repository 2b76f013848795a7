"""The session behind a request: opened anew, presented as a sealed state, or corrected by its row."""

import asyncio
import hashlib
import hmac
import os
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from signing.pm.quotes import parse_rational
from signing.pm.state import (
    InvalidState,
    PaymentState,
    address_text,
    check_continues,
    open_state,
    pm_session_id,
)
from signing.pm.wire import BadRequest, PaymentRequest
from signing.signer.refusals import Refused

_NOTHING = Fraction(0)
_LABEL = b"clearinghouse signer session state"


class Session(NamedTuple):
    """A session as far as it is known. `state` is that of its last payment.

    `presented` is the sequence number the client showed, None for a new session; `is_row` tells whether
    the database was asked: the values are then the row's own, or there is none, and not only what the client says.
    """

    id: str
    state: PaymentState
    presented: int | None
    is_row: bool

    @property
    def is_new(self) -> bool:
        return self.presented is None

    def last_nonce(self, rand_hash: bytes) -> int:
        """The last nonce the state knows for these ticket parameters."""
        last = self.state.sender_nonce
        return last if last and self.state.pm_session_id == pm_session_id(rand_hash) else 0

    def seconds_until(self, now_ns: int) -> Fraction | None:
        """Seconds since the last payment, None before the first."""
        last = self.state.last_update_ns
        return None if last is None else Fraction(now_ns - last, 10**9)


def mac_keys(secrets: Sequence[str]) -> tuple[bytes, ...]:
    """The keys that seal states, one for each secret; the first one seals."""
    return tuple(hmac.digest(secret.encode(), _LABEL, hashlib.sha256) for secret in secrets)


def auth_id(customer_id: int) -> str:
    """How a state names the account that it belongs to."""
    return f"customer:{customer_id}"


def opened(request: PaymentRequest, customer_id: int) -> Session:
    """A session that begins with this request, at the price it offers."""
    session_id, offer = _new_id(), request.orchestrator
    # In the order of its members, none of which has been paid for yet.
    state = PaymentState(
        session_id,
        "",
        None,
        address_text(offer.address),
        request.app,
        0,
        0,
        _NOTHING,
        offer.price_per_unit,
        offer.pixels_per_unit,
        request.kind,
        0,
        auth_id(customer_id),
    )
    return Session(session_id, state, None, False)


def presented(request: PaymentRequest, customer_id: int, keys: Sequence[bytes]) -> Session:
    """The session of a request: its sealed state, or a new one.

    Raises InvalidSig, InvalidState, StateMismatch, BadRequest, and Refused for another account's state.
    """
    if request.state is None:
        return opened(request, customer_id)
    state = open_state(request.state, keys)
    if state.auth_id != auth_id(customer_id):
        raise Refused(400, "foreign_state", "the state belongs to another account")
    if state.last_update_ns is None or len(state.state_id) != 32:
        raise InvalidState("invalid state")
    _check_continues(state, request)
    if not request.manifest_id:
        raise BadRequest("missing manifestID", "missing_manifest_id")
    return Session(id=state.state_id, state=state, presented=state.sequence_number, is_row=False)


def corrected(session: Session, row: Mapping[str, Any], request: PaymentRequest) -> Session:
    """The session with the values of its row: never an older payment, another first price or a larger balance.

    Raises StateMismatch where the row went on with another job type.
    """
    state = session.state._replace(
        sequence_number=row["sequence"],
        balance_wei=parse_rational(row["balance"]),
        last_update_ns=row["at"] * 1000,
        kind=row["kind"],
        initial_price_per_unit=row["price_per_unit"],
        initial_pixels_per_unit=row["pixels_per_unit"],
        pm_session_id="",
        sender_nonce=0,
    )
    _check_continues(state, request)
    return session._replace(state=state, is_row=True)


def content_digest(request: PaymentRequest) -> bytes:
    """64 bytes: the whole request's digest, then that of all but the orchestrator's offer."""
    sealed = (request.state.state, request.state.sig) if request.state else None
    price = tuple(sorted(request.max_price.items())) if request.max_price else None
    rest = (sealed, request.manifest_id, request.app, request.in_pixels, request.kind, price, request.capabilities)
    return request.digest + hashlib.sha256(repr(rest).encode()).digest()


def differs_in_offer_only(digest: bytes, stored: bytes) -> bool:
    """Whether two content digests are of one request, once with another offer."""
    return digest[:32] != stored[:32] and digest[32:] == stored[32:]


class Turns:
    """Lets the requests of one session pass one after the other, so that each starts from true values.

    A new session is nobody else's and needs no turn.
    """

    def __init__(self) -> None:
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    def in_line(self, name: str) -> "Turn":
        """Waits until all that asked for this name before are done."""
        return Turn(self._turns, name)


class Turn:
    """The place of one request among those that ask for a name, held while it is entered."""

    __slots__ = ("_lock", "_name", "_turns")

    def __init__(self, turns: dict[str, tuple[asyncio.Lock, int]], name: str) -> None:
        self._turns = turns
        self._name = name
        self._lock, waiting = turns.get(name) or (asyncio.Lock(), 0)
        turns[name] = (self._lock, waiting + 1)

    async def __aenter__(self) -> None:
        try:
            await self._lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self._lock.release()
        self._leave()

    def _leave(self) -> None:
        lock, waiting = self._turns.pop(self._name)
        if waiting > 1:
            self._turns[self._name] = (lock, waiting - 1)


def _check_continues(state: PaymentState, request: PaymentRequest) -> None:
    check_continues(state, orchestrator_address=request.orchestrator.address, app=request.app, kind=request.kind)


def _new_id() -> str:
    """A UUID of version 7, hex: it starts with the time, so that new rows lie together in their index."""
    chance = os.urandom(10).hex()
    return f"{time.time_ns() // 1_000_000:012x}7{chance[:3]}{'89ab'[int(chance[3], 16) & 3]}{chance[4:19]}"
