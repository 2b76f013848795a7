"""Mails documents: the wish is a row written with the document, the clock sends it with the file."""

import logging
from collections.abc import Iterator
from smtplib import SMTPException
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts import mail
from accounts.mail import Letter
from billing.documents import archive, document_pdf
from billing.models import Document, DocumentMail

log = logging.getLogger(__name__)

_MOST_TRIES = 8


def send_waiting(*, limit: int = 100) -> int:
    """Sends what waits and returns how many went out.

    A worker that dies between the mail server's yes and our note of it sends once more, under the same Message-ID,
    so that a mailbox shows it once. One that is refused waits longer each time and is given up after eight tries.
    """
    sent = 0
    for mail_id in _claims(limit):
        row = DocumentMail.objects.select_related("document__customer").get(pk=mail_id)
        try:
            _send(row)
        except (SMTPException, OSError) as error:
            log.warning("document %s is mailed later: %s", row.document.number, type(error).__name__)
            DocumentMail.objects.filter(pk=row.pk).update(error=type(error).__name__)
        else:
            DocumentMail.objects.filter(pk=row.pk).update(sent_at=timezone.now(), error="")
            sent += 1
    return sent


def letter(document: Document) -> Letter:
    title = document_pdf.TITLES[document.kind]
    total = document_pdf.money(document.snapshot["totals"]["total"], document.snapshot["currency"])
    words = {
        Document.Kind.RECEIPT: f"We received {total}. Your balance is topped up, and the receipt is attached.",
        Document.Kind.CREDIT_NOTE: f"We gave back {total} to your original payment. The credit note is attached.",
        Document.Kind.DEBIT_NOTE: f"A refund of {total} did not arrive, and what it took is in your balance again. The"
        " debit note is attached: it takes the refund's credit note back.",
        Document.Kind.PRO_FORMA: f"Here is the pro-forma for {total}. It says where to pay and with which reference.",
    }
    disputed = f"Your bank took back {total} of a payment. The credit note for it is attached."
    is_offer = document.kind == Document.Kind.PRO_FORMA
    is_disputed = "dispute" in document.snapshot["references"]
    return Letter(
        subject=f"{title} {document.number} for {total}",
        paragraphs=[disputed if is_disputed else words[Document.Kind(document.kind)]],
        action=("Look at your documents", f"{settings.WEB_URL}{reverse('documents')}"),
        small=["Another address for these mails can be set in the billing profile."],
        why=f"because {document.customer.name} {'asked for it' if is_offer else 'paid with us'}.",
    )


def _send(row: DocumentMail) -> None:
    document = row.document
    attached = mail.File(name=f"{document.number}.pdf", content=archive.keep(document), media_type="application/pdf")
    host = urlsplit(settings.WEB_URL).hostname or "localhost"
    mail.send(letter(document), to=row.to, files=[attached], message_id=f"<{document.number}@{host}>")


def _claims(limit: int) -> Iterator[int]:
    """One mail after the other, each taken by one worker only."""
    for _ in range(limit):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE billing_documentmail SET
                    attempts = attempts + 1,
                    not_before = clock_timestamp() + interval '1 minute' * 4 ^ least(attempts, 5)
                WHERE id = (
                    SELECT id FROM billing_documentmail
                    WHERE sent_at IS NULL AND attempts < %s AND not_before <= clock_timestamp()
                    ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED
                ) RETURNING id
                """,
                [_MOST_TRIES],
            )
            row = cursor.fetchone()
        if row is None:
            return
        yield row[0]
