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
    "refund": "refund",
    "refund_failure": "refund_failure",
}
type Category = Literal["charge", "dispute", "dispute_reversal", "refund", "refund_failure"]


def add(
    world: World,
    *,
    category: Category,
    source: str,
    amount: int,
    currency: str,
    fee: int = 0,
    fee_words: str = "",
    description: str | None = None,
) -> JSON:
    """Moves `amount` minor units in (positive) or out; `fee` is taken besides. What comes in is available later."""
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
        "available_on": now + (cards.AVAILABLE_AFTER_SECONDS if category == "charge" else 0),
        "balance_type": "payments",
        "created": now,
        "currency": currency,
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [detail] if fee else [],
        "net": amount - fee,
        "reporting_category": category,
        "source": source,
        "status": "pending",
        "type": TYPES[category],
    }
    return world.store.insert(transaction)
