"""The limits a payment must keep: price ceilings, and the bounds on ticket params and the sender's funds."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

from signing.pm.quotes import fixed_text, rational_text
from signing.pm.tickets import MAX_UINT256

CONFIGURED_CEILING = "configured maximum price"
CUSTOMER_CEILING = "account maximum price"
KEY_CEILING = "API key maximum price"
REQUEST_CEILING = "request maxPrice"
INITIAL_CEILING = "initial session price"

_UNITS = {"live": "seconds", "lv2v": "720p-pixel-seconds", "fixed": "fixed"}
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_LONGEST_NUMBER = 100
_LARGEST_EXPONENT = 400
_EXPIRY_BUFFER_BLOCKS = 1


class InvalidMaxPrice(ValueError):
    """The maxPrice of a request is not a positive price in the job's unit."""


class PriceAboveCeiling(Exception):
    """The orchestrator asks more than somebody allowed (481)."""

    def __init__(self, message: str, source: str) -> None:
        super().__init__(message)
        self.source = source


class TicketParamsExpired(Exception):
    """The orchestrator's ticket parameters are too old to be redeemed: fetch new ones (480)."""


class Refusal(Enum):
    """Why ticket parameters cannot be signed."""

    NO_EXPIRATION = "no_expiration"
    FACE_VALUE_TOO_LOW = "face_value_too_low"
    TICKET_EV_TOO_HIGH = "ticket_ev_too_high"
    TOTAL_EV_TOO_HIGH = "total_ev_too_high"
    UNLOCKING = "unlocking"
    NO_RESERVE = "no_reserve"
    NO_DEPOSIT = "no_deposit"
    DEPOSIT_TOO_LOW = "deposit_too_low"
    FACE_VALUE_TOO_HIGH = "face_value_too_high"

    @property
    def is_ours(self) -> bool:
        """Whether the sender's funds are short, so that the client has done nothing wrong."""
        return self in _OUR_SHORTAGES


_OUR_SHORTAGES = {Refusal.UNLOCKING, Refusal.NO_RESERVE, Refusal.NO_DEPOSIT, Refusal.DEPOSIT_TOO_LOW}


class TicketParamsRefused(Exception):
    """The tickets would break a limit or could not be paid; `reason` tells whose side is short."""

    def __init__(self, message: str, reason: Refusal) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderFunds:
    """The sender's side of the TicketBroker contract; `withdraw_round` is 0 when nothing is unlocking."""

    deposit_wei: int
    reserve_wei: int
    withdraw_round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketLimits:
    """What one ticket and one batch may be worth, how often the deposit must cover a face value, and its most."""

    max_ticket_ev_wei: Fraction
    max_total_ev_wei: Fraction
    deposit_multiplier: int
    max_face_value_wei: int
    # The same as the largest product of face value and win prob, which needs no fractions to compare with.
    most_of_a_ticket: int = field(init=False)
    most_in_all: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "most_of_a_ticket", math.floor(self.max_ticket_ev_wei * MAX_UINT256))
        object.__setattr__(self, "most_in_all", math.floor(self.max_total_ev_wei * MAX_UINT256))


def parse_max_price(raw: object | None, kind: str) -> Fraction | None:
    """The ceiling a request sets itself, in wei per unit, exact; None when it sets none.

    `raw` is the request's maxPrice: a mapping with `price` (int, or text of a JSON number), `currency`
    and `unit`. Raises InvalidMaxPrice.
    """
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise InvalidMaxPrice("maxPrice must be an object")
    price = _exact_decimal(raw.get("price"))
    if price is None or price <= 0:
        raise InvalidMaxPrice("maxPrice.price must be a positive decimal")
    if _folded(raw.get("currency")) != "wei":
        raise InvalidMaxPrice("maxPrice.currency must be wei")
    unit = _UNITS.get(kind)
    if unit is None:
        raise InvalidMaxPrice("maxPrice requires payment type live, lv2v, or fixed")
    if _folded(raw.get("unit")) != unit:
        raise InvalidMaxPrice(f"maxPrice.unit must be {unit} for payment type {kind}")
    return price


def check_price(price: Fraction, ceilings: Iterable[tuple[str, Fraction | None]]) -> None:
    """Hold a price against (source, ceiling) pairs; the smallest decides, the first of them on a tie.

    A ceiling of None is none; equality is allowed. Raises PriceAboveCeiling.
    """
    lowest: Fraction | None = None
    source = ""
    for each, ceiling in ceilings:
        if ceiling is not None and (lowest is None or ceiling < lowest):
            lowest, source = ceiling, each
    if lowest is not None and price > lowest:
        text = f"orchestrator price {fixed_text(price, 3)} exceeds {source} ceiling {fixed_text(lowest, 3)}"
        raise PriceAboveCeiling(text, source)


def check_price_growth(price: Fraction, initial_price: Fraction) -> None:
    """The last guard before signing, which also stops negative prices. Raises PriceAboveCeiling."""
    (asked, units), (first, first_units) = price.as_integer_ratio(), initial_price.as_integer_ratio()
    if asked * first_units > 2 * first * units:
        raise PriceAboveCeiling(
            "Orchestrator price has more than doubled, "
            f"Orchestrator price: {rational_text(price)}, "
            f"Orchestrator initial price: {rational_text(initial_price)}",
            INITIAL_CEILING,
        )


def check_ticket_params(
    *,
    face_value: int,
    win_prob: int,
    expiration_block: int,
    tickets: int,
    funds: SenderFunds,
    limits: TicketLimits,
    last_seen_l1_block: int,
    last_initialized_round: int,
) -> None:
    """Whether `tickets` tickets of these parameters may be signed; tickets worth nothing pass unchecked.

    Raises TicketParamsExpired, or TicketParamsRefused with the first reason that applies.
    """
    if expiration_block == 0:
        raise TicketParamsRefused("ticketParams expiration block is 0", Refusal.NO_EXPIRATION)
    if expiration_block - last_seen_l1_block <= _EXPIRY_BUFFER_BLOCKS:
        raise TicketParamsExpired("TicketParams expired")
    if face_value == 0 or win_prob == 0:
        return
    _check_one_ticket(face_value, win_prob, limits)
    _check_sender(funds, last_initialized_round)
    _check_batch(face_value, win_prob, tickets, limits)
    largest_face_value = funds.deposit_wei // limits.deposit_multiplier
    if face_value > largest_face_value:
        message = f"ticket faceValue {face_value} > max faceValue {largest_face_value}"
        raise TicketParamsRefused(message, Refusal.DEPOSIT_TOO_LOW)
    if face_value > limits.max_face_value_wei:
        message = f"ticket faceValue {face_value} > max faceValue {limits.max_face_value_wei}"
        raise TicketParamsRefused(message, Refusal.FACE_VALUE_TOO_HIGH)


def largest_face_value(deposit_wei: int, *, deposit_multiplier: int, max_face_value_wei: int) -> int:
    """The largest face value signed on such a deposit."""
    return min(deposit_wei // deposit_multiplier, max_face_value_wei)


def _check_one_ticket(face_value: int, win_prob: int, limits: TicketLimits) -> None:
    if win_prob >= MAX_UINT256:
        message = f"ticket faceValue too low faceValue={face_value}"
        raise TicketParamsRefused(message, Refusal.FACE_VALUE_TOO_LOW)
    if face_value * win_prob > limits.most_of_a_ticket:
        worth = fixed_text(Fraction(face_value * win_prob, MAX_UINT256), 5)
        message = f"ticket EV {worth} > max ticket EV {fixed_text(limits.max_ticket_ev_wei, 5)}"
        raise TicketParamsRefused(message, Refusal.TICKET_EV_TOO_HIGH)


def _check_sender(funds: SenderFunds, last_initialized_round: int) -> None:
    if funds.withdraw_round and funds.withdraw_round <= last_initialized_round + 1:
        message = "unable to validate sender: deposit and reserve is set to unlock soon"
        raise TicketParamsRefused(message, Refusal.UNLOCKING)
    if funds.reserve_wei == 0:
        raise TicketParamsRefused("no sender reserve", Refusal.NO_RESERVE)
    if funds.deposit_wei == 0:
        raise TicketParamsRefused("no sender deposit", Refusal.NO_DEPOSIT)


def _check_batch(face_value: int, win_prob: int, tickets: int, limits: TicketLimits) -> None:
    if tickets * face_value * win_prob > limits.most_in_all:
        worth = fixed_text(Fraction(tickets * face_value * win_prob, MAX_UINT256), 5)
        most = fixed_text(limits.max_total_ev_wei, 5)
        message = f"total ticket EV {worth} for {tickets} tickets > max total ticket EV {most}"
        raise TicketParamsRefused(message, Refusal.TOTAL_EV_TOO_HIGH)


def _exact_decimal(raw: object) -> Fraction | None:
    """The exact value of an int or of the text of a JSON number; None for all else.

    The length and the exponent are bounded: `1e999999999` would otherwise fill the memory.
    """
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        return None
    if isinstance(raw, int):
        return Fraction(raw)
    if len(raw) > _LONGEST_NUMBER or not _JSON_NUMBER.fullmatch(raw):
        return None
    exponent = raw.lower().partition("e")[2]
    if exponent and abs(int(exponent)) > _LARGEST_EXPONENT:
        return None
    return Fraction(raw)


def _folded(raw: object) -> str:
    return raw.strip().lower() if isinstance(raw, str) else ""
