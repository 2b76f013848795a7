"""Documents: numbered and written once where money is booked; set by templates, kept as files, mailed."""

from billing.documents.issue import (
    MoreThanReceived,
    NotPaid,
    issue_credit_note,
    issue_missing_receipts,
    issue_pro_forma,
    issue_receipt,
    tax_share,
)

__all__ = [
    "MoreThanReceived",
    "NotPaid",
    "issue_credit_note",
    "issue_missing_receipts",
    "issue_pro_forma",
    "issue_receipt",
    "tax_share",
]
