"""The customer's pages of the product: overview, sessions, and the sum behind every payment."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import hold_letters, moments, notices
from accounts.access import CustomerRequest, customer_required
from accounts.models import ApiKey, Customer
from billing import usage
from billing.exports import usage_csv
from billing.usage import Spent
from billing.views import available_nano_usd
from signing import activity, advice, stops
from signing.models import Stop

DAY = timedelta(days=1)
SPANS = {"7d": 7, "30d": 30, "90d": 90}
RANGES = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "all": None}
RANGE_WORDS = {"24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days", "all": "All time"}
PAGE = 25
PAYMENTS_PAGE = 50
_LABELS = 5


@never_cache
@require_GET
@customer_required
def overview(request: CustomerRequest) -> HttpResponse:
    """What is left, how long it lasts and where it goes; the figures and live sessions refresh by themselves."""
    now = timezone.now()
    context = _figures(request, now) | {"live": activity.live_sessions(request.customer.pk, now=now)}
    context["live_minute"] = sum(line.last_minute_nano_usd for line in context["live"])
    context |= {
        "used_before": bool(context["month_payments"]) or usage.charges(request.customer.pk).exists(),
        "has_key": ApiKey.objects.filter(customer=request.customer, revoked_at=None).exists(),
        "signer_url": settings.SIGNER_URL,
    }
    if "HX-Request" in request.headers:
        return render(request, "signing/parts/figures.html", context)
    span = request.GET.get("days", "30d")
    days = SPANS.get(span, 30)
    context |= _spend(request.customer.pk, now.date(), days)
    context |= {
        "trouble": _trouble(request.customer),
        "span": span if span in SPANS else "30d",
        "spans": list(SPANS),
        "redemptions": activity.redemptions(request.customer.pk),
    }
    return render(request, "signing/overview.html", context)


@never_cache
@require_GET
@customer_required
def usage_list(request: CustomerRequest) -> HttpResponse:
    """Sessions, newest first, with what each of them cost."""
    now = timezone.now()
    chosen = request.GET.get("range", "24h")
    chosen = chosen if chosen in RANGES else "24h"
    span = RANGES[chosen]
    key = _chosen_key(request)
    lines = activity.sessions(
        request.customer.pk,
        now=now,
        since=now - span if span else None,
        api_key_id=key.pk if key else None,
        before=_cursor(request.GET.get("before", "")),
        limit=PAGE + 1,
    )
    shown = lines[:PAGE]
    filters = {"range": chosen, "key": key.prefix if key else ""}
    older = ""
    if len(lines) > PAGE:
        last = shown[-1].session
        older = "?" + urlencode({**filters, "before": f"{last.opened_at.isoformat()} {last.id}"})
    refusals = activity.refusals(request.customer.pk, since=now - DAY)
    context = {
        "lines": shown,
        "older": older,
        "first_page": "before" not in request.GET,
        "chosen": chosen,
        "key": key,
        "keys": ApiKey.objects.filter(customer=request.customer).order_by("name", "id"),
        "ranges": RANGE_WORDS,
        "csv": urlencode(filters),
        "refusals": refusals,
        "charged_anew": any(refusal.code == activity.CHARGED_ANEW for refusal in refusals),
    }
    if "HX-Request" in request.headers:
        return render(request, "signing/parts/sessions.html", context)
    if chosen == "24h":
        context |= _hours(request.customer.pk, now)
    else:
        context |= _spend(request.customer.pk, now.date(), SPANS.get(chosen, 90))
    return render(request, "signing/usage.html", context)


@never_cache
@require_GET
@customer_required
def usage_session(request: CustomerRequest, session_id: uuid.UUID) -> HttpResponse:
    """One session: its terms, its sums, its payments and its redeemed tickets."""
    now = timezone.now()
    line = activity.session(request.customer.pk, session_id, now=now)
    if line is None:
        raise Http404
    before = request.GET.get("before", "")
    payments = activity.payments(
        request.customer.pk,
        session_id,
        before_id=int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None,
        limit=PAYMENTS_PAGE + 1,
    )
    context = {
        "line": line,
        "payments": payments[:PAYMENTS_PAGE],
        "older": payments[PAYMENTS_PAGE - 1].charge.id if len(payments) > PAYMENTS_PAGE else None,
        "first_page": not before,
        "redemptions": activity.redemptions_of(request.customer.pk, session_id),
        "advice": advice.of_pair(request.customer.pk, line.session.orchestrator),
    }
    if "HX-Request" in request.headers:
        return render(request, "signing/parts/session.html", context)
    return render(request, "signing/session.html", context)


@never_cache
@require_GET
@customer_required
def usage_payment(request: CustomerRequest, session_id: uuid.UUID, charge_id: int) -> HttpResponse:
    """Why a payment cost what it cost; a drawer over the session, or a page of its own without scripts."""
    line = activity.payment(request.customer.pk, session_id, charge_id)
    if line is None:
        raise Http404
    now_round = activity.current_round()
    context = {
        "line": line,
        "expired": now_round is not None and now_round > line.last_round,
        "rand_hash": "0x" + bytes(line.payment.recipient_rand_hash).hex(),
        "last_nonce": line.payment.first_nonce + line.payment.tickets - 1,
    }
    in_drawer = "HX-Request" in request.headers
    return render(request, "signing/parts/payment.html" if in_drawer else "signing/payment.html", context)


@never_cache
@require_GET
@customer_required
def usage_as_csv(request: CustomerRequest) -> HttpResponseBase:
    """Every payment of the chosen time and key, one line each."""
    span = RANGES.get(request.GET.get("range", "24h"), DAY)
    key = _chosen_key(request)
    charges = usage.charges(
        request.customer.pk,
        since=timezone.now() - span if span else None,
        api_key_id=key.pk if key else None,
    )
    answer = StreamingHttpResponse(
        usage_csv.lines(charges.iterator(chunk_size=2_000)), content_type="text/csv; charset=utf-8"
    )
    answer.headers["Content-Disposition"] = 'attachment; filename="usage.csv"'
    return answer


def _trouble(customer: Customer) -> tuple[str, str] | None:
    """Why no payment is signed, as a title and a text; None when nothing of ours is in the way."""
    if customer.status != Customer.Status.ACTIVE:
        return f"This account is {customer.get_status_display().lower()}", hold_letters.why_frozen(customer)
    stop = stops.first_of_customer(customer.pk)
    if stop is None:
        return None
    whose = "no payment is signed here" if stop.scope == Stop.Scope.ALL else "no payment of this account is signed"
    since = moments.minute(stop.set_at.astimezone(UTC))
    # Gateways end what was refused for good (402), and ask again where the shortage is ours (503).
    then = "Gateways that ask again go on by themselves."
    if stop.scope == Stop.Scope.CUSTOMER:
        then = "Start your gateways again once it is over."
    text = f"Since {since} UTC {whose}. Your balance and your pages stay. {then}"
    return "Payments are stopped", " ".join([text, *notices.whom_to_ask(customer)])


def _figures(request: CustomerRequest, now: datetime) -> dict[str, Any]:
    customer_id, today = request.customer.pk, now.date()
    available = available_nano_usd(request.customer)
    burn = usage.burn(customer_id, now=now)
    lasts = burn.lasts(available) if burn else None
    nothing = Spent(payments=0, charge_nano_usd=0)
    first = min(today.replace(day=1), today - DAY)
    days = usage.by_day(customer_id, first=first, end=today + DAY)
    return {
        "available": available,
        "burn": burn,
        "lasts": lasts,
        "empty_at": now + lasts if lasts else None,
        "lasts_days": min(30, lasts.days) if lasts else 0,
        "today": days.get(today, nothing),
        "yesterday": days.get(today - DAY, nothing),
        "month": today,
        "month_spent": sum(spent.charge_nano_usd for day, spent in days.items() if day >= today.replace(day=1)),
        "month_payments": sum(spent.payments for day, spent in days.items() if day >= today.replace(day=1)),
    }


def _spend(customer_id: int, today: date, days: int) -> dict[str, Any]:
    """The chart of the last days, the running one marked, and where it went."""
    first = today - (days - 1) * DAY
    spent = usage.by_day(customer_id, first=first, end=today + DAY)
    column = [first + n * DAY for n in range(days)]
    amounts = [spent[day].charge_nano_usd if day in spent else 0 for day in column]
    labels = usage.by_label(customer_id, first=first, end=today + DAY)
    return {
        "days": days,
        "spend_total": sum(amounts),
        "spend_payments": sum(sum_.payments for sum_ in spent.values()),
        "spend_rows": list(zip(column, amounts, strict=True))[::-1],
        "spend_chart": _bars([datetime(day.year, day.month, day.day, tzinfo=UTC) for day in column], amounts, "day"),
        "labels": labels[:_LABELS],
        "labels_rest": sum(sum_.charge_nano_usd for _, _, sum_ in labels[_LABELS:]),
    }


def _hours(customer_id: int, now: datetime) -> dict[str, Any]:
    """The chart of the last 24 hours."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    column = [this_hour - timedelta(hours=23 - n) for n in range(24)]
    spent = usage.by_hour(customer_id, since=column[0], until=now)
    amounts = [spent[hour].charge_nano_usd if hour in spent else 0 for hour in column]
    return {
        "spend_total": sum(amounts),
        "spend_payments": sum(sum_.payments for sum_ in spent.values()),
        "spend_rows": list(zip(column, amounts, strict=True))[::-1],
        "spend_chart": _bars(column, amounts, "hour"),
    }


def _bars(column: list[datetime], amounts: list[int], time: str) -> dict[str, Any]:
    return {
        "x": [int(at.timestamp()) for at in column],
        "y": [amounts],
        "unit": "usd",
        "time": time,
        "part": 1,
        "read": "read-spend",
    }


def _chosen_key(request: CustomerRequest) -> ApiKey | None:
    prefix = request.GET.get("key", "")
    return ApiKey.objects.filter(customer=request.customer, prefix=prefix).first() if prefix else None


def _cursor(text: str) -> tuple[datetime, uuid.UUID] | None:
    """`<opened at> <id>` of the last session of the page before."""
    at, _, session_id = text.rpartition(" ")
    try:
        opened = parse_datetime(at)
        return (opened, uuid.UUID(session_id)) if opened and opened.tzinfo else None
    except ValueError:
        return None
