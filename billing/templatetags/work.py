"""What kinds of work are called on pages; built into every template."""

from django import template

register = template.Library()

# By what a gateway sends as its job type, which is also what the files and the API say.
_KINDS = {"": "Transcoding", "lv2v": "Live video to video", "live": "Live session", "fixed": "Single job"}


@register.filter
def kind_word(kind: str) -> str:
    """`Live video to video` from `lv2v`."""
    return _KINDS.get(kind, kind)


@register.filter
def work_name(label: str, kind: str) -> str:
    """`{{ charge.label|work_name:charge.kind }}`: what the customer called the work, else its kind."""
    return label or kind_word(kind)
