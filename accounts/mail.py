"""Mails: one letter, written once and sent as text and as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What a mail says: `subject` is the fact, `action` one button (words, URL), `why` the reason it came."""

    subject: str
    paragraphs: list[str]
    action: tuple[str, str] | None = None
    small: list[str] = field(default_factory=list)
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class File:
    """Something that comes with a letter."""

    name: str
    content: bytes
    media_type: str


def render(
    letter: Letter, *, to: str, files: Sequence[File] = (), message_id: str | None = None
) -> EmailMultiAlternatives:
    context = {"letter": letter, "to": to, "web_url": settings.WEB_URL}
    message = EmailMultiAlternatives(
        subject=" ".join(letter.subject.split()),  # names in it are customers' own, and a header is one line
        body=render_to_string("mail/letter.txt", context),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[to],
        headers={"Message-ID": message_id} if message_id else None,
        attachments=[(file.name, file.content, file.media_type) for file in files],
    )
    message.attach_alternative(render_to_string("mail/letter.html", context), "text/html")
    return message


def send(letter: Letter, *, to: str, files: Sequence[File] = (), message_id: str | None = None) -> None:
    """Talks to the mail server; never call it inside a database transaction.

    A letter that may go out twice has a `message_id` of its own (`<...@...>`), by which mailboxes know it again.
    """
    render(letter, to=to, files=files, message_id=message_id).send()
