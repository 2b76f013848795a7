"""The only writer of the books: each function calls the SQL function of the same name."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from billing.postings import Asset, Transfer


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """What stands on one account: debits minus credits, in nano-dollars or wei."""

    number: int
    asset: Asset
    party: str
    amount: int


def book(
    *,
    kind: str,
    reference: str,
    occurred_at: datetime,
    transfers: Sequence[Transfer],
    description: str = "",
    customer_id: int | None = None,
) -> int | None:
    """Books one journal and returns its id, or None when `reference` was booked before (nothing changes then)."""
    return _call(
        "SELECT billing_book(%s, %s, %s, %s, %s, %s::jsonb)",
        [kind, reference, occurred_at, description, customer_id, _legs(transfers)],
    )


def credit(
    *,
    customer_id: int,
    amount_nano_usd: int,
    kind: str,
    reference: str,
    occurred_at: datetime,
    transfers: Sequence[Transfer],
    description: str = "",
) -> int | None:
    """Books a journal and adds its amount to the customer's wallet in one step; None when booked before."""
    return _call(
        "SELECT billing_credit(%s, %s, %s, %s, %s, %s, %s::jsonb)",
        [customer_id, amount_nano_usd, kind, reference, occurred_at, description, _legs(transfers)],
    )


def record_rate(*, feed_address: str, feed_round: int, nano_usd_per_eth: int, updated_at: datetime) -> int:
    """The id of the row that holds this answer of the price feed; written once per feed round."""
    rate_id = _call(
        "SELECT billing_record_rate(%s, %s, %s, %s)",
        [feed_address, feed_round, nano_usd_per_eth, updated_at],
    )
    assert rate_id is not None
    return rate_id


def post_usage(*, limit: int = 50_000) -> int:
    """Turns usage that no journal covers into journals; returns how many rows were posted."""
    return _call("SELECT billing_post_usage(%s)", [limit]) or 0


def balances(*numbers: int) -> list[Balance]:
    """The balances of the given accounts, or of all."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number, asset, party, balance FROM billing_account_balance"
            " WHERE %s::int[] = '{}' OR number = ANY (%s::int[]) ORDER BY number, asset, party",
            [list(numbers), list(numbers)],
        )
        return [
            Balance(number=number, asset=asset, party=party, amount=int(balance))
            for number, asset, party, balance in cursor.fetchall()
        ]


def balance(number: int, asset: Asset, party: str = "") -> int:
    """Debits minus credits of one account; 0 when nothing was ever booked on it."""
    return sum(row.amount for row in balances(number) if row.asset == asset and row.party == party)


def _legs(transfers: Sequence[Transfer]) -> str:
    return json.dumps(
        [
            {
                "debit": [leg.debit.number, leg.debit.party],
                "credit": [leg.credit.number, leg.credit.party],
                "asset": leg.asset,
                "amount": str(leg.amount),
            }
            for leg in transfers
        ]
    )


def _call(statement: str, parameters: Sequence[str | int | datetime | None]) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])
