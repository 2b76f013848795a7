"""The next number of a series: without gaps, because it is given in the transaction that writes the document."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from billing.models import DocumentKind, LegalEntity

# The letter of each kind in its numbers; invoices will take I.
LETTERS = {
    DocumentKind.RECEIPT: "R",
    DocumentKind.CREDIT_NOTE: "C",
    DocumentKind.DEBIT_NOTE: "D",
    DocumentKind.PRO_FORMA: "P",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """`CH-2026-R-000001`: entity, UTC year of issue, kind, place in the series."""

    code: str
    kind: DocumentKind
    year: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.code}-{self.year}-{LETTERS[self.kind]}-{self.sequence:06d}"


def take(entity: LegalEntity, kind: DocumentKind, *, issued_at: datetime) -> Number:
    """Takes the next number; everybody else who wants one of this series waits until the transaction ends.

    Call it last: whoever holds the counter should want no other lock any more. At the commit the database looks
    whether the document was written.
    """
    assert connection.in_atomic_block, "a number is given in the transaction that writes the document"
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_documentcounter AS c (entity_id, kind, year, last) VALUES (%s, %s, %s, 1)"
            " ON CONFLICT (entity_id, kind, year) DO UPDATE SET last = c.last + 1 RETURNING last",
            [entity.pk, kind, issued_at.year],
        )
        (sequence,) = cursor.fetchone()
    return Number(code=entity.code, kind=kind, year=issued_at.year, sequence=sequence)
