"""What an orchestrator offers: its price, ticket parameters and auth token, read from untrusted protobuf."""

import re
from fractions import Fraction
from typing import NamedTuple

from google.protobuf.message import DecodeError

from signing.pm import livepeer_pb2
from signing.pm.quotes import fee_wei
from signing.pm.request_json import BadRequest
from signing.pm.tickets import MAX_INT64, MAX_UINT256, ZERO_HASH

INVALID_PROTOBUF = "proto: cannot parse invalid wire-format data"
REFRESH_BEFORE_EXPIRY_SECONDS = 180

_LONGEST_URL = 2048
# The answer gives both back and is kept with its session. Orchestrators send about a hundred bytes of each.
_LONGEST_AUTH_TOKEN = 4 * 1024
_LONGEST_PRICE_INFO = 1024
_LAST_ROUND = MAX_INT64 - 1  # whoever looks at the rounds beside it can count them
_OUTSIDE_A_HEADER = re.compile("[^!-~]")

# The records of this room are tuples with names: of each request three are made, in half the time of a dataclass,
# and again in half of it where their members are given in order.


class TicketParams(NamedTuple):
    """The parameters of one batch of tickets; integers are unsigned and fit in 256 bits.

    The creation round is 0 and its hash all zero where the orchestrator sent none.
    """

    recipient: bytes
    face_value: int
    win_prob: int
    recipient_rand_hash: bytes
    seed: int
    expiration_block: int
    creation_round: int
    creation_round_block_hash: bytes

    @property
    def has_creation_round(self) -> bool:
        """Whether the orchestrator named a round and its block hash; else the signer chooses."""
        return self.creation_round != 0 and self.creation_round_block_hash != ZERO_HASH


class AuthToken(NamedTuple):
    """The orchestrator's own proof of a session; `raw` is the whole message, unknown fields included."""

    raw: bytes
    session_id: str
    expiration: int

    def needs_refresh(self, now_ns: int) -> bool:
        """Whether it expires within three minutes of `now_ns` (Unix nanoseconds)."""
        return now_ns > (self.expiration - REFRESH_BEFORE_EXPIRY_SECONDS) * 10**9


class OrchestratorInfo(NamedTuple):
    """An offer. Nothing in it is signed: a client may have made it up.

    `price_info` is the whole price message, unknown fields included. `transcoder` is the service URL,
    empty where it could not stand in a header.
    """

    address: bytes
    transcoder: str
    price_per_unit: int
    pixels_per_unit: int
    price_info: bytes
    ticket_params: TicketParams
    auth_token: AuthToken | None

    def price(self) -> Fraction:
        """Wei per unit."""
        return fee_wei(1, self.price_per_unit, self.pixels_per_unit)


def parse_orchestrator_info(raw: bytes) -> OrchestratorInfo:
    """Read an offer that has a price and ticket parameters. Raises BadRequest."""
    try:
        message = livepeer_pb2.OrchestratorInfo.FromString(raw)
    except DecodeError as error:
        raise BadRequest(INVALID_PROTOBUF, "invalid_orchestrator") from error
    price = message.price_info
    price_per_unit, pixels_per_unit = price.price_per_unit, price.pixels_per_unit
    if not price_per_unit or not pixels_per_unit:
        raise BadRequest("missing or zero priceInfo", "missing_price")
    if not message.HasField("ticket_params"):
        raise BadRequest("missing ticketParams in OrchestratorInfo", "missing_ticket_params")
    return OrchestratorInfo(
        window(message.address, 20),
        _header_text(message.transcoder),
        price_per_unit,
        pixels_per_unit,
        _bounded("priceInfo", price.SerializeToString(), _LONGEST_PRICE_INFO, "price_info_too_long"),
        parse_ticket_params(message.ticket_params),
        _auth_token(message),
    )


def parse_ticket_params(message: livepeer_pb2.TicketParams) -> TicketParams:
    """Raises BadRequest for numbers that no contract can hold."""
    expiration = message.expiration_params
    round_ = expiration.creation_round
    if not 0 <= round_ <= _LAST_ROUND:
        raise BadRequest("ticketParams creation round is out of range", "invalid_ticket_params")
    return TicketParams(
        window(message.recipient, 20),
        _uint256("face_value", message.face_value),
        _uint256("win_prob", message.win_prob),
        window(message.recipient_rand_hash, 32),
        _uint256("seed", message.seed),
        _uint256("expiration_block", message.expiration_block),
        round_,
        window(expiration.creation_round_block_hash, 32),
    )


def window(raw: bytes, length: int) -> bytes:
    """The last `length` bytes, padded with zeros in front."""
    return raw if len(raw) == length else raw[-length:].rjust(length, b"\0")


def _uint256(name: str, raw: bytes) -> int:
    value = int.from_bytes(raw)
    if value > MAX_UINT256:
        raise BadRequest(f"ticketParams {name} exceeds 256 bits", "invalid_ticket_params")
    return value


def _auth_token(message: livepeer_pb2.OrchestratorInfo) -> AuthToken | None:
    if not message.HasField("auth_token"):
        return None
    token = message.auth_token
    raw = _bounded("authToken", token.SerializeToString(), _LONGEST_AUTH_TOKEN, "auth_token_too_long")
    return AuthToken(raw, token.session_id, token.expiration)


def _bounded(name: str, raw: bytes, longest: int, code: str) -> bytes:
    if len(raw) > longest:
        raise BadRequest(f"{name} in OrchestratorInfo is longer than {longest} bytes", code)
    return raw


def _header_text(url: str) -> str:
    return url if len(url) <= _LONGEST_URL and not _OUTSIDE_A_HEADER.search(url) else ""
