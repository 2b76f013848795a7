"""Where a demo's mails go: into rows that a page shows. EMAIL_BACKEND=accounts.mailbox.MailboxBackend"""

import logging
import re
from collections.abc import Sequence

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend

from accounts.models import Mail

log = logging.getLogger(__name__)


class MailboxBackend(BaseEmailBackend):
    """Keeps mails instead of sending them and prints the link in each, for whoever watches a demo's terminal."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        rows = [
            Mail(to=address, subject=str(message.subject), text=str(message.body), html=_html(message))
            for message in email_messages
            for address in message.recipients()
        ]
        Mail.objects.bulk_create(rows)
        for mail in rows:
            link = re.search(r"https?://\S+", mail.text)
            log.info("mail to %s: %s %s", mail.to, mail.subject, link[0] if link else "")
        return len(email_messages)


def _html(message: EmailMessage) -> str:
    parts = message.alternatives if isinstance(message, EmailMultiAlternatives) else []
    return next((str(content) for content, kind in parts if kind == "text/html"), "")
