"""Mails documents: the wish is a row written with the document, the clock sends it with the file."""

from urllib.parse import urlsplit

from django.conf import settings
from django.urls import reverse

from accounts import mail, outbox
from accounts.mail import Letter
from billing.documents import archive, document_pdf
from billing.models import Document, DocumentMail


def send_waiting(*, limit: int = 100) -> int:
    """Sends what waits and returns how many went out."""
    return outbox.send_waiting(DocumentMail.objects.select_related("document__customer"), _send, limit=limit)


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
