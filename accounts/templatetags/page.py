"""The small parts every page is built from: icons, status words, fields, copy buttons, times and charts."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.forms import BoundField, Field
from django.utils import timezone
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString, mark_safe

from accounts import moments

register = template.Library()

EMPTY = "–"
REQUIRED = "Must be filled in."


@register.simple_tag
def icon(name: str, *, small: bool = False) -> SafeString:
    """`{% icon "home" %}`; names are the symbols of templates/parts/icons.html."""
    return format_html(
        '<svg class="ic{}" viewBox="0 0 20 20" aria-hidden="true"><use href="#i-{}"/></svg>',
        " ic--s" if small else "",
        name,
    )


@register.simple_tag
def mark() -> SafeString:
    """The brand's sign."""
    return mark_safe(
        '<svg viewBox="0 0 24 24" aria-hidden="true"><rect width="24" height="24" rx="6" fill="currentColor"/>'
        '<path d="M7 8.5h10M7 12h6.5M7 15.5h10" fill="none" stroke-width="2" stroke-linecap="round"/>'
        '<circle cx="16.6" cy="12" r="1.3"/></svg>'
    )


@register.simple_tag
def copy(value: object, what: str = "address") -> SafeString:
    """`{% copy value "session id" %}`: a button that copies `value`."""
    return format_html(
        '<button class="copy" type="button" data-copy="{}" aria-label="Copy {}">{}</button>',
        value,
        what,
        icon("copy", small=True),
    )


@register.simple_tag
def status(kind: str, word: str) -> SafeString:
    """`{% status "ok" "Active" %}`; kinds: live, ok, wait, warn, bad, off."""
    return format_html('<span class="st st--{}">{}</span>', kind, word)


@register.simple_tag
def error(identifier: str, text: object) -> SafeString:
    """The line under a field that says what is wrong and what would be right."""
    return format_html('<p class="err" id="{}">{}<span>{}</span></p>', identifier, icon("bad", small=True), text)


@register.inclusion_tag("parts/field.html")
def field(
    bound: BoundField,
    hint: str | None = None,
    *,
    before: str = "",
    after: str = "",
    label: str = "",
    aside: str = "",
    aside_href: str = "",
    **attributes: Any,
) -> dict[str, Any]:
    """`{% field form.email hint="..." before="$" %}`: label, input, hint and errors, tied together for readers.

    Further keywords become attributes of the input, with `_` for `-`.
    """
    identifier = bound.auto_id
    hint = str(bound.help_text) if hint is None else hint
    described = [f"{identifier}-hint"] if hint else []
    described += [f"{identifier}-error"] if bound.errors else []
    given = {name.replace("_", "-"): value for name, value in attributes.items()}
    kind = getattr(bound.field.widget, "input_type", "")
    # A field that says nothing of its own when it is empty says the same everywhere.
    silent = bound.field.error_messages["required"] is Field.default_error_messages["required"]
    errors = [
        text if error.code != "required" or not silent else REQUIRED
        for error, text in zip(bound.errors.as_data(), bound.errors, strict=True)
    ]
    attrs = {"class": "input", **given} if kind != "checkbox" else given
    # Django would add its own reference to help text and errors; this one names the elements that exist here.
    attrs["aria-describedby"] = " ".join(described) if described else None
    if bound.errors:
        attrs["aria-invalid"] = "true"
    return {
        "field": bound,
        "input": bound.as_widget(attrs={name: value for name, value in attrs.items() if value is not None}),
        "kind": kind,
        "label": label or bound.label,
        "hint": hint,
        "errors": errors,
        "before": before,
        "after": after,
        "aside": aside,
        "aside_href": aside_href,
    }


@register.inclusion_tag("parts/plot.html")
def plot(kind: str, spec: dict[str, Any], label: str, size: str = "") -> dict[str, Any]:
    """`{% plot "bars" spec "Bar chart: ..." "plot--low" %}`: a chart, with `label` as its summary in words.

    `spec`: x (unix seconds), y (rows of whole nano-dollars or wei), unit ("usd", "eth", "count"), and
    optionally part, read (id of the sentence above), time ("hour"), colors, marks, labels, max.
    Needs `{% block scripts %}{% include "parts/charts.html" %}{% endblock %}` on the page.
    """
    data = json_script({"kind": kind, **spec})
    return {"kind": kind, "data": data, "label": label, "size": size}


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


def _time(at: datetime, words: str) -> SafeString:
    at = _utc(at)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        moments.exact(at),
        words,
    )


@register.filter
def ago(at: datetime | None) -> SafeString | str:
    """`42 min ago`, or the date when it is older than a day; the exact time on hover."""
    return _time(at, moments.ago(_utc(at), now=timezone.now())) if at else EMPTY


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """`14 Nov 2026, 17:40`"""
    return _time(at, moments.minute(_utc(at))) if at else EMPTY


@register.filter
def clock(at: datetime | None) -> SafeString | str:
    """`14:02:06.290`"""
    return _time(at, moments.clock(_utc(at))) if at else EMPTY


@register.filter
def day(at: datetime | None) -> SafeString | str:
    """`14 Nov 2026`"""
    return _time(at, moments.day(_utc(at))) if at else EMPTY


@register.filter
def duration(span: timedelta | int | None) -> str:
    """`2 h 14 m` from a timedelta or whole seconds."""
    if span is None:
        return EMPTY
    return moments.duration(span if isinstance(span, timedelta) else timedelta(seconds=span))


@register.filter
def forecast(span: timedelta | None) -> str:
    """`12 days` or `40 h`: how long something lasts at its pace."""
    return EMPTY if span is None else moments.forecast(span)


@register.filter
def count(number: int | None) -> str:
    """`36,102,114`"""
    return EMPTY if number is None else f"{number:,}"


@register.filter
def initials(name: str) -> str:
    """`EG` from `Example Gateway`, at most two letters."""
    words = [word for word in name.replace("@", " ").split() if word[0].isalnum()]
    letters = [word[0] for word in words[:2]] or ["?"]
    return "".join(letters).upper()
