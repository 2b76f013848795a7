"""The staff page of disputes and fraud warnings: how each stands, what it cost, and the way to its evidence."""

from django.db.models import Count, Sum
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.access import StaffRequest, staff_required
from billing import disputes
from billing.models import Dispute, FraudWarning

_SHOWN = 100
Stage = Dispute.Stage
STATES = {"open": [Stage.NEW, Stage.INQUIRY, Stage.OPEN], "won": [Stage.WON, Stage.CLOSED], "lost": [Stage.LOST]}


@never_cache
@require_GET
@staff_required("risk.see")
def staff_disputes(request: StaffRequest) -> HttpResponse:
    """To be looked at only: answers to banks, holds and write-offs have the account's own page."""
    chosen, account = request.GET.get("show", ""), request.GET.get("account", "")
    rows = Dispute.objects.select_related("customer", "top_up", "evidence_by").order_by("-opened_at")
    warnings = FraudWarning.objects.select_related("customer", "top_up").order_by("-warned_at")
    if chosen in STATES:
        rows = rows.filter(stage__in=STATES[chosen])
    if account.isdecimal() and len(account) < 18:
        rows, warnings = rows.filter(customer_id=int(account)), warnings.filter(customer_id=int(account))
    unanswered = disputes.unanswered()
    sums = Dispute.objects.aggregate(
        withdrawn=Sum("withdrawn_nano_usd", default=0),
        frozen=Sum("frozen_nano_usd", default=0),
        fees=Sum("fee_nano_usd", default=0),
    )
    ended = Dispute.objects.filter(stage__in=[Stage.WON, Stage.LOST]).values_list("stage").annotate(Count("pk"))
    context = {
        "disputes": rows[:_SHOWN],
        "warnings": warnings[:_SHOWN],
        "chosen": chosen if chosen in STATES else "",
        "account": account,
        "soonest": unanswered.first(),
        "unanswered": unanswered.count(),
        "ended": dict(ended),
        **sums,
    }
    return render(request, "staff/disputes.html", context)
