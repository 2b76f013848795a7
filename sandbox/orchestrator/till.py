"""The till: winning tickets, written down before they are acknowledged, and their redemption on the chain."""

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

from sandbox.orchestrator.chain import Chain, ChainUnavailable, RedemptionRefused, Winner
from sandbox.orchestrator.terms import Terms
from signing.pm.tickets import Ticket

MAX_ATTEMPTS = 5
# Reasons that another attempt cannot change; everything else (a round not yet initialised, say) is retried.
_FINAL_REASONS = (
    "ticket is expired",
    "ticket did not win",
    "invalid signature",
    "invalid length",
    "recipientRand",
)
_SCHEMA = """
create table if not exists winner (
    ticket_hash text primary key, recipient blob not null, sender blob not null, face_value text not null,
    win_prob text not null, sender_nonce integer not null, recipient_rand_hash blob not null,
    creation_round integer not null, creation_round_block_hash blob not null, signature blob not null,
    recipient_rand text not null, won_at real not null, attempts integer not null default 0,
    state text not null default 'won' check (state in ('won', 'redeemed', 'failed')),
    tx_hash text, reason text
)
"""


class Till:
    """Winners in a file of their own, so that a restart redeems what an earlier run won."""

    def __init__(self, file: Path, chain: Chain, terms: Terms) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute(_SCHEMA)
        self._chain = chain
        self._terms = terms

    def keep(self, winner: Winner) -> None:
        """Durable when this returns; the same ticket twice is one row."""
        ticket = winner.ticket
        row = {
            "ticket_hash": ticket.hash().hex(),
            "recipient": ticket.recipient,
            "sender": ticket.sender,
            "face_value": str(ticket.face_value),
            "win_prob": str(ticket.win_prob),
            "sender_nonce": ticket.sender_nonce,
            "recipient_rand_hash": ticket.recipient_rand_hash,
            "creation_round": ticket.creation_round,
            "creation_round_block_hash": ticket.creation_round_block_hash,
            "signature": winner.signature,
            "recipient_rand": str(winner.recipient_rand),
            "won_at": time.time(),
        }
        names, marks = ", ".join(row), ", ".join(":" + name for name in row)
        self._database.execute(f"insert or ignore into winner ({names}) values ({marks})", row)

    async def run(self) -> None:
        """Redeem what is due, for ever.

        A real orchestrator waits until the ticket's parameters have expired, because redeeming reveals the
        random number and a sender could then pick winners. Here a few seconds will do: people are watching.
        """
        while True:
            try:
                await self.redeem_due()
            except ChainUnavailable as error:
                _say(f"chain unavailable, will try again: {error}")
            await asyncio.sleep(1)

    async def redeem_due(self) -> None:
        """One pass over the winners that are old enough, in batches. Raises ChainUnavailable."""
        due_before = time.time() - self._terms.redeem_delay_seconds
        rows = self._rows("where state = 'won' and won_at <= ? order by won_at", due_before)
        size = max(1, self._terms.redeem_batch)
        for start in range(0, len(rows), size):
            await self._redeem(rows[start : start + size])

    async def _redeem(self, rows: list[sqlite3.Row]) -> None:
        # A crash may have come between sending and noting it, so the chain is asked first.
        open_rows = [row for row in rows if not await self._note_if_settled(row, tx_hash=None)]
        if not open_rows:
            return
        try:
            tx_hash = await self._chain.redeem([_winner(row) for row in open_rows])
        except RedemptionRefused as error:
            for row in open_rows:
                self._note_failure(row, str(error))
            return
        _say(f"redeemed {len(open_rows)} in {tx_hash}")
        for row in open_rows:
            if not await self._note_if_settled(row, tx_hash=tx_hash):
                self._note_failure(row, "the batch left it out")

    async def _note_if_settled(self, row: sqlite3.Row, *, tx_hash: str | None) -> bool:
        settled = await self._chain.settled(bytes.fromhex(row["ticket_hash"]))
        if settled:
            self._database.execute(
                "update winner set state = 'redeemed', tx_hash = coalesce(?, tx_hash), reason = null "
                "where ticket_hash = ? and state = 'won'",
                (tx_hash, row["ticket_hash"]),
            )
        return settled

    def _note_failure(self, row: sqlite3.Row, reason: str) -> None:
        final = row["attempts"] + 1 >= MAX_ATTEMPTS or any(text in reason for text in _FINAL_REASONS)
        self._database.execute(
            "update winner set state = ?, attempts = attempts + 1, reason = ?, won_at = ? where ticket_hash = ?",
            # Counting the delay from now spaces the attempts out.
            ("failed" if final else "won", reason, time.time(), row["ticket_hash"]),
        )
        _say(f"ticket {row['ticket_hash'][:12]} not redeemed: {reason}")

    def status(self) -> dict[str, object]:
        rows = self._rows("order by rowid")
        names = ("ticket_hash", "face_value", "sender_nonce", "state", "tx_hash", "reason")
        return {
            "winners": len(rows),
            "redeemed": sum(row["state"] == "redeemed" for row in rows),
            "redemptions": [{name: row[name] for name in names} for row in rows[-200:]],
        }

    def close(self) -> None:
        self._database.close()

    def _rows(self, clause: str, *values: object) -> list[sqlite3.Row]:
        return self._database.execute(f"select * from winner {clause}", values).fetchall()


def _winner(row: sqlite3.Row) -> Winner:
    ticket = Ticket(
        recipient=row["recipient"],
        sender=row["sender"],
        face_value=int(row["face_value"]),
        win_prob=int(row["win_prob"]),
        sender_nonce=row["sender_nonce"],
        recipient_rand_hash=row["recipient_rand_hash"],
        creation_round=row["creation_round"],
        creation_round_block_hash=row["creation_round_block_hash"],
    )
    return Winner(ticket=ticket, signature=row["signature"], recipient_rand=int(row["recipient_rand"]))


def _say(text: str) -> None:
    print(f"orchestrator: {text}", file=sys.stderr, flush=True)
