"""The finance pages: a month's trial balance, roll-forwards and checks, and the files a controller takes away."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import audit
from accounts.access import StaffRequest, staff_required
from billing import check_books as books
from billing import month_end
from billing.exports import books_bundle, month_bundle
from billing.exports import general_ledger as ledger_csv
from billing.statements import closes_at

_IN_MEMORY_BYTES = 8 * 2**20


@never_cache
@require_GET
@staff_required("books.see")
def finance(request: StaffRequest) -> HttpResponse:
    """The running month, or the one picked in the list."""
    picked = request.GET.get("month", "")
    for candidate in month_end.months(now=timezone.now()):
        if f"{candidate:%Y-%m}" == picked:
            return redirect("finance_month", candidate)
    return _page(request, timezone.now().date().replace(day=1))


@never_cache
@require_GET
@staff_required("books.see")
def month(request: StaffRequest, month: date) -> HttpResponse:
    return _page(request, _known(month))


@require_POST
@staff_required("books.see")
def check_books(request: StaffRequest) -> HttpResponse:
    """Runs every invariant of the money now; answers with the list alone when the page asks for just that."""
    figures = books.invariants()
    context = {"figures": figures, "broken": sum(1 for figure in figures.values() if figure), "at": timezone.now()}
    if request.headers.get("HX-Request"):
        return render(request, "staff/parts/checks.html", context)
    return _page(request, timezone.now().date().replace(day=1), context)


@never_cache
@require_GET
@staff_required("books.export")
def statements(request: StaffRequest, month: date) -> HttpResponseBase:
    """Every customer's statement of the month, as PDF and CSV, with a manifest."""
    return _archive(request, month, month_bundle.write, f"statements-{_known(month):%Y-%m}.zip")


@never_cache
@require_GET
@staff_required("books.export")
def books_archive(request: StaffRequest, month: date) -> HttpResponseBase:
    """General ledger, trial balance and roll-forwards of the month, with a manifest."""
    return _archive(request, month, books_bundle.write, f"books-{_known(month):%Y-%m}.zip")


@never_cache
@require_GET
@staff_required("books.export")
def general_ledger(request: StaffRequest, month: date) -> HttpResponseBase:
    start, end = month_end.bounds(_known(month))
    return _csv(request, f"general-ledger-{month:%Y-%m}.csv", lambda: ledger_csv.lines(start=start, end=end))


@never_cache
@require_GET
@staff_required("books.export")
def trial_balance(request: StaffRequest, month: date) -> HttpResponseBase:
    return _csv(
        request, f"trial-balance-{_known(month):%Y-%m}.csv", lambda: books_bundle.trial_balance(month_end.read(month))
    )


def _known(month: date) -> date:
    """The month, when the books may have something of it; else 404."""
    if month not in month_end.months(now=timezone.now()):
        raise Http404
    return month


def _page(request: StaffRequest, month: date, checks: dict[str, Any] | None = None) -> HttpResponse:
    now = timezone.now()
    months, is_reached = month_end.months(now=now), month_end.is_reached(month, now=now)
    figures = month_end.read(month)
    context = {
        "months": months,
        "month": month,
        "running": month == months[0],
        "closed": is_reached and not figures.liability.unposted_nano_usd,
        "closes_at": closes_at(month),
        "figures": figures,
        "pool_differs": any(pool.difference_wei for pool in figures.pools),
        "checks": checks,
    }
    return render(request, "staff/finance.html", context)


def _archive(
    request: StaffRequest,
    month: date,
    write: Callable[..., dict[str, Any]],
    name: str,
) -> HttpResponseBase:
    now: datetime = timezone.now()
    # The response closes it.
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
    manifest = write(file, month, now=now)
    _remember(request, name, {entry["name"]: entry["sha256"] for entry in manifest["files"]})
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")


def _csv(request: StaffRequest, name: str, lines: Callable[[], Iterator[str]]) -> HttpResponseBase:
    _remember(request, name, {})
    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _remember(request: StaffRequest, name: str, sha256: dict[str, str]) -> None:
    """Who took which file away; with many files the sums stand in the archive's own manifest."""
    after: dict[str, object] = {"files": len(sha256)} if len(sha256) > 10 else {"sha256": sha256}
    audit.write("finance.exported", subject=name, actor=request.user, after=after)
