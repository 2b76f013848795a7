"""Approvals: one member of staff asks, a second one decides, the worker carries out, once; every attempt is kept."""

import importlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from accounts.models import Approval, Customer, User

log = logging.getLogger(__name__)

Status = Approval.Status
_LONGEST_ERROR = 500


class NotPossible(Exception):
    """What is asked for cannot be done; the text says why and is shown to people."""


class Refused(Exception):
    """Somebody tried what is not for him to do; the text is shown to people, the attempt is in the audit log."""


class NotAllowed(Refused):
    """The role for it is missing."""


class OwnRequest(Refused):
    """Nobody decides what he asked for himself."""


class NotOwnRequest(Refused):
    """Nobody withdraws what somebody else asked for."""


class AlreadyDecided(Refused):
    """Somebody was first, or it was withdrawn."""


class Expired(Refused):
    """The time to decide is over."""


class AskerLeft(Refused):
    """Who asked is no member of staff any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What can be asked for. Modules named in settings.APPROVABLE each export `KINDS`, a kind by its name.

    `describe` gives lines of label and text for whoever decides. `check` raises NotPossible; it is called when it is
    asked, when it is approved, and in the transaction of `carry_out`. That one runs in the worker, inside the
    transaction that also writes DONE: no network, no transaction of its own that outlives it; NotPossible fails the
    request with its words. Later work beyond the database is a row that it writes.
    """

    title: str
    ask_permission: str
    decide_permission: str
    describe: Callable[[dict[str, Any]], list[tuple[str, str]]]
    check: Callable[[dict[str, Any]], None]
    carry_out: Callable[[Approval], None]


@cache
def kinds() -> dict[str, Kind]:
    """Every kind of the house by its name."""
    found: dict[str, Kind] = {}
    for module in settings.APPROVABLE:
        for name, kind in importlib.import_module(module).KINDS.items():
            assert name not in found, f"two kinds are called {name}"
            found[name] = kind
    return found


def ask(
    *,
    kind: str,
    payload: dict[str, Any],
    reason: str,
    user: User,
    customer: Customer | None = None,
    once: str = "",
) -> Approval:
    """Writes a request down; the same `once` again, such as a form's own number, gives the row that is there.

    Raises NotAllowed, NotPossible. May be called inside a transaction of the caller's, with which it comes and goes.
    """
    rule = kinds()[kind]
    assert json.loads(json.dumps(payload)) == payload, "a payload is plain JSON"
    subject = f"approval:{kind}"
    tried: dict[str, object] = {"kind": kind, "payload": payload, "reason": reason}
    if not _may(user, rule.ask_permission):
        audit.write_for_good(
            "approval.refused", subject=subject, actor=user, customer=customer, after={**tried, "why": "no_right"}
        )
        raise NotAllowed("Your role may not ask for this.")
    known = _asked_before(kind, once, user=user, payload=payload)
    if known:
        return known
    try:
        if not reason.strip():
            raise NotPossible("Must say why; who decides reads it.")
        rule.check(payload)
    except NotPossible as error:
        audit.write_for_good(
            "approval.refused", subject=subject, actor=user, customer=customer, after={**tried, "why": str(error)}
        )
        raise
    try:
        with transaction.atomic():
            approval = Approval.objects.create(
                kind=kind,
                payload=payload,
                reason=reason.strip(),
                customer=customer,
                once=once,
                asked_by=user,
                expires_at=timezone.now() + timedelta(hours=hours()),
            )
            _note("approval.asked", approval, user, after=tried)
    except IntegrityError:  # the other half of a double click was first
        known = _asked_before(kind, once, user=user, payload=payload)
        if known is None:
            raise
        return known
    approval.refresh_from_db()
    return approval


def decide(approval_id: int, user: User, *, approve: bool, note: str = "") -> Approval:
    """Approves or declines for a second person, once.

    Raises NotAllowed, OwnRequest, AlreadyDecided, Expired, AskerLeft, NotPossible and Approval.DoesNotExist.
    """
    approval = Approval.objects.select_related("customer").get(pk=approval_id)
    rule = kinds()[approval.kind]
    if not _may(user, rule.decide_permission):
        raise _refusal(approval, user, "no_right", approve=approve)
    if approve and approval.status == Status.ASKED and approval.asked_by_id != user.pk:
        try:
            rule.check(approval.payload)
        except NotPossible as error:
            _note_for_good(approval, user, str(error), approve=approve)
            raise
    with transaction.atomic():
        outcome = _call("accounts_decide_approval", approval.pk, user.pk, approve, note.strip())
        if outcome in (Status.APPROVED, Status.DECLINED):
            _note(
                f"approval.{outcome}",
                approval,
                user,
                before={"status": "asked"},
                after={"status": outcome, "note": note.strip()},
            )
    if outcome not in (Status.APPROVED, Status.DECLINED):
        raise _refusal(approval, user, outcome, approve=approve)
    approval.refresh_from_db()
    return approval


def withdraw(approval_id: int, user: User) -> Approval:
    """Takes a request back. Raises NotOwnRequest, AlreadyDecided and Approval.DoesNotExist."""
    approval = Approval.objects.select_related("customer").get(pk=approval_id)
    with transaction.atomic():
        outcome = _call("accounts_withdraw_approval", approval.pk, user.pk)
        if outcome == Status.WITHDRAWN:
            _note("approval.withdrawn", approval, user, before={"status": "asked"}, after={"status": outcome})
    if outcome != Status.WITHDRAWN:
        raise _refusal(approval, user, outcome)
    approval.refresh_from_db()
    return approval


def waiting_for(user: User) -> QuerySet[Approval]:
    """What this person may decide now, the oldest first."""
    decidable = [name for name, kind in kinds().items() if user.has_perm(kind.decide_permission)]
    open_now = Approval.objects.filter(status=Status.ASKED, expires_at__gt=Now(), kind__in=decidable)
    return open_now.exclude(asked_by=user).select_related("asked_by", "customer").order_by("id")


def hours() -> int:
    """How long a request can be decided."""
    return int(settings.APPROVAL_HOURS)


def expire() -> int:
    """Closes requests whose time is over; how many."""
    over = Approval.objects.filter(status=Status.ASKED, expires_at__lte=Now()).select_related("customer")
    closed = 0
    for approval in over:
        with transaction.atomic(durable=True):
            if Approval.objects.filter(pk=approval.pk, status=Status.ASKED).update(status=Status.EXPIRED):
                _note("approval.expired", approval, None, before={"status": "asked"}, after={"status": "expired"})
                closed += 1
    return closed


def carry_out_waiting() -> int:
    """Carries out what was approved, each once however many workers look; how many are done."""
    waiting = Approval.objects.filter(status=Status.APPROVED).order_by("id").values_list("pk", flat=True)
    return sum(_carry_out(approval_id) for approval_id in list(waiting))


def _carry_out(approval_id: int) -> bool:
    """One of them: the row stays locked until DONE and all its effects are committed together, or none is."""
    try:
        with transaction.atomic(durable=True):
            approval = (
                Approval.objects.select_for_update(skip_locked=True, of=("self",))
                .select_related("asked_by", "decided_by", "customer")
                .filter(pk=approval_id, status=Status.APPROVED)
                .first()
            )
            if approval is None:  # another worker has it
                return False
            error = _effects(approval)
            if error:
                _close(approval, Status.FAILED, error=error[:_LONGEST_ERROR])
            else:
                _close(approval, Status.DONE, done_at=Now())
            return not error
    except (OperationalError, InterfaceError) as error:  # nothing is committed: the clock comes back to it
        log.warning("approval %s is carried out later: %s", approval_id, type(error).__name__)
        return False


def _effects(approval: Approval) -> str:
    """Why it could not be carried out, with nothing of it left; empty when it was."""
    try:
        with transaction.atomic():
            rule = kinds().get(approval.kind)
            if rule is None:
                raise NotPossible("This house knows no such request any more.")
            assert approval.decided_by, "the database lets nothing be approved by nobody"
            for person, right in (
                (approval.asked_by, rule.ask_permission),
                (approval.decided_by, rule.decide_permission),
            ):
                if not _may(person, right):
                    raise NotPossible(f"{person.get_short_name()} lost the role for this in the meantime.")
            rule.check(approval.payload)
            rule.carry_out(approval)
            connection.check_constraints()  # what is only checked at the end would undo the failure's own record
    except NotPossible as error:
        return str(error)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # whatever a kind's own mistake: the request says so and can be asked again
        log.exception("approval %s failed", approval.pk)
        return f"It failed on our side ({type(error).__name__}); nothing of it was done."
    return ""


def _close(approval: Approval, status: Status, **fields: Any) -> None:
    closed = Approval.objects.filter(pk=approval.pk, status=Status.APPROVED).update(status=status, **fields)
    assert closed == 1, "the row was locked"
    after = {"status": status.value, **({"error": fields["error"]} if "error" in fields else {})}
    _note(f"approval.{status.value}", approval, None, before={"status": "approved"}, after=after)


def _may(user: User, right: str) -> bool:
    """Asked of the database anew: a role that was taken away meanwhile counts no more."""
    found = User.objects.filter(pk=user.pk, is_active=True, is_staff=True).first()
    return found is not None and found.has_perm(right)


def _asked_before(kind: str, once: str, *, user: User, payload: dict[str, Any]) -> Approval | None:
    found = Approval.objects.filter(kind=kind, once=once).first() if once else None
    if found is None:
        return None
    if found.asked_by_id != user.pk or found.payload != payload:
        raise NotPossible("This form was sent before with something else in it. Open it anew.")
    _note("approval.repeated", found, user)
    return found


def _call(function: str, *arguments: int | bool | str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}({', '.join(['%s'] * len(arguments))})", arguments)
        return str(cursor.fetchone()[0])


def _refusal(approval: Approval, user: User, outcome: str, *, approve: bool | None = None) -> Refused:
    """The exception for an outcome, after the attempt was written down."""
    _note_for_good(approval, user, outcome, approve=approve)
    match outcome:
        case "own":
            return OwnRequest("You asked for this yourself: a second person decides.")
        case "not_own":
            return NotOwnRequest("Only who asked can withdraw a request.")
        case "expired":
            return Expired("The time to decide is over. It can be asked again.")
        case "asker_left":
            return AskerLeft("Who asked for this is no member of staff any more.")
        case "decided":
            return AlreadyDecided("It was decided or withdrawn meanwhile.")
        case _:
            return NotAllowed("Your role may not decide this.")


def _note(
    action: str,
    approval: Approval,
    actor: User | None,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    about = {"kind": approval.kind, **(after or {})}
    audit.write(
        action, subject=f"approval:{approval.pk}", actor=actor, customer=approval.customer, before=before, after=about
    )


def _note_for_good(approval: Approval, user: User, why: str, *, approve: bool | None) -> None:
    wanted = {True: "approve", False: "decline", None: "withdraw"}[approve]
    audit.write_for_good(
        "approval.refused",
        subject=f"approval:{approval.pk}",
        actor=user,
        customer=approval.customer,
        after={"kind": approval.kind, "wanted": wanted, "why": why},
    )
