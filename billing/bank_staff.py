"""The finance page about our bank: lines of its statement, what each of them is, and the credit of transfers."""

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import approvals, audit
from accounts.access import StaffRequest, staff_required
from accounts.approvals import NotPossible
from accounts.models import Approval
from billing import bank_statement, bank_transfers, tasks
from billing.bank_forms import CreditForm, LineForm, StatementForm
from billing.models import BankLine, BankTransfer, TopUp

_SHOWN = 100


@never_cache
@require_GET
@staff_required("bank_transfers.see")
def bank(request: StaffRequest) -> HttpResponse:
    return _page(request)


@require_POST
@staff_required("bank_transfers.ask")
def enter_file(request: StaffRequest) -> HttpResponse:
    form = StatementForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, file_form=form, status=422)
    return _entered(request, form, form.cleaned_data["file"].name)


@require_POST
@staff_required("bank_transfers.ask")
def enter_line(request: StaffRequest) -> HttpResponse:
    form = LineForm(request.POST)
    if not form.is_valid():
        return _page(request, line_form=form, status=422)
    return _entered(request, form, "")


@never_cache
@require_GET
@staff_required("bank_transfers.see")
def line(request: StaffRequest, line_id: int) -> HttpResponse:
    return _line(request, get_object_or_404(BankLine, pk=line_id))


@require_POST
@staff_required("bank_transfers.ask")
def match(request: StaffRequest, line_id: int) -> HttpResponse:
    """The line is the payout that was chosen."""
    found = get_object_or_404(BankLine, pk=line_id)
    try:
        bank_statement.match_payout(found.pk, request.POST.get("payout", "")[:120], user=request.user)
    except bank_statement.NotThatPayout as error:
        messages.error(request, str(error))
        return redirect("bank_line", line_id)
    audit.write(
        "bank_line.matched",
        subject=f"bank_line:{line_id}",
        actor=request.user,
        after={"payout": request.POST["payout"]},
    )
    tasks.wake(tasks.book_bank_lines)
    messages.success(request, "Matched. The worker books it within seconds.")
    return redirect("bank")


@require_POST
@staff_required("bank_transfers.ask")
def put_aside(request: StaffRequest, line_id: int) -> HttpResponse:
    because = request.POST.get("because", "").strip()
    if not because:
        messages.error(request, "Say what the line is, for whoever looks later.")
        return redirect("bank_line", line_id)
    if bank_statement.ignore(line_id, because, user=request.user):
        audit.write(
            "bank_line.put_aside", subject=f"bank_line:{line_id}", actor=request.user, after={"why": because[:200]}
        )
        messages.success(request, "Put aside: it is not booked here.")
    else:
        messages.info(request, "That line was matched meanwhile.")
    return redirect("bank")


@require_POST
@staff_required("bank_transfers.ask")
def credit(request: StaffRequest, line_id: int) -> HttpResponse:
    """Asks a second person to credit the line to a customer."""
    found, form = get_object_or_404(BankLine, pk=line_id), CreditForm(request.POST)
    if not form.is_valid():
        return _line(request, found, form, status=422)
    try:
        asked = bank_transfers.ask_for_credit(
            line_id=found.pk,
            reference=form.cleaned_data["reference"],
            reason=form.cleaned_data["reason"],
            user=request.user,
            once=str(form.cleaned_data["once"] or ""),
        )
    except (NotPossible, approvals.Refused) as error:
        form.add_error(None, str(error))
        return _line(request, found, form, status=422)
    messages.success(request, "Asked for. A second person decides under Approvals.")
    return redirect("approval", asked.pk)


def _entered(request: StaffRequest, form: StatementForm | LineForm, name: str) -> HttpResponse:
    new = bank_statement.enter(form.entries, user=request.user, file_name=name)
    audit.write(
        "bank_lines.entered",
        subject=name[:120] or "by hand",
        actor=request.user,
        after={"lines": len(form.entries), "new": new},
    )
    tasks.wake(tasks.book_bank_lines)
    known = len(form.entries) - new
    words = f"{new} new {'line' if new == 1 else 'lines'}." + (f" {known} were known already." if known else "")
    messages.success(request, words)
    return redirect("bank")


def _page(
    request: StaffRequest,
    *,
    file_form: StatementForm | None = None,
    line_form: LineForm | None = None,
    status: int = 200,
) -> HttpResponse:
    lines = BankLine.objects.select_related("payout", "top_up__customer")
    open_lines = lines.filter(payout=None, top_up=None, ignored_because="")
    asked = Approval.objects.filter(
        kind=bank_transfers.KIND, status__in=[Approval.Status.ASKED, Approval.Status.APPROVED]
    )
    context = {
        "open_lines": open_lines.order_by("booked_on", "id")[:_SHOWN],
        "asked": {approval.payload["line"]: approval.pk for approval in asked},
        "done": lines.exclude(payout=None, top_up=None, ignored_because="").order_by("-booked_on", "-id")[:_SHOWN],
        "expected": BankTransfer.objects.filter(top_up__status=TopUp.Status.OPEN)
        .select_related("top_up__customer")
        .order_by("created_at")[:_SHOWN],
        "payouts": bank_statement.payouts_on_their_way(),
        "file_form": file_form or StatementForm(),
        "line_form": line_form or LineForm(),
    }
    return render(request, "staff/bank.html", context, status=status)


def _line(request: StaffRequest, found: BankLine, form: CreditForm | None = None, *, status: int = 200) -> HttpResponse:
    is_open = not (found.payout_id or found.top_up_id or found.ignored_because)
    named = list(bank_transfers.find(found.reference)) if is_open and found.amount_cents > 0 else []
    initial = {"once": uuid.uuid4(), "reference": named[0].reference if named else ""}
    context = {
        "line": found,
        "is_open": is_open,
        "payouts": bank_statement.may_be(found) if is_open else [],
        "named": named,
        "form": form or CreditForm(initial=initial),
    }
    return render(request, "staff/bank_line.html", context, status=status)
