"""The recipient's formulas: what a ticket should be worth, and the secret number each one is bound to."""

import hashlib
import hmac
from fractions import Fraction

from signing.pm.tickets import MAX_UINT256, keccak256

AVERAGE_GAS_PRICE_WEI = 3 * 10**9


class InsufficientSenderReserve(Exception):
    """The sender's reserve cannot make a ticket worth redeeming, so none is offered."""


def max_float(*, reserve_wei: int, claimed_wei: int = 0, already_claimed_wei: int = 0, pool_size: int) -> int:
    """Wei of a sender's reserve that this orchestrator can count on; an equal share of the active pool."""
    if pool_size == 0:
        return 0
    return (reserve_wei + claimed_wei) // pool_size - already_claimed_wei


def face_value(
    *,
    price: Fraction,
    ticket_ev_wei: int,
    gas_price_wei: int,
    redeem_gas: int,
    tx_cost_multiplier: int,
    max_float_wei: int,
    max_face_value_wei: int = 0,
) -> int:
    """Wei a winning ticket pays: a multiple of its redemption cost, capped by what the sender can cover.

    A price of zero or less makes worthless tickets. Raises InsufficientSenderReserve.
    """
    if price <= 0:
        return 0
    cost_wei = gas_price_wei * redeem_gas
    value = cost_wei * tx_cost_multiplier
    if value < ticket_ev_wei:
        value = ticket_ev_wei * tx_cost_multiplier
    value = min(value, max_float_wei)
    if max_face_value_wei > 0:
        value = min(value, max_face_value_wei)
    average_cost_wei = AVERAGE_GAS_PRICE_WEI * redeem_gas
    if value < ticket_ev_wei or (value < cost_wei and value < average_cost_wei):
        raise InsufficientSenderReserve("insufficient sender reserve")
    return value


def win_prob(face_value_wei: int, ticket_ev_wei: int) -> int:
    """The chance, out of 2**256 - 1, that makes a ticket of this face value worth `ticket_ev_wei`."""
    if face_value_wei == 0:
        return 0
    if face_value_wei == ticket_ev_wei:
        return MAX_UINT256
    quotient, remainder = divmod(MAX_UINT256, face_value_wei)
    # The network rounds up only when the low 64 bits of the remainder are not all zero.
    return ticket_ev_wei * (quotient + (1 if remainder % 2**64 else 0))


def recipient_rand(
    secret: bytes,
    seed: int,
    sender: bytes,
    face_value: int,
    win_prob: int,
    expiration_block: int,
    price: Fraction,
    aux_data: bytes,
) -> int:
    """The number that decides a draw. It binds everything the orchestrator issued, so nothing can be changed.

    `aux_data` is the creation round as 32 bytes followed by its block hash, or empty when both are zero.
    """
    message = b"".join(
        (
            minimal_bytes(seed),
            sender,
            minimal_bytes(face_value),
            minimal_bytes(win_prob),
            minimal_bytes(expiration_block),
            minimal_bytes(price.numerator),
            minimal_bytes(price.denominator),
            aux_data,
        )
    )
    return int.from_bytes(hmac.digest(secret, message, hashlib.sha256))


def recipient_rand_hash(rand: int) -> bytes:
    return keccak256(rand.to_bytes(32))


def aux_data(creation_round: int, creation_round_block_hash: bytes) -> bytes:
    if creation_round == 0 and not any(creation_round_block_hash):
        return b""
    return creation_round.to_bytes(32) + creation_round_block_hash


def auth_token(secret: bytes, session_id: str, expiration: int) -> bytes:
    """The proof that this orchestrator opened the session; `expiration` in Unix seconds."""
    return hmac.digest(secret, session_id.encode() + minimal_bytes(expiration), hashlib.sha256)


def minimal_bytes(value: int) -> bytes:
    """Big-endian without leading zeros; zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8)
