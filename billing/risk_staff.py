"""The staff pages of risk: accounts by the weight of their signs, and one account with what can be done."""

import uuid
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import approvals, audit, customers, holds
from accounts.access import StaffRequest, need, staff_required
from accounts.models import Approval, AuditEntry, Customer, Hold, TermsAcceptance
from billing import disputes, fraud, refund_approvals, refunds, stripe_gateway
from billing.models import Dispute, FraudSignal, Refund, Wallet

_SHOWN = 100


class ReasonForm(forms.Form):
    """Why somebody does it; colleagues read it for years."""

    reason = forms.CharField(
        label="Why",
        max_length=300,
        error_messages={"required": "Say why, for whoever reads it next year."},
    )


class AnswerForm(forms.Form):
    """What the bank is told."""

    reason = forms.CharField(
        label="Answer to the bank",
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 8}),
        error_messages={"required": "Say what was used, when, and why the payment was rightful."},
    )


# What can be done on an account's page: its title, what it means, the word of its button, and the right it needs.
ACTS: dict[str, tuple[str, str, str, str]] = {
    "hold": ("Hold this account", "Within two seconds none of its payments is signed.", "Hold", "holds.place"),
    "lift": ("Lift the hold", "With the last hold its payments are signed again.", "Lift", "holds.lift"),
    "dismiss": ("Dismiss the sign", "It stays listed and weighs nothing any more.", "Dismiss", "holds.lift"),
    "note": ("Write a note", "It stays with the account and cannot be changed.", "Keep", "risk.see"),
    "close": ("Close this account", "Nothing is signed or paid in until it is opened again.", "Close", "holds.lift"),
    "reopen": ("Open this account again", "It is frozen as long as a hold stands.", "Open", "holds.lift"),
    "approve": ("Ask a second person", "The refund is sent once somebody else has approved it.", "Ask", "refunds.ask"),
    "stop": ("Stop the refund", "What was not sent goes back into the wallet.", "Stop", "refunds.decide"),
    "answer": (
        "Answer the bank",
        "What you write here is handed in for good; there is one answer only.",
        "Hand in",
        "holds.lift",
    ),
    "write_off": (
        "Give the debt up",
        "A second person has to approve it. It becomes a loss, and the account stays frozen.",
        "Ask",
        "adjustments.ask",
    ),
}


@never_cache
@require_GET
@staff_required("risk.see")
def risk_page(request: StaffRequest) -> HttpResponse:
    """Accounts with signs, holds or debts, the heaviest first; refunds that wait; disputes that want an answer."""
    wanted = request.GET.get("q", "").strip()
    held = Exists(Hold.objects.filter(customer=OuterRef("pk"), lifted_at=None))
    counted = Q(fraud_signals__dismissed_at=None)
    rows = Customer.objects.annotate(score=Sum("fraud_signals__score", filter=counted), held=held)
    rows = rows.annotate(signs=Count("fraud_signals", filter=counted)).select_related("wallet")
    if wanted:
        by_number = Q(pk=int(wanted)) if wanted.isdecimal() and len(wanted) < 18 else Q()
        rows = rows.filter(by_number | Q(name__icontains=wanted) | Q(members__email__iexact=wanted)).distinct()
    else:
        rows = rows.filter(Q(score__gt=0) | Q(held=True) | Q(wallet__debt_nano_usd__gt=0))
    found = list(rows.order_by("-held", "-score", "name")[:_SHOWN])
    reasons: dict[int, list[FraudSignal]] = {}
    for sign in FraudSignal.objects.filter(customer__in=found, dismissed_at=None).order_by("-score", "-id"):
        reasons.setdefault(sign.customer_id, []).append(sign)
    waiting = [
        refund
        for refund in Refund.objects.filter(status=Refund.Status.REQUESTED, approved_at=None, stopped_at=None)
        .select_related("customer")
        .order_by("created_at")[:_SHOWN]
        if refunds.needs_second_person(refund)
    ]
    open_disputes = Dispute.objects.filter(stage__in=[Dispute.Stage.OPEN, Dispute.Stage.INQUIRY])
    context = {
        "accounts": [(customer, reasons.get(customer.pk, [])[:3]) for customer in found],
        "wanted": wanted,
        "waiting": waiting,
        "disputes": open_disputes.select_related("customer", "top_up").order_by("evidence_due_at")[:_SHOWN],
    }
    return render(request, "staff/risk.html", context)


@never_cache
@require_GET
@staff_required("risk.see")
def risk_account(request: StaffRequest, customer_id: int) -> HttpResponse:
    return _page(request, get_object_or_404(Customer, pk=customer_id))


@require_POST
@staff_required("risk.see")
def act_on_risk(request: StaffRequest, customer_id: int, act: str) -> HttpResponse:
    """Does one thing of ACTS, with its reason; each is in the audit log."""
    customer = get_object_or_404(Customer, pk=customer_id)
    if act not in ACTS:
        raise PermissionDenied
    need(request.user, ACTS[act][3])
    form = AnswerForm(request.POST) if act == "answer" else ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, customer, act=act, form=form)
    try:
        said = _DO[act](request, customer, form.cleaned_data["reason"].strip())
    except (approvals.NotPossible, refunds.NotPossible) as error:
        form.add_error(None, str(error))
        return _page(request, customer, act=act, form=form)
    except approvals.NotAllowed:
        raise PermissionDenied from None
    except (stripe_gateway.Unavailable, stripe_gateway.Refused, stripe_gateway.NotConfigured):
        form.add_error(None, "The payment provider did not take it. Try again later.")
        return _page(request, customer, act=act, form=form)
    messages.success(request, said)
    return redirect("risk_account", customer.pk)


def _hold(request: StaffRequest, customer: Customer, reason: str) -> str:
    reference = f"staff:{request.POST.get('once') or uuid.uuid4()}"
    holds.place(customer=customer, code=Hold.Code.STAFF, reference=reference, reason=reason, user=request.user)
    return "Held. Its payments stop within two seconds"


def _lift(request: StaffRequest, customer: Customer, reason: str) -> str:
    hold = get_object_or_404(Hold, pk=_number(request), customer=customer)
    lifted = holds.lift(hold, reason=reason, user=request.user)
    return "Hold lifted" if lifted else "Somebody had lifted it already"


def _dismiss(request: StaffRequest, customer: Customer, reason: str) -> str:
    sign = get_object_or_404(FraudSignal, pk=_number(request), customer=customer)
    if fraud.dismiss(sign, user=request.user, reason=reason):
        subject = f"fraud_signal:{sign.pk}"
        after = {"reason": reason}
        audit.write("fraud_signal.dismissed", subject=subject, actor=request.user, customer=customer, after=after)
    return "Dismissed"


def _note(request: StaffRequest, customer: Customer, reason: str) -> str:
    subject = f"customer:{customer.pk}"
    audit.write("risk.noted", subject=subject, actor=request.user, customer=customer, after={"note": reason})
    return "Note kept"


def _close(request: StaffRequest, customer: Customer, reason: str) -> str:
    customers.close(customer, user=request.user, reason=reason)
    return "Account closed"


def _reopen(request: StaffRequest, customer: Customer, reason: str) -> str:
    customers.reopen(customer, user=request.user, reason=reason)
    return "Account open again"


def _approve(request: StaffRequest, customer: Customer, reason: str) -> str:
    refund = get_object_or_404(Refund, pk=_uuid(request), customer=customer)
    approvals.ask(
        kind=refund_approvals.REFUND,
        payload={"refund": str(refund.pk)},
        reason=reason,
        user=request.user,
        customer=customer,
        once=request.POST.get("once", "")[:120],
    )
    return "Asked. The refund is sent once a second person has approved it"


def _stop(request: StaffRequest, customer: Customer, reason: str) -> str:
    refund = get_object_or_404(Refund, pk=_uuid(request), customer=customer)
    if not refunds.stop(refund, user=request.user, reason=reason):
        raise refunds.NotPossible("Nothing of this refund waits any more.")
    subject = f"refund:{refund.pk}"
    audit.write("refund.stopped", subject=subject, actor=request.user, customer=customer, after={"reason": reason})
    return "Stopped. What was not sent goes back into the wallet within seconds"


def _answer(request: StaffRequest, customer: Customer, reason: str) -> str:
    dispute = get_object_or_404(Dispute, pk=_number(request), customer=customer, evidence_sent_at=None)
    disputes.submit_evidence(dispute, text=reason, user=request.user)
    subject = f"dispute:{dispute.provider_id}"
    audit.write("dispute.answered", subject=subject, actor=request.user, customer=customer, after={"text": reason})
    return "Handed in"


def _write_off(request: StaffRequest, customer: Customer, reason: str) -> str:
    wallet = Wallet.objects.filter(customer=customer).first()
    approvals.ask(
        kind=refund_approvals.WRITE_OFF,
        payload={"customer": customer.pk, "amount_nano_usd": wallet.debt_nano_usd if wallet else 0},
        reason=reason,
        user=request.user,
        customer=customer,
        once=request.POST.get("once", "")[:120],
    )
    return "Asked. The debt is given up once a second person has approved it"


_DO: dict[str, Callable[[StaffRequest, Customer, str], str]] = {
    "hold": _hold,
    "lift": _lift,
    "dismiss": _dismiss,
    "note": _note,
    "close": _close,
    "reopen": _reopen,
    "approve": _approve,
    "stop": _stop,
    "answer": _answer,
    "write_off": _write_off,
}


def _page(request: StaffRequest, customer: Customer, *, act: str = "", form: forms.Form | None = None) -> HttpResponse:
    """The account; with an act, or `?act=lift&subject=7`, the question why."""
    act = act or request.GET.get("act", "")
    asked = ACTS.get(act)
    subject = request.POST.get("subject") or request.GET.get("subject", "")
    wallet = Wallet.objects.filter(customer=customer).first()
    rows = customer.refunds.prefetch_related("parts__top_up").order_by("-created_at")[:_SHOWN]
    asked_for = set(
        Approval.objects.filter(
            kind=refund_approvals.REFUND, customer=customer, status__in=["asked", "approved"]
        ).values_list("payload__refund", flat=True)
    )
    members = customer.memberships.select_related("user").order_by("id")
    notes = AuditEntry.objects.filter(customer=customer, action="risk.noted")
    context: dict[str, Any] = {
        "customer": customer,
        "score": fraud.score(customer),
        "wallet": wallet,
        "members": members,
        "terms": TermsAcceptance.objects.filter(user__customers=customer).select_related("user").order_by("-at")[:5],
        "holds": Hold.objects.filter(customer=customer).select_related("placed_by", "lifted_by").order_by("-id"),
        "signs": customer.fraud_signals.select_related("dismissed_by").order_by("-id")[:_SHOWN],
        "disputes": customer.disputes.select_related("top_up").order_by("-opened_at")[:_SHOWN],
        "refunds": [(refund, refunds.needs_second_person(refund), str(refund.pk) in asked_for) for refund in rows],
        "notes": notes.select_related("actor").order_by("-id"),
        "act": act if asked and request.user.has_perm(asked[3]) else "",
        "asked": asked,
        "subject": subject,
        "once": uuid.uuid4(),
        "form": form or (AnswerForm() if act == "answer" else ReasonForm()),
    }
    return render(request, "staff/risk_account.html", context, status=422 if form else 200)


def _number(request: StaffRequest) -> int:
    text = request.POST.get("subject", "")
    return int(text) if text.isdecimal() and len(text) < 18 else 0


def _uuid(request: StaffRequest) -> uuid.UUID:
    try:
        return uuid.UUID(request.POST.get("subject", ""))
    except ValueError:
        return uuid.UUID(int=0)
