"""What the signer tells of orchestrators: the worker's rows, held against who may be paid now."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from signing.chain.view import ChainView
from signing.discovery import document, offers
from signing.discovery.addresses import owners
from signing.discovery.document import BadFilter, Ceiling, Entry, Orchestrator, Rules
from signing.pm.ceilings import largest_face_value
from signing.signer.database import Database
from signing.signer.fresh import Fresh
from signing.signer.recipients import Recipients
from signing.signer.refusals import Refused, Unavailable

_PARSED_AT_ONCE = 16
# Each half of an answer counts for itself, and only while it is young.
_YOUNG = """
    SELECT address, CASE WHEN info_read_at > clock_timestamp() - make_interval(secs => %s) THEN info_read_at END,
        CASE WHEN runners_read_at > clock_timestamp() - make_interval(secs => %s) THEN runners_read_at END
    FROM signing_orchestrator
"""
_CONTENTS = "SELECT address, info, runners FROM signing_orchestrator WHERE address = ANY(%s)"
_INTRODUCE = "INSERT INTO signing_senderintroduction (address, signature) VALUES (%s, %s) ON CONFLICT DO NOTHING"

type Ages = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is not sold through us, and for how long an answer counts."""

    ceiling: Ceiling
    max_ticket_ev_wei: Fraction
    deposit_multiplier: int
    max_face_value_wei: int
    keep_seconds: int


class Listing:
    """The list, a second old at most while somebody asks; rows that did not change are not read twice."""

    def __init__(self, database: Database, recipients: Recipients, view: Callable[[], ChainView], limits: Limits):
        self._database = database
        self._recipients = recipients
        self._view = view
        self._limits = limits
        self._known: dict[str, tuple[Ages, Orchestrator]] = {}
        self._fresh: Fresh[tuple[list[Entry], bytes]] = Fresh(self._read, empty=([], b""))

    async def answer(self, query: bytes) -> bytes:
        """The JSON list. Raises Refused (400), Unavailable when nobody can be listed, and ChainUnavailable."""
        try:
            filters = document.read_filters(query)
        except BadFilter as error:
            raise Refused(400, "invalid_filter", str(error)) from None
        entries, whole = await self._fresh.get()
        if not entries:
            raise Unavailable("no_orchestrators", "no orchestrator is known yet")
        if filters == document.Filters():
            return whole
        return document.to_json(document.select(entries, filters))

    async def _read(self) -> tuple[list[Entry], bytes]:
        """Everybody who may be listed, and the answer to whoever wishes nothing in particular."""
        view = self._view()
        await self._read_rows()
        registered_at = owners(view.orchestrators)
        orchestrators = [orchestrator for _, orchestrator in self._known.values()]
        recipients = {document.recipient_of(each, registered_at) for each in orchestrators}
        entries = document.entries(
            orchestrators,
            registered_at,
            Rules(
                registry=view.orchestrators,
                payable=await self._payable(recipients, view),
                ceiling=self._limits.ceiling,
                max_ticket_ev_wei=self._limits.max_ticket_ev_wei,
                max_face_value_wei=largest_face_value(
                    view.largest_deposit_wei,
                    deposit_multiplier=self._limits.deposit_multiplier,
                    max_face_value_wei=self._limits.max_face_value_wei,
                )
                or None,
            ),
        )
        return entries, document.to_json(document.select(entries, document.Filters()))

    async def _read_rows(self) -> None:
        """Brings what is known to the state of the rows; a few at a time, for payments do not wait."""
        keep = self._limits.keep_seconds
        rows = await self._database.fetch(_YOUNG, [keep, keep])
        ages: dict[str, Ages] = {address: (info, runners) for address, info, runners in rows if info or runners}
        changed = [
            address for address, age in ages.items() if address not in self._known or self._known[address][0] != age
        ]
        found = {address: known for address, known in self._known.items() if ages.get(address) == known[0]}
        for start in range(0, len(changed), _PARSED_AT_ONCE):
            part = changed[start : start + _PARSED_AT_ONCE]
            for address, info, runners in await self._database.fetch(_CONTENTS, [part]):
                found[address] = (ages[address], parse(address, ages[address], info, runners))
                await asyncio.sleep(0)
        self._known = found

    async def _payable(self, recipients: set[str], view: ChainView) -> frozenset[str]:
        """Those whom a payment would not be refused; nobody knows who is meant by an empty one."""
        await self._recipients.refresh()
        found = {""} if self._recipients.policy == "any" else set()
        for recipient in recipients - {""}:
            try:
                self._recipients.check(bytes.fromhex(recipient[2:]), view)
            except Refused:
                continue
            found.add(recipient)
        return frozenset(found)


class Introductions:
    """Writes down, once, with which signature the worker may ask for offers in each sender's name."""

    def __init__(self, database: Database, introductions: Sequence[bytes]) -> None:
        self._database = database
        self._waiting = [json.loads(introduction) for introduction in introductions]

    async def write(self) -> None:
        """Nothing when they are written. Raises DatabaseUnavailable."""
        while self._waiting:
            given = self._waiting[-1]
            await self._database.fetch(_INTRODUCE, [given["address"].lower(), bytes.fromhex(given["signature"][2:])])
            self._waiting.pop()


def parse(address: str, ages: Ages, info: Mapping[str, Any] | None, runners: Sequence[Any] | None) -> Orchestrator:
    """What is young of a row."""
    return Orchestrator(
        address=address,
        info=offers.info_from_row(info) if ages[0] and info else None,
        runners=tuple(offers.runner_from_row(row) for row in runners) if ages[1] and runners else (),
    )
