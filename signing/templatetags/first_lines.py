"""The tag of the page of API keys that tells how to begin."""

from django import template
from django.conf import settings

from signing import first_lines as lines
from signing.discovery import prices

register = template.Library()


@register.simple_tag
def first_lines() -> list[lines.Lines]:
    """`{% first_lines as all %}`, with a model that some orchestrator offers now."""
    offered = {name for entry in prices.entries(prices.latest_rate()) for name in entry.names}
    return lines.for_signer(settings.SIGNER_URL, offered)
