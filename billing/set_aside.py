"""What belongs to an account's money and is not in its balance: kept aside, on its way back, owed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from accounts.models import Customer
from billing.postings import FROZEN, RECEIVABLE, REFUNDS

# Parameters: numbers, party (the customer's id as text), moment. What moved counts from when it was booked, as what
# changed the balance with it does: one statement writes both, and no moment parts them.
SUMS = """
    SELECT account.number, sum(moved.amount) AS amount
    FROM billing_ledgeraccount account CROSS JOIN LATERAL (
        SELECT journal_id, amount_nano_usd AS amount FROM billing_transfer WHERE debit_id = account.id
        UNION ALL SELECT journal_id, -amount_nano_usd FROM billing_transfer WHERE credit_id = account.id
    ) moved JOIN billing_journal journal ON journal.id = moved.journal_id
    WHERE account.number = ANY (%(numbers)s) AND account.party = %(party)s AND account.asset = 'USD'
      AND journal.booked_at < %(moment)s
    GROUP BY account.number
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside:
    """Accounts 2110, 2120 and 1160 of one customer, each never below zero."""

    frozen_nano_usd: int
    refunding_nano_usd: int
    owed_nano_usd: int

    def __bool__(self) -> bool:
        return bool(self.lines())

    def lines(self) -> list[tuple[str, str, int]]:
        """What is more than nothing: its name for machines, for people, and nano-dollars."""
        every = [
            ("kept_aside", "Kept aside for a dispute", self.frozen_nano_usd),
            ("refunding", "Refunds on their way", self.refunding_nano_usd),
            ("owed", "Owed", self.owed_nano_usd),
        ]
        return [line for line in every if line[2]]


def at(customer: Customer, moment: datetime) -> SetAside:
    """As the books had it just before a moment."""
    with connection.cursor() as cursor:
        cursor.execute(SUMS, parameters(customer, moment))
        return of_sums(dict(cursor.fetchall()))


def parameters(customer: Customer, moment: datetime) -> dict[str, Any]:
    """What SUMS asks for, alone or as a part of a larger question."""
    return {"numbers": [FROZEN, REFUNDS, RECEIVABLE], "party": str(customer.pk), "moment": moment}


def of_sums(debits: dict[int, Any]) -> SetAside:
    """From debits minus credits by the number of the account."""
    return SetAside(
        frozen_nano_usd=-int(debits.get(FROZEN, 0)),
        refunding_nano_usd=-int(debits.get(REFUNDS, 0)),
        owed_nano_usd=int(debits.get(RECEIVABLE, 0)),
    )
