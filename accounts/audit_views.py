"""The audit log's page for staff: who did what, when, to which thing, before and after."""

from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.access import StaffRequest, staff_required
from accounts.models import AuditEntry

_PAGE = 50


class FilterForm(forms.Form):
    """What to look for; everything is optional."""

    who = forms.CharField(label="Who", required=False, max_length=120)
    what = forms.CharField(label="What", required=False, max_length=120)
    customer = forms.CharField(label="Customer", required=False, max_length=120)
    since = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    before = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)


@never_cache
@require_GET
@staff_required("audit.see")
def audit_log(request: StaffRequest) -> HttpResponse:
    """Fifty entries a page, the newest first; `before` is the last entry of the page before."""
    form = FilterForm(request.GET)
    given = form.cleaned_data if form.is_valid() else {}
    rows = list(_matching(given)[: _PAGE + 1])
    query = request.GET.copy()
    if len(rows) > _PAGE:
        query["before"] = str(rows[_PAGE - 1].pk)
    context = {
        "form": form,
        "entries": [(entry, changes(entry)) for entry in rows[:_PAGE]],
        "older": query.urlencode() if len(rows) > _PAGE else "",
        "filtered": any(given.values()),
    }
    return render(request, "staff/audit_log.html", context, status=422 if form.errors else 200)


def changes(entry: AuditEntry) -> list[tuple[str, str, str]]:
    """Each value that is told, as (name, before, after), empty where there is none."""
    told = {**entry.before, **entry.after}
    names = [name for name in told if (entry.before.get(name), entry.after.get(name)) not in ((None, ""), (None, None))]
    return [(name.replace("_", " "), _text(entry.before.get(name)), _text(entry.after.get(name))) for name in names]


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(_text, value)) or "none"
        case dict():
            return "; ".join(f"{name}: {_text(inner)}" for name, inner in value.items() if inner not in (None, ""))
        case _:
            return str(value)


def _matching(given: dict[str, Any]) -> Any:
    found = AuditEntry.objects.select_related("actor", "customer").order_by("-id")
    if given.get("who"):
        found = found.filter(Q(actor__email__icontains=given["who"]) | Q(actor__name__icontains=given["who"]))
    if given.get("what"):
        found = found.filter(Q(action__icontains=given["what"]) | Q(subject__icontains=given["what"]))
    if given.get("customer"):
        text = given["customer"]
        number = Q(customer_id=int(text)) if text.isascii() and text.isdecimal() and len(text) < 18 else Q()
        found = found.filter(number or Q(customer__name__icontains=text))
    if given.get("since"):
        found = found.filter(at__gte=datetime.combine(given["since"], time.min, UTC))
    if given.get("until"):
        found = found.filter(at__lte=datetime.combine(given["until"], time.max, UTC))
    if given.get("before"):
        found = found.filter(pk__lt=given["before"])
    return found
