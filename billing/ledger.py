"""The only writer of the books: each function calls the SQL function of the same name."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from billing.models import Grant
from billing.postings import Asset, Transfer

_POSTED_AT_ONCE = 5_000


class NotEnough(Exception):
    """The wallet holds less paid money than is to be taken; nothing changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """What stands on one account: debits minus credits, in nano-dollars or wei."""

    number: int
    asset: Asset
    party: str
    amount: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WalletFigures:
    """A wallet in nano-dollars: all that can be spent, and its parts. `paid` is what is not promotional."""

    available: int
    promo: int
    fresh: int
    debt: int

    @property
    def paid(self) -> int:
        return self.available - self.promo


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
    aged_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> int | None:
    """Books a journal and adds its amount to the customer's wallet in one step; None when booked before.

    The amount is what the transfers add to 2100 of the customer. What he owes (1160) is paid from it first, by a
    journal and a wallet entry of their own. Money is fresh until `aged_at`; without one it is aged at once.
    """
    return _call(
        "SELECT billing_credit(%s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s)",
        [
            customer_id,
            amount_nano_usd,
            kind,
            reference,
            occurred_at,
            description,
            _legs(transfers),
            aged_at,
            expires_at,
        ],
    )


def lock_wallet(customer_id: int) -> WalletFigures:
    """What the wallet holds; it stays so until the caller's transaction ends, and signing waits that long."""
    assert connection.in_atomic_block, "a lock ends with its transaction"
    with connection.cursor() as cursor:
        cursor.execute("SELECT available, promo, fresh, debt FROM billing_lock_wallet(%s)", [customer_id])
        available, promo, fresh, debt = cursor.fetchone()
    return WalletFigures(available=available, promo=promo, fresh=fresh, debt=debt)


def ages_at(reference: str) -> datetime | None:
    """When the money that came under this reference is aged, or was; None when none came."""
    return Grant.objects.filter(reference=reference).values_list("aged_at", flat=True).first()


def take(
    *,
    customer_id: int,
    amount_nano_usd: int,
    kind: str,
    reference: str,
    occurred_at: datetime,
    transfers: Sequence[Transfer],
    description: str = "",
    from_reference: str = "",
) -> int | None:
    """Takes paid money out of the wallet, with its journal: the id, or None when booked before.

    The amount is what the transfers take from 2100 of the customer. It comes from the credit `from_reference` as far
    as that lasts, then from aged money, the oldest first, then from fresh money. Raises NotEnough.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT journal, is_enough FROM billing_take(%s, %s, %s, %s, %s, %s, %s::jsonb, %s)",
            [
                customer_id,
                amount_nano_usd,
                kind,
                reference,
                occurred_at,
                description,
                _legs(transfers),
                from_reference,
            ],
        )
        journal, is_enough = cursor.fetchone()
    if not is_enough:
        raise NotEnough(f"customer {customer_id} holds less than {amount_nano_usd} nano-dollars of paid money")
    return None if journal is None else int(journal)


def grant_promo(
    *,
    customer_id: int,
    amount_nano_usd: int,
    campaign: str,
    reference: str,
    occurred_at: datetime,
    description: str = "",
    priority: int = 50,
    expires_at: datetime | None = None,
) -> int | None:
    """Gives promotional credit; the journal's id, or None when booked before.

    `priority` is 0 (used first) to 100; equal ones are used by earliest expiry, then by age.
    """
    return _call(
        "SELECT billing_grant_promo(%s, %s, %s, %s, %s, %s, %s, %s)",
        [customer_id, amount_nano_usd, reference, occurred_at, description, campaign, priority, expires_at],
    )


def expire_grants() -> int:
    """Ends grants whose time is over, one customer's in a transaction; returns how many ended."""
    return sum(
        _call("SELECT billing_expire_grants(%s)", [customer_id]) or 0
        for customer_id in _customers(
            "SELECT DISTINCT customer_id FROM billing_grant"
            " WHERE remaining_nano_usd > 0 AND expires_at <= clock_timestamp() ORDER BY customer_id"
        )
    )


def age_grants() -> int:
    """Money whose time has come is fresh no longer; returns how many grants aged."""
    return sum(
        _call("SELECT billing_age_grants(%s)", [customer_id]) or 0
        for customer_id in _customers(
            "SELECT DISTINCT customer_id FROM billing_grant"
            " WHERE is_fresh AND aged_at <= clock_timestamp() ORDER BY customer_id"
        )
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
    """Turns usage that no journal covers into journals; returns how many rows were posted.

    In portions, each a transaction of its own: money that comes in waits for at most one of them.
    """
    posted = 0
    while posted < limit:
        portion = min(limit - posted, _POSTED_AT_ONCE)
        done = _call("SELECT billing_post_usage(%s)", [portion]) or 0
        posted += done
        if done < portion:
            break
    return posted


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


def _customers(query: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return [customer_id for (customer_id,) in cursor.fetchall()]


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
