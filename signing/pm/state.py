"""The session state a client carries between payments: readable JSON, sealed with our own MAC."""

import binascii
import hashlib
import hmac
import json
import re
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from json.encoder import encode_basestring
from typing import NamedTuple

from signing.pm.quotes import NotARational, fee_wei, parse_rational, rational_text
from signing.pm.tickets import MAX_INT64, MAX_UINT32

_ZERO_TIME = "0001-01-01T00:00:00Z"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_MAX_UINT64 = 2**64 - 1

# The network's software writes strings that are safe inside HTML; no other part of the text has these.
_HTML_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_text = encode_basestring


class InvalidSig(Exception):
    """The state was not sealed with a key of ours."""


class InvalidState(Exception):
    """The sealed bytes are no session state."""


class StateMismatch(Exception):
    """The state belongs to another orchestrator, app or job type than the request; `code` says which."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class PaymentState(NamedTuple):
    """The thirteen members. `last_update_ns` counts Unix nanoseconds, None before the first payment."""

    state_id: str
    pm_session_id: str
    last_update_ns: int | None
    orchestrator_address: str
    app: str
    auth_expiry: int
    sender_nonce: int
    balance_wei: Fraction
    initial_price_per_unit: int
    initial_pixels_per_unit: int
    kind: str
    sequence_number: int
    auth_id: str

    def to_bytes(self, balance: str = "") -> bytes:
        """The exact JSON text: fixed order, no blanks, `<`, `>` and `&` escaped.

        `balance` is the balance's text for whoever has it already.
        """
        last_update = _ZERO_TIME if self.last_update_ns is None else timestamp_text(self.last_update_ns)
        text = (
            f'{{"StateID":{_text(self.state_id)},"PMSessionID":{_text(self.pm_session_id)},'
            f'"LastUpdate":"{last_update}","OrchestratorAddress":{_text(self.orchestrator_address)},'
            f'"App":{_text(self.app)},"AuthExpiry":{self.auth_expiry},"SenderNonce":{self.sender_nonce},'
            f'"Balance":"{balance or rational_text(self.balance_wei)}",'
            f'"InitialPricePerUnit":{self.initial_price_per_unit},'
            f'"InitialPixelsPerUnit":{self.initial_pixels_per_unit},"Type":{_text(self.kind)},'
            f'"SequenceNumber":{self.sequence_number},"AuthID":{_text(self.auth_id)}}}'
        )
        is_plain = text.isascii() and not ("<" in text or ">" in text or "&" in text)
        return (text if is_plain else text.translate(_HTML_ESCAPES)).encode()

    def paid(
        self,
        *,
        kind: str,
        sequence_number: int,
        pm_session_id: str,
        sender_nonce: int,
        balance_wei: Fraction,
        last_update_ns: int,
    ) -> "PaymentState":
        """The state after one more payment; what is not given stays."""
        return PaymentState(
            self.state_id,
            pm_session_id,
            last_update_ns,
            self.orchestrator_address,
            self.app,
            self.auth_expiry,
            sender_nonce,
            balance_wei,
            self.initial_price_per_unit,
            self.initial_pixels_per_unit,
            kind,
            sequence_number,
            self.auth_id,
        )

    def initial_price(self) -> Fraction:
        """Wei per unit. Raises InvalidState when the session has no positive initial price."""
        if self.initial_price_per_unit <= 0 or self.initial_pixels_per_unit <= 0:
            raise InvalidState("invalid initial price in state")
        return fee_wei(1, self.initial_price_per_unit, self.initial_pixels_per_unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedState:
    """A state as it travels: the JSON bytes and their MAC."""

    state: bytes
    sig: bytes


def seal(state: PaymentState, keys: Sequence[bytes], balance: str = "") -> dict[str, str]:
    """The `{"State", "Sig"}` object of an answer, sealed with the first key; `balance` as for `to_bytes`."""
    raw = state.to_bytes(balance)
    return {"State": base64_text(raw), "Sig": base64_text(_mac(keys[0], raw))}


def open_state(transport: SealedState | Mapping[str, str], keys: Sequence[bytes]) -> PaymentState:
    """The state inside, when any of the keys sealed it. Raises InvalidSig or InvalidState."""
    sealed = transport if isinstance(transport, SealedState) else _decode(transport)
    # Every key is tried, so that the time taken does not tell which one matched.
    matches = [hmac.compare_digest(_mac(key, sealed.state), sealed.sig) for key in keys]
    if not any(matches):
        raise InvalidSig("invalid sig")
    return parse_state(sealed.state)


def parse_state(raw: bytes) -> PaymentState:
    """Read the thirteen members; an absent one has its zero value. Raises InvalidState."""
    try:
        members = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidState("invalid state") from error
    if not isinstance(members, dict):
        raise InvalidState("invalid state")
    read = _Members(members)
    return PaymentState(
        state_id=read.text("StateID"),
        pm_session_id=read.text("PMSessionID"),
        last_update_ns=_parse_timestamp(read.text("LastUpdate") or _ZERO_TIME),
        orchestrator_address=read.text("OrchestratorAddress"),
        app=read.text("App"),
        auth_expiry=read.integer("AuthExpiry", -MAX_INT64 - 1, MAX_INT64),
        sender_nonce=read.integer("SenderNonce", 0, MAX_UINT32),
        balance_wei=_parse_balance(read.text("Balance")),
        initial_price_per_unit=read.integer("InitialPricePerUnit", -MAX_INT64 - 1, MAX_INT64),
        initial_pixels_per_unit=read.integer("InitialPixelsPerUnit", -MAX_INT64 - 1, MAX_INT64),
        kind=read.text("Type"),
        sequence_number=read.integer("SequenceNumber", 0, _MAX_UINT64),
        auth_id=read.text("AuthID"),
    )


def check_continues(state: PaymentState, *, orchestrator_address: bytes, app: str, kind: str) -> None:
    """Whether a request goes on with this session. Raises StateMismatch."""
    if state.orchestrator_address != address_text(orchestrator_address):
        raise StateMismatch("orchestratorAddress mismatch", "orchestrator_mismatch")
    if state.app != app:
        raise StateMismatch("app mismatch", "app_mismatch")
    if state.kind and state.kind != kind:
        raise StateMismatch("job type mismatch", "job_type_mismatch")


def address_text(address: bytes) -> str:
    """An address as the state spells it: 0x and 40 lower-case digits."""
    return "0x" + address.hex()


def pm_session_id(recipient_rand_hash: bytes) -> str:
    """The name of one set of ticket parameters, within which a nonce may be used once."""
    return "0x" + recipient_rand_hash.hex()


def base64_text(raw: bytes) -> str:
    """Padded standard base64."""
    return b2a_base64(raw, newline=False).decode()


def timestamp_text(unix_nanoseconds: int) -> str:
    """RFC 3339 in UTC, with up to nine fractional digits and no trailing zeros."""
    seconds, nanoseconds = divmod(unix_nanoseconds, 10**9)
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{_second_text(seconds)}{fraction}Z"


@lru_cache(16)
def _second_text(unix_seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=unix_seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _parse_timestamp(text: str) -> int | None:
    if text == _ZERO_TIME:
        return None
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise InvalidState("invalid state")
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole + zone)
    except ValueError as error:
        raise InvalidState("invalid state") from error
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return seconds * 10**9 + int((fraction or "").ljust(9, "0"))


def _parse_balance(text: str) -> Fraction:
    try:
        return parse_rational(text) if text else Fraction(0)
    except NotARational as error:
        raise InvalidState("invalid state") from error


class _Members:
    """Typed reads of a decoded JSON object."""

    def __init__(self, members: dict[str, object]) -> None:
        self._members = members

    def text(self, name: str) -> str:
        value = self._members.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidState("invalid state")
        return value

    def integer(self, name: str, lowest: int, highest: int) -> int:
        value = self._members.get(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise InvalidState("invalid state")
        return value


def _decode(transport: Mapping[str, str]) -> SealedState:
    try:
        return SealedState(
            state=b64decode(transport.get("State", ""), validate=True),
            sig=b64decode(transport.get("Sig", ""), validate=True),
        )
    except (binascii.Error, ValueError) as error:
        raise InvalidSig("invalid sig") from error


def _mac(key: bytes, raw: bytes) -> bytes:
    begun_inner, begun_outer = _begun_macs(key)
    inner, outer = begun_inner.copy(), begun_outer.copy()
    inner.update(raw)
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(8)
def _begun_macs(key: bytes) -> tuple["hashlib._Hash", "hashlib._Hash"]:
    """The two hashes of HMAC-SHA256, each after its block of the key: all messages begin with them."""
    block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    return hashlib.sha256(bytes(byte ^ 0x36 for byte in block)), hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
