"""Whether the worth of an orchestrator's tickets fits the payments made with them, and what would fit better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from signing.pm.quotes import MAX_TICKETS

# A ticket is paid whole: what a session does not use of its last one is lost to the customer.
LONGEST_SECONDS = 120
# Beyond MAX_TICKETS a payment is refused, and every ticket costs time at both ends.
MOST_TICKETS = MAX_TICKETS // 2
# What operators aim for: a few tickets a payment, each good for about half a minute of a stream.
_FITTING_TICKETS = 3
_FITTING_SECONDS = 30

_UNITS_PER_SECOND = {"live": 1, "lv2v": 1280 * 720 * 30}


class Misfit(Enum):
    """Which way the tickets are wrong."""

    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What is wrong, with its figures. `seconds` is how long one ticket lasts, None where work is not paid by time."""

    misfit: Misfit
    expected_value_wei: Fraction
    fitting_wei: int
    seconds: int | None
    tickets: int


def advise(
    *, expected_value_wei: Fraction, kind: str, price_per_unit: Fraction, tickets: Sequence[int]
) -> Advice | None:
    """None where tickets of this worth fit; `tickets` are those of each recent payment, `price_per_unit` is wei."""
    most = max(tickets, default=0)
    wei_per_second = price_per_unit * _UNITS_PER_SECOND.get(kind, 0)
    seconds = math.floor(expected_value_wei / wei_per_second) if wei_per_second > 0 else None
    if seconds is not None and seconds >= LONGEST_SECONDS:
        misfit, fitting = Misfit.TOO_LARGE, wei_per_second * _FITTING_SECONDS
    elif most > MOST_TICKETS:
        misfit, fitting = Misfit.TOO_SMALL, expected_value_wei * most / _FITTING_TICKETS
    else:
        return None
    return Advice(
        misfit=misfit,
        expected_value_wei=expected_value_wei,
        fitting_wei=math.ceil(fitting),
        seconds=seconds,
        tickets=most,
    )
