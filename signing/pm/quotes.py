"""What a stretch of work costs: billable units, the fee and the number of tickets that cover it."""

import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from signing.pm.tickets import expected_value

MAX_TICKETS = 100

_PRICES_REMEMBERED = 1024

_PIXELS_PER_SECOND = float(1280 * 720 * 30)
_OPENING_SECONDS = {"lv2v": 60.0, "live": 10.0}
_RATIONAL = re.compile(r"-?[0-9]{1,1000}(/[0-9]{1,1000})?")


class UnknownJobType(ValueError):
    """The job type is none of '', 'lv2v', 'live' and 'fixed'."""


class NoBillableUnits(ValueError):
    """Nothing to bill: neither a job type nor a positive number of pixels."""


class NoTickets(Exception):
    """The balance covers the work, or no time has passed: nothing is signed or charged (482)."""


class TooManyTickets(ValueError):
    """The work would take more tickets than one payment may carry."""

    def __init__(self, tickets: int) -> None:
        super().__init__(f"numTickets {tickets} exceeds maximum of {MAX_TICKETS}")
        self.tickets = tickets


class NotARational(ValueError):
    """The text is not of the form p or p/q."""


class Quote(NamedTuple):
    """A priced payment. `cost_wei` is the expected value signed, rounded up once to whole wei."""

    units: int
    fee_wei: Fraction
    tickets: int
    cost_wei: int
    balance_after_wei: Fraction


def quote_units(
    units: int, price_per_unit: int, pixels_per_unit: int, balance_wei: Fraction, expected_value_wei: Fraction
) -> Quote:
    """Price one payment at the session's initial price against its running balance.

    `expected_value_wei` is that of one ticket. Raises NoTickets, TooManyTickets.
    """
    fee = fee_wei(units, price_per_unit, pixels_per_unit)
    (owned, part), (due, share) = balance_wei.as_integer_ratio(), fee.as_integer_ratio()
    value, whole = expected_value_wei.as_integer_ratio()
    tickets = _count(owned, part, due, share, value, whole)
    if tickets <= 0:
        raise NoTickets("no tickets")
    if tickets > MAX_TICKETS:
        raise TooManyTickets(tickets)
    signed_wei = tickets * value
    left = (signed_wei * share - due * whole) * part + owned * whole * share
    balance_after = Fraction(left, whole * share * part)
    return Quote(units, fee, tickets, -(-signed_wei // whole), balance_after)


@lru_cache(_PRICES_REMEMBERED)
def opening_quote(units: int, price_per_unit: int, pixels_per_unit: int, face_value_wei: int, win_prob: int) -> Quote:
    """Price a session's first payment: no balance yet, and what an offer costs stays the same for a while.

    Raises NoTickets, TooManyTickets.
    """
    worth = expected_value(face_value_wei, win_prob)
    return quote_units(units, price_per_unit, pixels_per_unit, Fraction(0), worth)


def check_elapsed(kind: str, seconds: Fraction | None) -> None:
    """Whether time has passed since the last payment, where time is what is billed. Raises NoTickets.

    A follow-up without elapsed time is no second opening payment.
    """
    if seconds is not None and seconds <= 0 and kind in _OPENING_SECONDS:
        raise NoTickets("no tickets")


def billable_units(kind: str, seconds: Fraction | None, in_pixels: int) -> int:
    """Units of work to bill: 720p pixels for 'lv2v', seconds for 'live', 1 for 'fixed', `in_pixels` for ''.

    `seconds` None, zero or less means a session's opening payment: 60 s of 'lv2v', 10 s of 'live'.
    Raises UnknownJobType or NoBillableUnits.
    """
    if kind in _OPENING_SECONDS:
        elapsed = _OPENING_SECONDS[kind] if seconds is None or seconds <= 0 else _float64_seconds(seconds)
        units = math.trunc(_PIXELS_PER_SECOND * elapsed) if kind == "lv2v" else math.ceil(elapsed)
    elif kind == "fixed":
        units = 1
    elif kind == "":
        units = in_pixels
    else:
        raise UnknownJobType("invalid job type")
    if units <= 0:
        raise NoBillableUnits("missing billable unit or job type")
    return units


@lru_cache(_PRICES_REMEMBERED)
def fee_wei(units: int, price_per_unit: int, pixels_per_unit: int) -> Fraction:
    """Wei for so many units, exact. An orchestrator's price stays the same for hours, so few are made often."""
    return Fraction(units * price_per_unit, pixels_per_unit)


def _count(owned: int, part: int, due: int, share: int, value: int, whole: int) -> int:
    """Tickets that lift a balance to the fee and to one ticket's worth; 0 when it is there already.

    Balance, fee and worth come in pairs: integers over one denominator; a Fraction would be reduced at every step.
    """
    if value == 0:
        return 0
    covered = value * share
    missing = max(due * whole, covered) * part - owned * whole * share
    return max(0, -(-missing // (covered * part)))


def rational_text(value: Fraction) -> str:
    """`p/q` in lowest terms, or `p` for a whole number."""
    return str(value)


def parse_rational(text: str) -> Fraction:
    """The value of `p` or `p/q`. Raises NotARational."""
    if not _RATIONAL.fullmatch(text):
        raise NotARational("not a rational")
    numerator, _, denominator = text.partition("/")
    if denominator and not int(denominator):
        raise NotARational("the denominator is zero")
    return Fraction(int(numerator), int(denominator or 1))


def fixed_text(value: Fraction, decimals: int) -> str:
    """Decimal text with exactly `decimals` digits after the point, rounded half away from zero."""
    scaled = abs(value) * 10**decimals
    digits = str((2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)).zfill(decimals + 1)
    sign = "-" if value < 0 else ""
    if not decimals:
        return sign + digits
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def _float64_seconds(seconds: Fraction) -> float:
    """Seconds as the network's software measures them: whole nanoseconds, then two float64 parts added.

    A float on purpose: pixels are counted by truncating a product of it, and both sides of the wire
    must arrive at the same integer. Money is computed from that integer.
    """
    whole, nanoseconds = divmod(math.floor(seconds * 10**9), 10**9)
    return float(whole) + nanoseconds / 1e9
