"""The files of documents: made once, kept, and given out byte for byte."""

import hashlib

from billing.documents import document_pdf
from billing.models import Document, DocumentFile


def pdf(document: Document) -> bytes:
    """The kept file; for a document the clock has not reached yet, the bytes it will keep."""
    kept = DocumentFile.objects.filter(document=document).first()
    return bytes(kept.content) if kept else document_pdf.render(document.snapshot)


def keep(document: Document) -> bytes:
    """Makes and keeps the file; the first one kept counts."""
    content = document_pdf.render(document.snapshot)
    row = DocumentFile(document=document, content=content, sha256=hashlib.sha256(content).hexdigest())
    DocumentFile.objects.bulk_create([row], ignore_conflicts=True)
    return bytes(DocumentFile.objects.get(document=document).content)


def keep_missing(*, limit: int = 200) -> int:
    """Makes the files that are not kept yet, the oldest first; returns how many."""
    waiting = list(Document.objects.filter(file=None).order_by("id")[:limit])
    for document in waiting:
        keep(document)
    return len(waiting)
