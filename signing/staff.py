"""The treasury page: how the pooled money stands, how long it lasts, and the form that funds it."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import audit, moments
from accounts.access import StaffRequest, staff_required
from accounts.models import User
from signing import advice
from signing.models import ChainEvent, TreasuryTransaction
from signing.pm.wire import checksum_address
from signing.staff_forms import ApprovalForm, FundingForm, eth_in_full
from signing.treasury import alerts, funding, overview
from signing.treasury.overview import Overview

Status = TreasuryTransaction.Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One line of a request's timeline; `look` is the class of its sign."""

    look: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A funding request with its timeline."""

    row: TreasuryTransaction
    steps: list[Step]
    unfinished: bool

    @property
    def total_wei(self) -> int:
        return self.row.deposit_wei + self.row.reserve_wei


@never_cache
@require_GET
@staff_required("treasury.see")
def treasury(request: StaffRequest) -> HttpResponse:
    """The page of one sender; with amounts in the query also the request those would make, to be confirmed."""
    if "deposit" not in request.GET and "reserve" not in request.GET:
        return _page(request)
    spendable_wei = overview.spendable_wei(overview.latest_snapshot())
    form = FundingForm(request.GET, spendable_wei=spendable_wei)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    typed = {name: request.GET.get(name, "") for name in form.fields}
    initial = {"request_id": uuid.uuid4(), "sender": request.GET.get("sender", ""), **typed}
    approval = ApprovalForm(initial=initial, spendable_wei=spendable_wei, senders=overview.senders())
    return _page(request, form=form, approval=approval, amounts=form.cleaned_data)


@require_POST
@staff_required("treasury.fund")
def fund(request: StaffRequest) -> HttpResponse:
    """Writes the request down, once however often its form is sent; the treasury worker does the rest."""
    known = _requested(request.POST.get("request_id", ""))
    if known is not None:
        return _done(request, known)
    spendable_wei = overview.spendable_wei(overview.latest_snapshot())
    form = ApprovalForm(request.POST, spendable_wei=spendable_wei, senders=overview.senders())
    if not form.is_valid():
        return _page(request, form=form, approval=form, amounts=form.cleaned_data, status=422)
    try:
        row = _write(form.cleaned_data, request.user)
    except IntegrityError:  # the other half of a double click was first
        row = TreasuryTransaction.objects.get(id=form.cleaned_data["request_id"])
    return _done(request, row)


@never_cache
@require_GET
@staff_required("treasury.see")
def funding_requests(request: StaffRequest) -> HttpResponse:
    """The list of requests alone, for the page to ask again while one is under way."""
    return render(request, "staff/parts/requests.html", {"requests": _requests()})


@never_cache
@require_GET
@staff_required("treasury.see")
def figures(request: StaffRequest) -> HttpResponse:
    """The strip of figures alone."""
    view = overview.read(now=timezone.now(), address=request.GET.get("sender", ""))
    if view is None:
        return HttpResponse(status=204)
    return render(request, "staff/parts/figures.html", {"view": view})


def _write(cleaned: dict[str, Any], user: User) -> TreasuryTransaction:
    """Raises IntegrityError when this request was written before."""
    with transaction.atomic():
        row = funding.request(
            request_id=cleaned["request_id"],
            sender=cleaned["sender"],
            deposit_wei=cleaned["deposit"],
            reserve_wei=cleaned["reserve"],
            user=user,
        )
        audit.write(
            "treasury.funding_requested",
            subject=f"treasury_transaction:{row.pk}",
            actor=user,
            after={"sender": row.sender, "deposit_wei": str(row.deposit_wei), "reserve_wei": str(row.reserve_wei)},
        )
    return row


def _requested(request_id: str) -> TreasuryTransaction | None:
    try:
        return TreasuryTransaction.objects.filter(id=uuid.UUID(request_id)).first()
    except ValueError:
        return None


def _done(request: StaffRequest, row: TreasuryTransaction) -> HttpResponse:
    if row.requested_by_id != request.user.pk:
        raise PermissionDenied
    messages.success(request, f"Requested {eth_in_full(row.deposit_wei + row.reserve_wei)}")
    return redirect("treasury")


def _page(
    request: StaffRequest,
    *,
    form: FundingForm | None = None,
    approval: ApprovalForm | None = None,
    amounts: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    views = overview.read_all(now=timezone.now())
    if not views:
        return render(request, "staff/treasury_empty.html", {"sender": overview.sender()}, status=status)
    wanted = (request.POST if request.method == "POST" else request.GET).get("sender", "").lower()
    view = next((view for view in views if view.snapshot.sender == wanted), views[0])
    address = view.snapshot.sender
    spendable_wei = overview.spendable_wei(view.snapshot)
    context: dict[str, Any] = {
        "view": view,
        "views": views,
        "sender": checksum_address(bytes.fromhex(address[2:])),
        "alerts": alerts.of(views),
        "chart": overview.chart(view),
        "form": form or FundingForm(spendable_wei=spendable_wei),
        "spendable": eth_in_full(spendable_wei),
        "multiplier": settings.DEPOSIT_MULTIPLIER,
        "largest_of_all": settings.MAX_FACE_VALUE_WEI,
        "requests": _requests(),
        "redemptions": overview.redemptions(address),
        "advice": advice.of_all(),
        "events": [(event, _moved(event)) for event in overview.events(address)],
    }
    if approval is not None and amounts and {"deposit", "reserve"} <= amounts.keys():
        context |= {"approval": approval, **_plan(view, amounts["deposit"], amounts["reserve"])}
    return render(request, "staff/treasury.html", context, status=status)


def _plan(view: Overview, deposit_wei: int, reserve_wei: int) -> dict[str, Any]:
    """What the confirmation shows: the amounts, and where things stand afterwards."""
    total_wei = deposit_wei + reserve_wei
    return {
        "plan": {
            "total": view.worth(total_wei),
            "total_in_full": eth_in_full(total_wei),
            "deposit_in_full": eth_in_full(deposit_wei),
            "reserve_in_full": eth_in_full(reserve_wei),
            "deposit_after_wei": view.snapshot.deposit_wei + deposit_wei,
            "reserve_after_wei": view.snapshot.reserve_wei + reserve_wei,
            "treasury_after_wei": view.snapshot.treasury_wei - total_wei,
        }
    }


def _requests() -> list[Request]:
    return [
        Request(row=row, steps=_steps(row), unfinished=row.status in overview.UNFINISHED) for row in overview.requests()
    ]


def _steps(row: TreasuryTransaction) -> list[Step]:
    """Requested, signed, sent, confirmed; or where it failed. Times are known of the first and of the last."""
    by = row.requested_by.get_short_name()
    steps = [Step(look="on", title=f"Requested by {by}", text=moments.exact(row.requested_at))]
    if row.status == Status.FAILED:
        title = "Failed" if row.block_number is None else f"Failed in block {row.block_number:,}"
        return [*steps, Step(look="alert", title=title, text=row.error or "The transaction was reverted.")]
    reached = [Status.REQUESTED, Status.SIGNED, Status.SENT, Status.CONFIRMED].index(Status(row.status))
    words = [
        ("Signed", "By the treasury worker, a few seconds after the request"),
        ("Sent", row.error or "To the network; the same bytes again until they are mined"),
        ("Confirmed", f"Block {row.block_number:,}" if row.block_number is not None else "Usually within a minute"),
    ]
    for number, (title, text) in enumerate(words, start=1):
        look = "on" if number <= reached else "next" if number == reached + 1 else ""
        steps.append(Step(look=look, title=title, text=text))
    return steps


def _moved(event: ChainEvent) -> int | None:
    """The ether an event speaks of, where it moved any."""
    given = event.arguments
    if event.name == "Withdrawal":
        return int(given["deposit"]) + int(given["reserve"])
    return int(given["amount"]) if "amount" in given else None
