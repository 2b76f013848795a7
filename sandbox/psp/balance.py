"""The merchant's balance: one transaction for each movement, by currency, never changed once written."""

from typing import Literal

from sandbox.psp import cards
from sandbox.psp.errors import JSON
from sandbox.psp.world import World, new_id

# Each category as reports name it, with the type that the API gives the same movement.
TYPES = {
    "charge": "charge",
    "dispute": "adjustment",
    "dispute_reversal": "adjustment",
    "fee": "stripe_fee",
    "payout": "payout",
    "payout_cancel": "payout_cancel",
    "payout_failure": "payout_failure",
    "refund": "refund",
    "refund_failure": "refund_failure",
}
type Category = Literal[
    "charge",
    "dispute",
    "dispute_reversal",
    "fee",
    "payout",
    "payout_cancel",
    "payout_failure",
    "refund",
    "refund_failure",
]
# Reports put a payout that came back under these names.
REPORTED = {"payout_cancel": "payout_reversal", "payout_failure": "payout_reversal"}


def add(
    world: World,
    *,
    category: Category,
    source: str | None,
    amount: int,
    currency: str,
    fee: int = 0,
    fee_words: str = "",
    description: str | None = None,
    at_once: bool = False,
) -> JSON:
    """Moves `amount` minor units in (positive) or out; `fee` is taken besides.

    What comes in is available later, or `at_once`.
    """
    now = world.now()
    detail = {
        "amount": fee,
        "application": None,
        "currency": currency,
        "description": fee_words,
        "type": "stripe_fee",
    }
    transaction = {
        "id": new_id("txn_"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now + (cards.AVAILABLE_AFTER_SECONDS if category == "charge" and not at_once else 0),
        "balance_type": "payments",
        "created": now,
        "currency": currency,
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [detail] if fee else [],
        "net": amount - fee,
        "reporting_category": REPORTED.get(category, category),
        "source": source,
        "status": "pending",
        "type": TYPES[category],
    }
    return world.store.insert(transaction)


def available(world: World) -> dict[str, int]:
    """What may be paid out now, by currency."""
    return _sums(world, "<=")


def pending(world: World) -> dict[str, int]:
    """What becomes available later, by currency."""
    return _sums(world, ">")


def assign(world: World, *, payout_id: str, currency: str) -> None:
    """All that is available in the currency and in no payout yet belongs to this one; it adds up to nothing with it."""
    world.store.db.execute(
        "UPDATE objects SET body = json_set(body, '$._payout', ?) WHERE object = 'balance_transaction'"
        " AND json_extract(body, '$.currency') = ? AND json_extract(body, '$.available_on') <= ?"
        " AND json_extract(body, '$._payout') IS NULL",
        (payout_id, currency, world.now()),
    )


def _sums(world: World, sign: Literal["<=", ">"]) -> dict[str, int]:
    rows = world.store.db.execute(
        "SELECT json_extract(body, '$.currency') AS currency, sum(json_extract(body, '$.net')) AS net FROM objects"
        f" WHERE object = 'balance_transaction' AND json_extract(body, '$.available_on') {sign} ? GROUP BY 1",
        (world.now(),),
    )
    return {row["currency"]: int(row["net"]) for row in rows}
