"""What belongs to an account's money and is not in its balance: kept aside, on its way back, owed."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from accounts.models import Customer
from billing.postings import FROZEN, RECEIVABLE, REFUNDS

_SUMS = """
    SELECT account.number, sum(moved.amount)
    FROM billing_ledgeraccount account CROSS JOIN LATERAL (
        SELECT journal_id, amount_nano_usd AS amount FROM billing_transfer WHERE debit_id = account.id
        UNION ALL SELECT journal_id, -amount_nano_usd FROM billing_transfer WHERE credit_id = account.id
    ) moved JOIN billing_journal journal ON journal.id = moved.journal_id
    WHERE account.number = ANY (%s) AND account.party = %s AND account.asset = 'USD' AND journal.occurred_at < %s
    GROUP BY account.number
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside:
    """Accounts 2110, 2120 and 1160 of one customer, each never below zero."""

    frozen_nano_usd: int
    refunding_nano_usd: int
    owed_nano_usd: int

    def __bool__(self) -> bool:
        return bool(self.frozen_nano_usd or self.refunding_nano_usd or self.owed_nano_usd)


def at(customer: Customer, moment: datetime) -> SetAside:
    """As the books had it just before a moment."""
    with connection.cursor() as cursor:
        cursor.execute(_SUMS, [[FROZEN, REFUNDS, RECEIVABLE], str(customer.pk), moment])
        sums = {number: int(debits) for number, debits in cursor.fetchall()}
    return SetAside(
        frozen_nano_usd=-sums.get(FROZEN, 0),
        refunding_nano_usd=-sums.get(REFUNDS, 0),
        owed_nano_usd=sums.get(RECEIVABLE, 0),
    )
