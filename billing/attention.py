"""What about the customers' money needs a person of the staff, in words: for the overviews and the doors' badges."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.urls import reverse
from django.utils import timezone

from accounts import moments
from accounts.models import User
from billing import display, refund_waits


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """`bad` loses money if nobody acts; `count` things wait behind `url`, the oldest since then."""

    kind: Literal["warn", "bad"]
    title: str
    text: str
    url: str
    count: int
    since: datetime

    @property
    def age(self) -> str:
        """`3 h 20 m`"""
        return moments.duration(timezone.now() - self.since)


def of(user: User) -> list[Line]:
    """What this person may look at, the worst first."""
    found = list(_refunds()) if user.has_perm("refunds.see") else []
    return sorted(found, key=lambda line: line.kind != "bad")


def refunds_waiting() -> int:
    return sum(line.count for line in _refunds())


def _refunds() -> Iterator[Line]:
    waits = refund_waits.of(now=timezone.now())
    if waits:
        amount = display.usd_text(sum(wait.nano_usd for wait in waits))
        many = len(waits) > 1
        yield Line(
            kind="warn",
            title=f"{len(waits)} refunds stand still, {amount}" if many else f"A refund of {amount} stands still",
            text=f"{waits[0].refund.customer.name}: {waits[0].why} The money waits on account 2120.",
            url=reverse("staff_refunds") + "#h-wait",
            count=len(waits),
            since=waits[0].since,
        )
