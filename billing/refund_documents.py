"""The documents of a refund: a credit note once it has arrived, a debit note should it fail after that."""

import logging

from billing import documents
from billing.models import Document, Journal, RefundPart

log = logging.getLogger(__name__)


def note_arrival(part: RefundPart) -> None:
    """The credit note of a part that the provider says has arrived; called in the transaction that says so.

    What is on its way has none: it may yet come back, and a document is not taken back but offset by another.
    """
    journal = Journal.objects.get(reference=f"stripe:{part.balance_transaction_id}")
    try:
        documents.issue_credit_note(
            part.top_up,
            reference=_reference(part),
            net_cents=part.net_cents,
            tax_cents=part.tax_cents,
            journal_id=journal.pk,
            reason=part.refund.reason or "Refund of unused balance",
        )
    except documents.MoreThanReceived as error:
        log.error("refund part %s has no credit note: receipt %s is given back already", part.id, error)


def note_failure(part: RefundPart, *, journal_id: int) -> None:
    """Some refunds fail days after they arrived: the credit note that tells of one is offset by a debit note."""
    note = Document.objects.filter(reference=f"credit_note:{_reference(part)}").first()
    if note is not None:
        reason = f"The refund did not arrive: {part.failure}" if part.failure else "The refund did not arrive"
        documents.issue_debit_note(note, journal_id=journal_id, reason=reason)


def _reference(part: RefundPart) -> str:
    return f"refund:{part.id}"
