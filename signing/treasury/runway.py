"""How long the deposit lasts: the expected outflow and its spread by chance; pure, in wei and seconds.

Winners are rare and large: redemptions are a compound Poisson process. With an outflow of u wei a second and winners
worth f wei each, t seconds take u*t on average with a variance of u*t*f.
"""

from dataclasses import dataclass
from math import isqrt

DAY_SECONDS = 86_400
# Quantiles of the normal distribution, in thousandths: 5 % and 95 %, 25 % and 75 %.
_NINE_OF_TEN = 1_645
_HALF = 674
# Roots are taken of this many times the figure, so that rounding stays far below a wei.
_FINE = 10**60


@dataclass(frozen=True, kw_only=True, slots=True)
class Outflow:
    """What left, or is expected to leave, the deposit over a span; `winner_wei` is the size of a typical winner."""

    wei: int
    seconds: int
    winner_wei: int = 0

    def per_day_wei(self) -> int:
        return self.wei * DAY_SECONDS // self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Runway:
    """Seconds until the deposit is empty: expected, and the ends of the range that holds 9 cases of 10."""

    expected_seconds: int
    earliest_seconds: int
    latest_seconds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """The deposit after `seconds`: expected, and what 5, 25, 75 and 95 % of cases stay below; in wei."""

    seconds: int
    expected_wei: int
    p5_wei: int
    p25_wei: int
    p75_wei: int
    p95_wei: int


def runway(deposit_wei: int, outflow: Outflow) -> Runway | None:
    """None when nothing flows out.

    deposit = u*t + z*sqrt(u*t*f) solved for t, with z of the 5 and 95 % quantiles.
    """
    if outflow.wei <= 0:
        return None

    def until_taken(wei: int) -> int:
        return wei * outflow.seconds // outflow.wei

    return Runway(
        expected_seconds=until_taken(deposit_wei),
        earliest_seconds=until_taken(_mean_taken(deposit_wei, outflow.winner_wei, _NINE_OF_TEN)),
        latest_seconds=until_taken(_mean_taken(deposit_wei, outflow.winner_wei, -_NINE_OF_TEN)),
    )


def forecast(deposit_wei: int, outflow: Outflow, *, until_seconds: int, points: int) -> list[Forecast]:
    """`points` steps of equal length from now to `until_seconds`, now included."""
    steps = []
    for step in range(points + 1):
        seconds = until_seconds * step // points
        taken = outflow.wei * seconds // outflow.seconds
        spread = isqrt(taken * outflow.winner_wei)

        def left(z: int, taken: int = taken, spread: int = spread) -> int:
            return min(deposit_wei, max(0, deposit_wei - taken + z * spread // 1_000))

        steps.append(
            Forecast(
                seconds=seconds,
                expected_wei=left(0),
                p5_wei=left(-_NINE_OF_TEN),
                p25_wei=left(-_HALF),
                p75_wei=left(_HALF),
                p95_wei=left(_NINE_OF_TEN),
            )
        )
    return steps


def typical_winner_wei(face_values_wei: list[int]) -> int:
    """The size that counts for the spread: the mean of squares over the mean; 0 when there was no winner."""
    total = sum(face_values_wei)
    return sum(value * value for value in face_values_wei) // total if total else 0


def _mean_taken(deposit_wei: int, winner_wei: int, z: int) -> int:
    """The m with m + z*sqrt(m*f) = deposit: sqrt(m) = (sqrt(z*z*f + 4*deposit) - z*sqrt(f)) / 2; z in thousandths."""
    fine_deposit, fine_winner = deposit_wei * _FINE, winner_wei * _FINE
    root = isqrt(z * z * fine_winner + 4_000_000 * fine_deposit) - z * isqrt(fine_winner)
    return (root * root) // (4_000_000 * _FINE)
