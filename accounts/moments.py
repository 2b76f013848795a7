"""Times and durations in the words the pages use; pure."""

from datetime import datetime, timedelta


def day(at: datetime) -> str:
    """`14 Nov 2026`"""
    return f"{at.day} {at:%b %Y}"


def minute(at: datetime) -> str:
    """`14 Nov 2026, 17:40`"""
    return f"{day(at)}, {at:%H:%M}"


def second(at: datetime) -> str:
    """`14 Nov 2026, 17:40:06`"""
    return f"{day(at)}, {at:%H:%M:%S}"


def exact(at: datetime) -> str:
    """`14 Nov 2026, 17:40:06 UTC`; the time is expected in UTC."""
    return f"{second(at)} UTC"


def clock(at: datetime) -> str:
    """`14:02:06.290`, cut to the millisecond."""
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"


def ago(at: datetime, *, now: datetime) -> str:
    """`42 min ago` for the last day, otherwise the minute it was."""
    seconds = int((now - at).total_seconds())
    if -5 < seconds < 5:
        return "just now"
    if seconds < 0 or seconds >= 86_400:
        return minute(at)
    if seconds < 60:
        return f"{seconds} s ago"
    if seconds < 3_600:
        return f"{seconds // 60} min ago"
    return f"{seconds // 3_600} h ago"


def duration(span: timedelta) -> str:
    """`2 h 14 m`, `3 m 20 s`, `45 s`, `12 days`; the two largest units, cut downwards."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3_600:
        minutes, rest = divmod(seconds, 60)
        return f"{minutes} m {rest:02d} s" if rest else f"{minutes} m"
    if seconds < 2 * 86_400:
        hours, rest = divmod(seconds // 60, 60)
        return f"{hours} h {rest:02d} m" if rest else f"{hours} h"
    return f"{seconds // 86_400} days"


def forecast(span: timedelta) -> str:
    """`12 days`, `40 h`, `25 min`: the largest unit alone, since nobody knows the future by the minute."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 3_600:
        return f"{seconds // 60} min"
    return f"{seconds // 3_600} h" if seconds < 2 * 86_400 else duration(span)
