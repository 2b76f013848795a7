"""The pages of approvals: what waits for me, what I asked for, what became of the rest; one page a request."""

from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import approvals
from accounts.access import StaffRequest, staff_required
from accounts.models import Approval, AuditEntry

_SHOWN = 100
Status = Approval.Status
LOOKS = {
    Status.ASKED: "wait",
    Status.APPROVED: "live",
    Status.DECLINED: "off",
    Status.EXPIRED: "off",
    Status.WITHDRAWN: "off",
    Status.DONE: "ok",
    Status.FAILED: "bad",
}
STEPS = {
    "approval.asked": ("on", "Asked"),
    "approval.approved": ("on", "Approved"),
    "approval.declined": ("alert", "Declined"),
    "approval.withdrawn": ("alert", "Withdrawn"),
    "approval.expired": ("alert", "Expired"),
    "approval.done": ("on", "Done"),
    "approval.failed": ("alert", "Failed"),
    "approval.refused": ("alert", "Refused"),
    "approval.repeated": ("on", "Sent again"),
}
WHY = {
    "own": "own request",
    "no_right": "role is missing",
    "decided": "decided already",
    "expired": "time was over",
    "asker_left": "who asked is no staff any more",
    "not_own": "not his request",
    "not_staff": "no staff",
}
FINAL = {Status.DECLINED, Status.EXPIRED, Status.WITHDRAWN, Status.FAILED}


class NoteForm(forms.Form):
    """What the decider has to say."""

    note = forms.CharField(label="Note", required=False, max_length=500, widget=forms.Textarea(attrs={"rows": 3}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A request as the list and the page show it."""

    row: Approval
    title: str
    lines: list[tuple[str, str]]
    status: str
    look: str
    over: bool


@never_cache
@require_GET
@staff_required("approvals.open")
def approval_list(request: StaffRequest) -> HttpResponse:
    """Three lists, one at a time: `?show=waiting`, `mine`, `decided`."""
    chosen = request.GET.get("show", "waiting")
    rows = _visible(request)
    match chosen:
        case "mine":
            rows = rows.filter(asked_by=request.user).order_by("-id")
        case "decided":
            rows = rows.exclude(status=Status.ASKED).order_by("-id")
        case _:
            chosen, rows = "waiting", approvals.waiting_for(request.user)
    context = {"chosen": chosen, "lines": [_line(row) for row in rows[:_SHOWN]], "hours": approvals.hours()}
    return render(request, "staff/approvals.html", context)


@never_cache
@require_GET
@staff_required("approvals.open")
def approval(request: StaffRequest, approval_id: int) -> HttpResponse:
    """One request; `?decide=approve`, `decline` or `withdraw` asks for confirmation first."""
    line = _found(request, approval_id)
    row = line.row
    kind = approvals.kinds().get(row.kind)
    open_now = row.status == Status.ASKED and not line.over
    mine = row.asked_by_id == request.user.pk
    decidable = open_now and not mine and kind is not None and request.user.has_perm(kind.decide_permission)
    wanted = request.GET.get("decide", "")
    asked_right = "withdraw" if mine and row.status == Status.ASKED else ""
    context = {
        "line": line,
        "row": row,
        "mine": mine,
        "open": open_now,
        "decidable": decidable,
        "again": kind is not None and row.status in FINAL and request.user.has_perm(kind.ask_permission),
        "steps": _history(row),
        "form": NoteForm(),
        "confirm": wanted if (decidable and wanted in ("approve", "decline")) or wanted == asked_right else "",
    }
    return render(request, "staff/approval.html", context)


@require_POST
@staff_required("approvals.open")
def decide_approval(request: StaffRequest, approval_id: int) -> HttpResponse:
    """`decision` approve or decline, with a note."""
    row = _found(request, approval_id).row
    form = NoteForm(request.POST)
    decision = request.POST.get("decision", "")
    if not form.is_valid() or decision not in ("approve", "decline"):
        messages.error(request, "Nothing was decided: send the form of the page.")
        return redirect("approval", row.pk)
    try:
        approvals.decide(row.pk, request.user, approve=decision == "approve", note=form.cleaned_data["note"])
    except (approvals.Refused, approvals.NotPossible) as error:
        messages.error(request, str(error))
    else:
        done = "Approved. The worker carries it out now" if decision == "approve" else "Declined"
        messages.success(request, done)
    return redirect("approval", row.pk)


@require_POST
@staff_required("approvals.open")
def withdraw_approval(request: StaffRequest, approval_id: int) -> HttpResponse:
    row = _found(request, approval_id).row
    try:
        approvals.withdraw(row.pk, request.user)
    except approvals.Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Withdrawn")
    return redirect("approval", row.pk)


@require_POST
@staff_required("approvals.open")
def ask_again(request: StaffRequest, approval_id: int) -> HttpResponse:
    """The same once more, after it failed, expired, or was declined or withdrawn; a request of its own."""
    row = _found(request, approval_id).row
    if row.status not in FINAL:
        return redirect("approval", row.pk)
    try:
        new = approvals.ask(
            kind=row.kind,
            payload=row.payload,
            reason=row.reason,
            user=request.user,
            customer=row.customer,
            once=f"again:{row.pk}:{request.user.pk}",
        )
    except approvals.NotAllowed:
        raise PermissionDenied(row.kind) from None
    except approvals.NotPossible as error:
        messages.error(request, str(error))
        return redirect("approval", row.pk)
    messages.success(request, "Asked again")
    return redirect("approval", new.pk)


def _visible(request: StaffRequest) -> QuerySet[Approval]:
    """Requests of kinds this person may ask for or decide, and his own; with the audit log all of them."""
    rows = Approval.objects.select_related("asked_by", "decided_by", "customer")
    if request.user.has_perm("audit.see"):
        return rows
    known = approvals.kinds().items()
    names = [
        name
        for name, kind in known
        if request.user.has_perm(kind.ask_permission) or request.user.has_perm(kind.decide_permission)
    ]
    return rows.filter(Q(kind__in=names) | Q(asked_by=request.user))


def _found(request: StaffRequest, approval_id: int) -> Line:
    row = _visible(request).filter(pk=approval_id).first()
    if row is None:
        raise Http404
    return _line(row)


def _line(row: Approval) -> Line:
    kind = approvals.kinds().get(row.kind)
    over = row.status == Status.ASKED and row.expires_at <= timezone.now()
    status = Status.EXPIRED if over else Status(row.status)
    return Line(
        row=row,
        title=kind.title if kind else row.kind,
        lines=kind.describe(row.payload) if kind else [(name, str(value)) for name, value in row.payload.items()],
        status=status.label,
        look=LOOKS[status],
        over=over,
    )


def _history(row: Approval) -> list[dict[str, object]]:
    """Every attempt, refused ones as well, from the audit log."""
    entries = AuditEntry.objects.filter(subject=f"approval:{row.pk}").select_related("actor").order_by("id")
    steps: list[dict[str, object]] = []
    for entry in entries:
        look, word = STEPS.get(entry.action, ("on", entry.action))
        given = str(entry.after.get("error") or entry.after.get("note") or "")
        if entry.action == "approval.refused":
            why = str(entry.after.get("why", ""))
            given = f"{str(entry.after.get('wanted', '')).title()}: {WHY.get(why, why)}"
        steps.append({"look": look, "word": word, "actor": entry.actor, "at": entry.at, "text": given})
    return steps
