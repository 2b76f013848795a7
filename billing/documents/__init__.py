"""Documents: numbered and written once where money is booked; set by templates, kept as files, mailed."""

from billing.documents.credit_notes import (
    MoreThanReceived,
    issue_credit_note,
    issue_debit_note,
    left_of,
)
from billing.documents.issue import NotPaid, issue_missing_receipts, issue_pro_forma, issue_receipt

__all__ = [
    "MoreThanReceived",
    "NotPaid",
    "issue_credit_note",
    "issue_debit_note",
    "issue_missing_receipts",
    "issue_pro_forma",
    "issue_receipt",
    "left_of",
]
