"""What counts by the hour, the day or the month is tried within one: near its edge a test begins after it."""

import time

HOUR, DAY = 3_600, 86_400
# The most that such a test takes, on a slow machine as well.
_LONGEST = 40


def begin_within_one(seconds: int) -> None:
    """Waits for the next hour or day of UTC (a month begins with one) when it is nearer than a test is long."""
    while time.time() % seconds > seconds - _LONGEST:
        time.sleep(0.2)
