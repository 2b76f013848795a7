"""Refunds that stand still: whose money waits on account 2120, why and since when, and giving it back."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, moments
from accounts.models import Approval, Customer, User
from billing import refund_approvals, refunds
from billing.models import Refund, RefundPart

# What the worker and the provider take at most when all is well.
WORKER_TIME = timedelta(minutes=15)
PROVIDER_TIME = timedelta(days=10)

_SHOWN = 100
_NOT_APPROVED = "It was not approved."
Part = RefundPart.Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """A refund that goes nowhere by itself.

    `nano_usd` of it have not left us; `why` is for colleagues, `words` are what the customer reads when it is given
    back, empty when the provider may have it already and it cannot be.
    """

    refund: Refund
    nano_usd: int
    since: datetime
    why: str
    words: str

    @property
    def age(self) -> str:
        """`3 h 20 m`"""
        return moments.duration(timezone.now() - self.since)


def of(*, now: datetime) -> list[Wait]:
    """The longest first."""
    rows = Refund.objects.filter(status=Refund.Status.REQUESTED).order_by("created_at")
    return sorted(_among(rows[:_SHOWN], now), key=lambda wait: wait.since)


def give_back(refund: Refund, *, user: User) -> bool:
    """Wishes that what waits goes back into the balance, with its entry in the audit log; False when it moved on."""
    rows = Refund.objects.filter(pk=refund.pk, status=Refund.Status.REQUESTED)
    wait = next(iter(_among(rows, timezone.now())), None)
    if wait is None or not wait.words:
        return False
    with transaction.atomic():
        if not refunds.stop(refund, user=user, reason=wait.words):
            return False
        audit.write(
            "refund.stopped",
            subject=f"refund:{refund.pk}",
            actor=user,
            customer=refund.customer,
            after={"reason": wait.words, "waited": wait.why},
        )
    return True


def _among(rows: QuerySet[Refund], now: datetime) -> list[Wait]:
    found = list(rows.select_related("customer").prefetch_related("parts"))
    asked: dict[str, Approval] = {}
    about = Approval.objects.filter(
        kind=refund_approvals.REFUND, payload__refund__in=[str(refund.pk) for refund in found]
    )
    for approval in about.select_related("decided_by").order_by("pk"):
        asked[approval.payload["refund"]] = approval
    waits = [_wait(refund, asked.get(str(refund.pk)), now) for refund in found]
    return [wait for wait in waits if wait]


def _wait(refund: Refund, approval: Approval | None, now: datetime) -> Wait | None:
    unsent = [part for part in refund.parts.all() if part.status in (Part.PLANNED, Part.SENDING, Part.PENDING)]
    for since, why, words in _reasons(refund, unsent, approval, now):
        return Wait(
            refund=refund,
            nano_usd=sum(part.credit_nano_usd for part in unsent if not part.balance_transaction_id),
            since=since,
            why=why,
            words=words,
        )
    return None


def _reasons(
    refund: Refund, unsent: list[RefundPart], approval: Approval | None, now: datetime
) -> Iterator[tuple[datetime, str, str]]:
    """Since when, why, and the words of giving it back; the first is told."""
    asked_at = refund.created_at
    late = now - WORKER_TIME
    if refund.stopped_at:
        if refund.stopped_at < late and any(part.status == Part.PLANNED for part in unsent):
            yield refund.stopped_at, "Stopped, and the worker has not given it back so far.", ""
    elif any(part.status == Part.PLANNED for part in unsent):
        if refund.customer.status == Customer.Status.FROZEN:
            yield asked_at, "The account is held; with the last hold it goes on.", "The account is on hold."
        elif refund.approved_at is None and refunds.needs_second_person(refund):
            yield from _undecided(refund, approval)
        elif (refund.approved_at or asked_at) < late:
            yield refund.approved_at or asked_at, "Not sent so far: look at the worker.", "It could not be sent."
    for part in unsent:
        sent_at = part.sent_at or asked_at
        if part.status == Part.SENDING and sent_at < late:
            yield sent_at, "The provider was asked and gave no answer; it is asked again.", ""
        elif part.status == Part.PENDING and sent_at < now - PROVIDER_TIME:
            yield sent_at, "The provider has it and says neither that it arrived nor that it failed.", ""


def _undecided(refund: Refund, approval: Approval | None) -> Iterator[tuple[datetime, str, str]]:
    if approval is None:
        yield refund.created_at, "Above the limit of one person, and nobody asked a second one.", _NOT_APPROVED
        return
    decided_at = approval.decided_at or approval.asked_at
    match approval.status:
        case Approval.Status.DECLINED:
            assert approval.decided_by, "somebody declined it"
            said = f": {approval.note}" if approval.note else "."
            yield decided_at, f"{approval.decided_by.get_short_name()} declined it{said}", _NOT_APPROVED
        case Approval.Status.EXPIRED:
            yield approval.expires_at, "Nobody decided in time.", _NOT_APPROVED
        case Approval.Status.WITHDRAWN:
            yield decided_at, "The request for a second person was withdrawn.", _NOT_APPROVED
        case Approval.Status.FAILED:
            yield decided_at, f"Approved, and it could not be done: {approval.error}", _NOT_APPROVED
