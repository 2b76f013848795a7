"""The finance page about the payment provider: the daily tie-out, what is unexplained, payouts, events that failed."""

from datetime import date

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import audit
from accounts.access import StaffRequest, staff_required
from billing import bank_statement, inbox, month_end, tasks
from billing.exports import tie_out_csv
from billing.models import Payout, ProviderCursor, StripeEvent, TieOut
from billing.reconciliation import tie_out

_SHOWN = 50


@never_cache
@require_GET
@staff_required("provider.see")
def provider(request: StaffRequest) -> HttpResponse:
    last = TieOut.objects.order_by("-at").first()
    rows = list(TieOut.objects.filter(at=last.at).order_by("currency")) if last else []
    unexplained, unmatched = tie_out.unexplained(), tie_out.unmatched()
    failed = StripeEvent.objects.filter(handled_at=None).exclude(error="").order_by("received_at")
    on_their_way = {payout.id for payout in bank_statement.payouts_on_their_way()}
    context = {
        "last": last,
        "rows": rows,
        "agrees": all(row.agrees for row in rows),
        "unexplained": unexplained,
        "unmatched": unmatched,
        "overdue": any(not each.young for each in unexplained) or any(not each.young for each in unmatched),
        "payouts": [(payout, payout.id in on_their_way) for payout in Payout.objects.order_by("-created_at")[:_SHOWN]],
        "failed": failed[:_SHOWN],
        "waiting": StripeEvent.objects.filter(handled_at=None).count(),
        "cursors": ProviderCursor.objects.order_by("name"),
        "months": month_end.months(now=timezone.now()),
    }
    return render(request, "staff/provider.html", context)


@require_POST
@staff_required("provider.see")
def try_event_again(request: StaffRequest, event_id: int) -> HttpResponse:
    if inbox.try_again(event_id):
        tasks.wake(tasks.handle_stripe_events)
        messages.success(request, "The event is tried again now.")
    else:
        messages.info(request, "That event was handled meanwhile.")
    return redirect("provider")


@never_cache
@require_GET
@staff_required("books.export")
def tie_out_file(request: StaffRequest, month: date) -> HttpResponseBase:
    if month not in month_end.months(now=timezone.now()):
        raise Http404
    name = f"provider-tie-out-{month:%Y-%m}.csv"
    audit.write("finance.exported", subject=name, actor=request.user)
    start, end = month_end.bounds(month)
    response = StreamingHttpResponse(tie_out_csv.lines(start=start, end=end), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
