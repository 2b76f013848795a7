"""Probabilistic micropayment tickets: their hash, their expected value and whether one wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import sha3

MAX_UINT256 = 2**256 - 1
MAX_UINT32 = 2**32 - 1
MAX_INT64 = 2**63 - 1
ZERO_HASH = bytes(32)

# An orchestrator's tickets are worth the same for a while; to reduce the fraction is most of the work.
_VALUES_REMEMBERED = 1024


class InvalidTicket(ValueError):
    """A field that no honest orchestrator issues and no contract accepts: too long, too large or negative."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One signed lottery ticket: `face_value` wei to `recipient` with the chance `win_prob` / 2**256.

    Addresses are 20 bytes, hashes 32 bytes. Raises InvalidTicket where a field does not fit its place
    in the hashed bytes, so that no two tickets can share a hash.
    """

    recipient: bytes
    sender: bytes
    face_value: int
    win_prob: int
    sender_nonce: int
    recipient_rand_hash: bytes
    creation_round: int
    creation_round_block_hash: bytes

    def __post_init__(self) -> None:
        _check_length("recipient", self.recipient, 20)
        _check_length("sender", self.sender, 20)
        _check_length("recipient_rand_hash", self.recipient_rand_hash, 32)
        _check_length("creation_round_block_hash", self.creation_round_block_hash, 32)
        _check_range("face_value", self.face_value, MAX_UINT256)
        _check_range("win_prob", self.win_prob, MAX_UINT256)
        _check_range("sender_nonce", self.sender_nonce, MAX_UINT32)
        _check_range("creation_round", self.creation_round, MAX_INT64)

    def hash(self) -> bytes:
        """The 32 bytes the sender signs and the TicketBroker contract recomputes."""
        return keccak256(_before_nonce(self) + self.sender_nonce.to_bytes(32) + _after_nonce(self))

    def expected_value(self) -> Fraction:
        """Wei, exact."""
        return expected_value(self.face_value, self.win_prob)


def keccak256(data: bytes) -> bytes:
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


@lru_cache(_VALUES_REMEMBERED)
def expected_value(face_value: int, win_prob: int) -> Fraction:
    """Wei a ticket is worth on average, exact. The network divides by 2**256 - 1, not by 2**256."""
    return Fraction(face_value * win_prob, MAX_UINT256)


def is_winner(signature: bytes, recipient_rand: int, win_prob: int) -> bool:
    """Whether the contract would pay a ticket with this 65-byte signature and revealed random number."""
    return int.from_bytes(keccak256(signature + recipient_rand.to_bytes(32))) < win_prob


def ticket_hashes(first: Ticket, count: int) -> Sequence[bytes]:
    """The hashes of `count` tickets that differ from `first` only by the nonce, which rises by one each.

    Raises InvalidTicket when the last nonce would not fit in 32 bits.
    """
    _check_range("sender_nonce", first.sender_nonce + count - 1, MAX_UINT32)
    before, after, keccak = _before_nonce(first), _after_nonce(first), sha3.keccak_256
    nonces = range(first.sender_nonce, first.sender_nonce + count)
    return [keccak(before + nonce.to_bytes(32) + after).digest() for nonce in nonces]


def _before_nonce(ticket: Ticket) -> bytes:
    return ticket.recipient + ticket.sender + ticket.face_value.to_bytes(32) + ticket.win_prob.to_bytes(32)


def _after_nonce(ticket: Ticket) -> bytes:
    if ticket.creation_round == 0 and ticket.creation_round_block_hash == ZERO_HASH:
        return ticket.recipient_rand_hash
    return ticket.recipient_rand_hash + ticket.creation_round.to_bytes(32) + ticket.creation_round_block_hash


def _check_length(name: str, value: bytes, length: int) -> None:
    if not isinstance(value, bytes) or len(value) != length:
        raise InvalidTicket(f"{name} must be {length} bytes")


def _check_range(name: str, value: int, maximum: int) -> None:
    if not isinstance(value, int) or not 0 <= value <= maximum:
        raise InvalidTicket(f"{name} must be between 0 and {maximum}")
