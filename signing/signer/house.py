"""The signer's rooms put together, opened and closed in order, and the small work that never waits in a payment."""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psycopg

from signing.chain.answers import ChainUnavailable
from signing.chain.view import ChainView
from signing.signer.authentication import Authentication
from signing.signer.batch import Batch
from signing.signer.database import Database
from signing.signer.discovery import Introductions
from signing.signer.outages import reason
from signing.signer.payments import Chain
from signing.signer.price_rules import PriceRules
from signing.signer.rates import Rates
from signing.signer.recipients import Recipients
from signing.signer.refusal_notes import RefusalNotes
from signing.signer.refusals import Unavailable
from signing.signer.stops import Stops

logger = logging.getLogger(__name__)

_ROUND_SECONDS = 0.5
_ROUNDS_BETWEEN_NOTES = 10
# A commit of no payments, and the rights that a payment needs before it.
_ABLE = """
    SELECT signing_commit_payments('{}') IS NOT NULL AND (
        SELECT bool_and(has_function_privilege(name, 'EXECUTE')) FROM unnest(%s::text[]) AS name
    ) AND (
        SELECT bool_and(has_table_privilege(name, 'SELECT')) FROM unnest(%s::text[]) AS name
    )
"""
_CALLED = [
    "signing_lease_fresh(uuid, jsonb, interval)",
    "signing_pin_sender(bigint, text[])",
    "billing_record_rate(text, numeric, bigint, timestamptz)",
]
_READ = [
    "accounts_apikey",
    "accounts_customer",
    "signing_senderpin",
    "signing_stop",
    "signing_recipientrule",
    "signing_priceceiling",
    "billing_markup",
]

type Chore = Callable[[], Awaitable[None]]


@dataclass(kw_only=True)
class House:
    """Opens the database and the batch; keeps what payments go by up to date.

    A payment that would look for itself would start all of it at once, and wait behind it.
    """

    database: Database
    batch: Batch
    authentication: Authentication
    rates: Rates
    price_rules: PriceRules
    stops: Stops
    recipients: Recipients
    introductions: Introductions
    refusal_notes: RefusalNotes
    chain: Chain
    _keeper: asyncio.Task[None] | None = None
    _checked_at: float = -math.inf

    async def open(self) -> None:
        await self.database.open()
        self.batch.start()
        with contextlib.suppress(Unavailable):
            await self.database.measure_clock()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Answers what is queued, then lets go of the database."""
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        await self.batch.stop()
        try:
            await self.authentication.note_use()
            await self.refusal_notes.write()
        except Unavailable:
            pass
        except Exception:
            logger.exception("the last notes could not be written")
        await self.database.close()

    async def check(self, view: ChainView) -> None:
        """Raises Unavailable when a payment could not be committed now.

        Anybody may ask, so the database is asked twice a second at most.
        """
        if time.monotonic() - self._checked_at > _ROUND_SECONDS:
            await self.database.check()
            await self._check_database()
            self._checked_at = time.monotonic()
        self.recipients.check_roster(view)
        self.database.now_ns()
        await self.rates.row_of(view.rate)

    async def _check_database(self) -> None:
        try:
            is_able = (await self.database.fetch(_ABLE, [_CALLED, _READ]))[0][0]
        except psycopg.Error as error:
            logger.error("the database is not as a payment needs it: %s", reason(error))
            is_able = False
        if not is_able:
            raise Unavailable("database_unfit", "the database lacks what a payment needs, or refuses it to the signer")

    async def _keep(self) -> None:
        """One thing at a time with a pause after each: a payment that comes meanwhile waits behind one at most."""
        rules: Sequence[Chore] = (
            self.price_rules.renew,
            self.stops.keep,
            self.recipients.keep,
            self.authentication.keep,
            self._keep_rate,
        )
        notes: Sequence[Chore] = (
            self.database.measure_clock,
            self.authentication.note_use,
            self.introductions.write,
            self.refusal_notes.write,
        )
        pause = _ROUND_SECONDS / (len(rules) + 1)
        for number in itertools.count():
            turn = number % _ROUNDS_BETWEEN_NOTES
            chores = (*rules, *notes[turn : turn + 1])
            try:
                if not self.database.knows_the_time:
                    await self.database.measure_clock()
                for chore in chores:
                    await chore()
                    await asyncio.sleep(pause)
            except Exception as error:
                # The next round tries again, and a payment that needs it says so itself.
                if not isinstance(error, Unavailable):
                    logger.exception("housekeeping failed")
                await asyncio.sleep(_ROUND_SECONDS)

    async def _keep_rate(self) -> None:
        with contextlib.suppress(ChainUnavailable):
            await self.rates.row_of(self.chain.view().rate)
