"""The mails of approvals: to those who may decide, once it is asked, and to who asked, once it is over."""

import logging

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts import approvals, mail, moments
from accounts.mail import Letter
from accounts.models import Approval, User

log = logging.getLogger(__name__)

Status = Approval.Status
_ENDS = {
    Status.DECLINED: "was declined",
    Status.EXPIRED: "ran out of time",
    Status.DONE: "was approved and is done",
    Status.FAILED: "was approved and could not be done",
}


def send_waiting() -> int:
    """Sends what was not sent so far, one mail a person; a mail server that is away is asked again later."""
    sent = 0
    for row in _with_people().filter(status=Status.ASKED, announced_at=None, expires_at__gt=Now()):
        people = deciders(row)
        sent += _once(row, "announced_at", [(person.email, _asked(row)) for person in people])
    for row in _with_people().filter(status__in=_ENDS, answered_at=None):
        sent += _once(row, "answered_at", [(row.asked_by.email, _answer(row))] if row.asked_by.is_active else [])
    return sent


def deciders(row: Approval) -> list[User]:
    """Active staff with the role for it, without who asked."""
    kind = approvals.kinds().get(row.kind)
    if kind is None:
        return []
    staff = User.objects.filter(is_active=True, is_staff=True).exclude(pk=row.asked_by_id).order_by("id")
    return [person for person in staff if person.has_perm(kind.decide_permission)]


def _with_people() -> QuerySet[Approval]:
    return Approval.objects.select_related("asked_by", "decided_by", "customer").order_by("id")


def _once(row: Approval, column: str, letters: list[tuple[str, Letter]]) -> int:
    """Of several workers one claims the row, then sends; on a failure the claim is given back."""
    if not Approval.objects.filter(Q(**{column: None}), pk=row.pk).update(**{column: Now()}):
        return 0
    try:
        for address, letter in letters:
            mail.send(letter, to=address)
    except OSError as error:
        log.warning("mails of approval %s are sent later: %s", row.pk, type(error).__name__)
        Approval.objects.filter(pk=row.pk).update(**{column: None})
        return 0
    return len(letters)


def _asked(row: Approval) -> Letter:
    asker = row.asked_by.get_short_name()
    return Letter(
        subject=f"{asker} asks for approval: {_title(row)}",
        paragraphs=[
            f"{asker} asks for something that needs a second person{_whom(row)}.",
            *_lines(row),
            f"Why: {row.reason}",
        ],
        action=("Look at the request", _address(row)),
        small=[f"It can be decided until {moments.minute(row.expires_at)} UTC."],
        why="because your role may decide this.",
    )


def _answer(row: Approval) -> Letter:
    paragraphs = [f"Your request{_whom(row)} {_ENDS[Status(row.status)]}.", *_lines(row)]
    if row.decided_by and row.note:
        paragraphs.append(f"{row.decided_by.get_short_name()} says: {row.note}")
    if row.error:
        paragraphs.append(row.error)
    return Letter(
        subject=f"{_title(row)}: your request {_ENDS[Status(row.status)]}",
        paragraphs=paragraphs,
        action=("Look at the request", _address(row)),
        why="because you asked for this.",
    )


def _title(row: Approval) -> str:
    kind = approvals.kinds().get(row.kind)
    return kind.title if kind else row.kind


def _lines(row: Approval) -> list[str]:
    kind = approvals.kinds().get(row.kind)
    return [f"{label}: {text}" for label, text in kind.describe(row.payload)] if kind else []


def _whom(row: Approval) -> str:
    return f" for {row.customer.name}" if row.customer else ""


def _address(row: Approval) -> str:
    return f"{settings.WEB_URL}/approvals/{row.pk}/"
