"""What about the customers' money needs a person of the staff, in words: for the overviews and the doors' badges."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.urls import reverse
from django.utils import timezone

from accounts import moments
from accounts.models import Hold, User
from billing import display, disputes, refund_waits
from billing.models import Dispute


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
    found = [*_banks()] if user.has_perm("risk.see") else []
    found += [*_refunds()] if user.has_perm("refunds.see") else []
    return sorted(found, key=lambda line: line.kind != "bad")


def refunds_waiting() -> int:
    return sum(line.count for line in _refunds())


def banks_waiting() -> int:
    return sum(line.count for line in _banks())


def _banks() -> Iterator[Line]:
    """What banks ask, take back and warn of: answers that are wanted, and accounts that are held for a warning."""
    waiting = list(disputes.unanswered())
    for stage, one, many in (
        (Dispute.Stage.OPEN, "A dispute wants", "disputes want"),
        (Dispute.Stage.INQUIRY, "An inquiry of a bank wants", "inquiries of banks want"),
    ):
        rows = [dispute for dispute in waiting if dispute.stage == stage]
        if rows:
            due = f", until {moments.minute(rows[0].evidence_due_at)} UTC" if rows[0].evidence_due_at else ""
            yield Line(
                kind="bad",
                title=f"{one if len(rows) == 1 else f'{len(rows)} {many}'} an answer",
                text=f"{rows[0].customer.name}, {rows[0].amount_text}: {rows[0].said.lower()}{due}.",
                url=reverse("risk_account", args=[rows[0].customer_id]) if len(rows) == 1 else reverse("risk"),
                count=len(rows),
                since=min(dispute.opened_at for dispute in rows),
            )
    warned = Hold.objects.filter(code=Hold.Code.FRAUD_WARNING, lifted_at=None).select_related("customer")
    held = list(warned.order_by("placed_at"))
    if held:
        yield Line(
            kind="warn",
            title="An account is held for a warning of fraud"
            if len(held) == 1
            else f"{len(held)} accounts are held for warnings of fraud",
            text=f"{held[0].customer.name}: {held[0].reason}",
            url=reverse("risk_account", args=[held[0].customer_id]) if len(held) == 1 else reverse("risk"),
            count=len(held),
            since=held[0].placed_at,
        )


def _refunds() -> Iterator[Line]:
    waits = refund_waits.of(now=timezone.now())
    if waits:
        amount = display.usd_text(sum(wait.nano_usd for wait in waits))
        many = len(waits) > 1
        yield Line(
            kind="warn",
            title=f"{len(waits)} refunds stand still, {amount}" if many else f"A refund of {amount} stands still",
            text=f"{waits[0].refund.customer.name}: {waits[0].why.removesuffix('.')}. The money waits on account 2120.",
            url=reverse("staff_refunds") + "#h-wait",
            count=len(waits),
            since=waits[0].since,
        )
