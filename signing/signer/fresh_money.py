"""Where money that is not aged yet may go: what each commit is told of recipients, and this process's room for each."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from signing.signer.asked_payments import AskedPayment
from signing.signer.database import Database
from signing.signer.recipients import Recipients

_SECONDS_BETWEEN_LEASES = 1.0
_SECONDS_BEFORE_ASKING_ANEW = 0.25
_LEASE_SECONDS = 5.0
_WANTED_SECONDS = 60.0
# Afterwards no statement begins any more that was asked before. Its commit may still take as long as the disk does.
_IN_DOUBT_SECONDS = 5.0
_MOST_SEEN = 50_000
# Of transactions: all before the first number are done; what began until now comes before the second.
_LEASE = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_current_xact_id()::text::bigint, lease.*
    FROM (SELECT) AS always
    LEFT JOIN signing_lease_fresh(%s, %s::jsonb, %s * interval '1 day') lease ON true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most fresh money in any 24 hours, in nano-dollars.

    A new recipient was first paid less than `season_days` ago. A listed one has no cap for each customer, a flagged one
    the same cap for all of it.
    """

    customer_nano_usd: int
    pair_nano_usd: int
    recipient_nano_usd: int
    new_recipient_nano_usd: int
    listed_nano_usd: int
    flagged_nano_usd: int
    season_days: int


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What the caps come to for one recipient by its standing."""

    most: int
    most_while_new: int
    pair: int | None
    promo: bool


@dataclass(slots=True)
class Lease:
    """Room for one recipient, and how it stood when it was given, `spent` with what this process sent since then.

    `since` is the hour, in Unix seconds, from which on all that was sent counts; None if nothing was sent before.
    """

    bounds: _Bounds
    room: int
    granted_at: float
    most: int
    spent: int
    since: int | None


@dataclass(slots=True, eq=False)
class Take:
    """What one call took with it: the rules it is judged by, and the rooms in them.

    Of one that was lost at `lost_at`, it is known how it ended once all transactions before `settled_by` are done.
    """

    rules: str
    rooms: dict[str, int] = field(default_factory=dict)
    firsts: set[str] = field(default_factory=set)
    lost_at: float | None = None
    settled_by: int | None = None


class FreshMoney:
    """Rooms are leased from the database once a second, for recipients that get fresh money through this process.

    All processes' rooms and all that was sent are never more than the cap (signing_lease_fresh tells why). A call takes
    a room whole and gives back what it did not use; what a lost call may have used stays taken until that is known.
    """

    def __init__(self, database: Database, recipients: Recipients, caps: Caps) -> None:
        self.caps = caps
        self._database = database
        self._recipients = recipients
        self._process = uuid.uuid4()
        self._leases: dict[str, Lease] = {}
        self._wanted: dict[str, float] = {}
        self._takes: set[Take] = set()
        self._used_since_asked: dict[str, int] = {}
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._seen: set[str] = set()

    def take(self, payments: Iterable[AskedPayment]) -> Take:
        """The rules for a call with these payments; it is settled or lost afterwards."""
        now = time.monotonic()
        if self._leases and now - self._asked_at > _SECONDS_BETWEEN_LEASES:
            self._ask()
        rules: dict[str, Any] = {}
        take = Take("")
        for payment in payments:
            recipient = payment.recipient
            if not recipient or recipient in rules:
                continue
            bounds, lease = self._bounds(recipient), self._leases.get(recipient)
            room = 0
            if lease and lease.bounds == bounds and now - lease.granted_at < _LEASE_SECONDS and lease.room > 0:
                room = take.rooms[recipient] = lease.room
                lease.room = 0
            rules[recipient] = {"promo": bounds.promo, "pair_cap": bounds.pair, "room": room}
            if recipient not in self._seen:
                rules[recipient]["first"] = True
                take.firsts.add(recipient)
        of_all: dict[str, Any] = {"customer_cap": self.caps.customer_nano_usd, "recipients": rules}
        take.rules = json.dumps(of_all | {"has_first": True} if take.firsts else of_all)
        if take.rooms:
            self._takes.add(take)
        return take

    def settle(self, take: Take, used: Mapping[str, int], paid: Iterable[str]) -> None:
        """Gives back what was not used, in nano-dollars by recipient; `paid` were paid with whatever money."""
        self._takes.discard(take)
        for recipient, amount in used.items():
            if amount:
                self._wanted[recipient] = time.monotonic()
                self._used_since_asked[recipient] = self._used_since_asked.get(recipient, 0) + amount
        for recipient, room in take.rooms.items():
            if recipient in self._leases:
                self._leases[recipient].room += room - used.get(recipient, 0)
                self._leases[recipient].spent += used.get(recipient, 0)
        if take.firsts:
            if len(self._seen) > _MOST_SEEN:
                self._seen.clear()
            self._seen.update(take.firsts.intersection(paid))

    def lose(self, take: Take) -> None:
        """Nobody knows what the call used: until that is certain all of its rooms count as used."""
        take.lost_at = time.monotonic()

    async def renew(self, recipient: str) -> bool:
        """Asks for room again; False when that was done a moment ago. Raises DatabaseUnavailable."""
        lease = self._leases.get(recipient)
        is_young = lease and time.monotonic() - lease.granted_at < _SECONDS_BEFORE_ASKING_ANEW
        if lease and is_young and lease.bounds == self._bounds(recipient):
            return False
        self._wanted[recipient] = time.monotonic()
        if self._asking and not self._asking.done():
            await asyncio.shield(self._asking)
        if self._leases.get(recipient) is lease:
            await asyncio.shield(self._ask())
        return True

    def lease(self, recipient: str) -> Lease | None:
        """How this process's room for the recipient stood when it was given last."""
        return self._leases.get(recipient)

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._lease())
            self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._asking

    async def _lease(self) -> None:
        asked_at = self._asked_at = time.monotonic()
        self._wanted = {each: at for each, at in self._wanted.items() if asked_at - at < _WANTED_SECONDS}
        self._used_since_asked.clear()
        bounds = {recipient: self._bounds(recipient) for recipient in self._wanted}
        wanted = {
            each: {"cap": bound.most, "new_cap": bound.most_while_new, "held": self._held(each)}
            for each, bound in bounds.items()
        }
        try:
            rows = await self._database.fetch(_LEASE, [self._process, json.dumps(wanted), self.caps.season_days])
        except BaseException:
            # It may yet be carried out, after the next one: in another's name it frees nothing of what is held.
            self._process = uuid.uuid4()
            raise
        self._forget_doubts(asked_at, done_before=int(rows[0][0]), begun_before=int(rows[0][1]))
        leases = {}
        for _, _, recipient, room, most, spent, since in rows:
            if recipient is None:
                continue
            # What was used or in flight since the question left may be among what the answer counts, or may not.
            left = int(room) - self._taken(recipient) - self._used_since_asked.get(recipient, 0)
            leases[recipient] = Lease(bounds[recipient], left, asked_at, int(most), int(spent), since)
        self._leases = leases

    def _held(self, recipient: str) -> int:
        """What may still be sent, or was and is not known: others must not get it before this process has let go."""
        lease = self._leases.get(recipient)
        return max(0, lease.room if lease else 0) + self._taken(recipient)

    def _taken(self, recipient: str) -> int:
        return sum(take.rooms.get(recipient, 0) for take in self._takes)

    def _forget_doubts(self, asked_at: float, *, done_before: int, begun_before: int) -> None:
        """Of transactions, by their numbers: what a lost call wrote is counted by now, or never will be."""
        for take in list(self._takes):
            if take.lost_at is None or asked_at - take.lost_at < _IN_DOUBT_SECONDS:
                continue
            if take.settled_by is None:
                take.settled_by = begun_before
            if take.settled_by <= done_before:
                self._takes.discard(take)

    def _bounds(self, recipient: str) -> _Bounds:
        standings, caps = self._recipients.standings(recipient), self.caps
        if "flagged" in standings:
            flagged = caps.flagged_nano_usd
            return _Bounds(flagged, flagged, flagged, promo=False)
        if "listed" in standings:
            return _Bounds(caps.listed_nano_usd, caps.listed_nano_usd, None, promo=True)
        return _Bounds(caps.recipient_nano_usd, caps.new_recipient_nano_usd, caps.pair_nano_usd, promo=False)


def used_and_paid(
    payments: Sequence[AskedPayment], outcome: Mapping[str, Any] | None
) -> tuple[Mapping[str, int], set[str]]:
    """Of a commit's answer: fresh money by recipient, and who was paid at all."""
    if outcome is None:
        return {}, {payment.recipient for payment in payments}
    pairs = zip(payments, outcome["results"], strict=True)
    return outcome["fresh"], {payment.recipient for payment, result in pairs if result["outcome"] == "committed"}
