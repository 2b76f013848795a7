"""Fresh money and the caps on it: signers that count in payments, customers who paid by card, and their clock."""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from accounts.models import Customer
from tests import builders
from tests.held_chain import HeldChain
from tests.signer_stage import COST, Answer, Client, Stage, execute, offer, price_of, running_signer

UNIT = price_of(COST)  # of one payment with one ticket
MANY = 10**15
FIRST, SECOND, THIRD = b"\x31" * 20, b"\x32" * 20, b"\x33" * 20
CHAIN_OF = frozenset({FIRST, SECOND, THIRD})
OPEN_CAPS = {
    "customer_nano_usd": MANY,
    "pair_nano_usd": MANY,
    "recipient_nano_usd": MANY,
    "new_recipient_nano_usd": MANY,
    "listed_nano_usd": MANY,
    "flagged_nano_usd": 0,
    "season_days": 7,
}


def signer(**caps: int) -> Any:
    """A running signer that caps what is named, in payments of one ticket."""
    own = {f"{name}_nano_usd": UNIT * count for name, count in caps.items()}
    return running_signer(HeldChain(active_recipients=CHAIN_OF), FRESH_MONEY_CAPS={**OPEN_CAPS, **own})


def card_customer(stage: Stage, payments: int = 100, *, unit: int = UNIT) -> tuple[Client, Customer]:
    """With money that was paid in by card a moment ago."""
    client, owner = stage.gateway(dollars_nano=0)
    aged_at = datetime.now(UTC) + timedelta(days=14)
    builders.credit(owner, payments * unit, reference=f"test:{os.urandom(8).hex()}", aged_at=aged_at)
    return client, owner


def pay(client: Client, recipient: bytes = FIRST, **members: Any) -> Answer:
    return client.pay(**{"orchestrator": offer(price=(1, 1), recipient=recipient), "type": "fixed", **members})


def codes(answers: Sequence[Answer]) -> list[str | int]:
    return [answer.status if answer.status == 200 else answer.code for answer in answers]


def seasoned(*addresses: bytes) -> None:
    """They were first paid a month ago."""
    for address in addresses:
        execute(
            "INSERT INTO signing_recipientseen VALUES (%s, now() - interval '30 days')"
            " ON CONFLICT (recipient) DO UPDATE SET first_paid_at = excluded.first_paid_at",
            "0x" + address.hex(),
        )


class Hours:
    """The clock of the caps: they count by the full hour, so the test begins and moves on away from its edges."""

    def __init__(self) -> None:
        self.hour = self._away_from_an_edge()

    def go_by(self, hours: int) -> None:
        """So many hours later than at the last call: what the clock on the wall went on by itself is a part of them.

        What was counted moves into the past, by way of a far one, as no two rows of one key may meet.
        """
        hour = self._away_from_an_edge()
        left, self.hour = hours - (hour - self.hour), hour
        for table in ("signing_velocity", "signing_recipientvelocity"):
            execute(f"UPDATE {table} SET hour = hour - %s * interval '1 hour' - interval '100 years'", left)
            execute(f"UPDATE {table} SET hour = hour + interval '100 years'")

    @staticmethod
    def _away_from_an_edge() -> int:
        while not 6 < time.time() % 3600 < 3600 - 20:
            time.sleep(0.5)
        return int(time.time() // 3600)


def sums() -> tuple[int, int, int]:
    """Fresh money by usage, by pairs and by recipients: three times the same."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT coalesce(sum(fresh_nano_usd), 0) FROM billing_usage),"
            " (SELECT coalesce(sum(fresh_nano_usd), 0) FROM signing_velocity),"
            " (SELECT coalesce(sum(fresh_nano_usd), 0) FROM signing_recipientvelocity)"
        )
        usage, pairs, of_recipients = cursor.fetchone()
    return int(usage), int(pairs), int(of_recipients)
