"""The tag that tells staff, on top of their overviews, what of the customers' money needs a person."""

from typing import Any

from django import template

from billing import attention

register = template.Library()


@register.inclusion_tag("staff/parts/attention.html", takes_context=True)
def attention_lines(context: dict[str, Any]) -> dict[str, Any]:
    """`{% attention_lines %}`: nothing where nothing waits for who looks."""
    return {"lines": attention.of(context["request"].user)}


@register.simple_tag(takes_context=True)
def attention_of(context: dict[str, Any]) -> list[attention.Line]:
    """`{% attention_of as lines %}`: the same for a page with a look of its own."""
    return attention.of(context["request"].user)
