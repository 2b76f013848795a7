"""What the provider does by itself at a later time of its own clock, each thing exactly once."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable

from sandbox.psp import charges, checkout, disputes, fraud_warnings, payouts, refunds
from sandbox.psp.world import World

JOBS: dict[str, Callable[[World, str], object]] = {
    "expire_session": checkout.expire_when_due,
    "settle_charge": charges.settle,
    "delayed_payment_ends": checkout.finish_delayed,
    "disputed": disputes.open_by_card,
    "disputed_undelivered": disputes.open_undelivered_by_card,
    "inquired": disputes.inquire_by_card,
    "warned": fraud_warnings.warn_by_card,
    "dispute_won": lambda world, id: disputes.decide(world, id, "won"),
    "dispute_lost": lambda world, id: disputes.decide(world, id, "lost"),
    "dispute_escalated": lambda world, id: disputes.decide(world, id, "escalated"),
    "refund_pends": refunds.succeed,
    "refund_fails": refunds.fail,
    "payout_arrives": payouts.arrive,
    "daily_payout": payouts.pay_out_daily,
}


async def keep(world: World) -> None:
    """Runs for good: does what is due, sleeps until the next thing is or the alarm rings."""
    while True:
        world.alarm.clear()
        seconds = run_due(world)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(world.alarm.wait(), seconds)


def run_due(world: World) -> float | None:
    """Does all that is due, one transaction each; gives the seconds to the next thing, if there is one."""
    while row := _next(world):
        wait = float(row["due"]) - world.exact_now()
        if wait > 0:
            return wait
        with world.store.transaction():
            world.store.db.execute("DELETE FROM agenda WHERE id = ?", (row["id"],))
            JOBS[row["kind"]](world, row["subject"])
    return None


def _next(world: World) -> sqlite3.Row | None:
    row: sqlite3.Row | None = world.store.db.execute("SELECT * FROM agenda ORDER BY due, id LIMIT 1").fetchone()
    return row
