"""Many payments, one commit: whatever arrives while a commit is in flight shares the next one."""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg

from signing.signer.asked_payments import AskedPayment, pack
from signing.signer.database import Database, DatabaseUnavailable
from signing.signer.fresh_money import FreshMoney, used_and_paid
from signing.signer.outages import reason
from signing.signer.refusals import Unavailable

logger = logging.getLogger(__name__)

# While so many are committed, the signer drafts the next ones: with all of 64 in one call it would have none left.
MOST_IN_ONE_CALL = 32
_MOST_WAITING = 1024
_ENOUGH_FOR_A_CALL = 24
_SECONDS_TO_GATHER = 0.005
_TURNS_WITHOUT_ANYBODY = 3
_MOST_SECONDS_WAITING = 1.5
# A migration may make the row's type anew, and what connections prepared knows the old one. So the type's number is
# part of the text, to be prepared anew with it; a function tells it, for a literal is prepared with what it was.
_COMMIT = b"SELECT signing_commit_payments($1::signing_asked_payment[], $2::jsonb) -- %d"
_TYPE = "SELECT to_regtype('signing_asked_payment')::oid::bigint"

type Outcome = Mapping[str, Any]

_COMMITTED: Outcome = {"outcome": "committed"}


class Overloaded(Unavailable):
    """More payments wait than can be committed in time."""

    def __init__(self) -> None:
        super().__init__("overloaded", "too many payments are waiting, try again")


class _Waiting(NamedTuple):
    payment: AskedPayment
    outcome: asyncio.Future[Outcome]
    since: float

    def settle(self, result: Outcome | Exception) -> None:
        if self.outcome.done():
            return
        if isinstance(result, Exception):
            self.outcome.set_exception(result)
            self.outcome.exception()  # whoever asked may have stopped waiting: then it is nobody's error
        else:
            self.outcome.set_result(result)


class Batch:
    """A bounded queue in order of arrival and the one task that commits from it."""

    def __init__(self, database: Database, fresh_money: FreshMoney) -> None:
        self._database = database
        self._fresh_money = fresh_money
        self._waiting: deque[_Waiting] = deque()
        self._arrival = asyncio.Event()
        self._closing = False
        self._type_id: int | None = None
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Returns when all that waited is answered."""
        self._closing = True
        self._arrival.set()
        if self._worker:
            await self._worker

    def enqueue(self, payment: AskedPayment) -> asyncio.Future[Outcome]:
        """The payment's place in the queue, taken at once. Raises Overloaded.

        The future gives the database's result, or raises Unavailable: after DatabaseUnavailable the payment may or may
        not have been committed, and the same request asked again tells.
        """
        if self._closing or len(self._waiting) >= _MOST_WAITING:
            raise Overloaded
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(payment, outcome, time.monotonic()))
        self._arrival.set()
        return outcome

    async def _work(self) -> None:
        while not (self._closing and not self._waiting):
            await self._arrival.wait()
            self._arrival.clear()
            count = 1
            while self._waiting:
                if count > 1:
                    await self._gather(count)
                count = min(len(self._waiting), MOST_IN_ONE_CALL)
                await self._commit_together([self._waiting.popleft() for _ in range(count)])

    async def _gather(self, answered: int) -> None:
        """Whoever was answered by the last commit asks again about now: one call for many costs less than several."""
        wanted = min(answered + len(self._waiting), _ENOUGH_FOR_A_CALL)
        patience = time.monotonic() + _SECONDS_TO_GATHER
        turns = 0
        while turns < _TURNS_WITHOUT_ANYBODY and len(self._waiting) < wanted and time.monotonic() < patience:
            before = len(self._waiting)
            await asyncio.sleep(0)
            turns = 0 if len(self._waiting) > before else turns + 1

    async def _commit_together(self, together: Sequence[_Waiting]) -> None:
        try:
            results = await self._call([waiting.payment for waiting in together])
        except DatabaseUnavailable:
            self._give_up(together)
        except Exception as error:
            _log(error, len(together))
            self._type_id = None
            await self._commit_apart(together)
        else:
            for waiting, result in zip(together, results, strict=True):
                waiting.settle(result)

    async def _commit_apart(self, together: Sequence[_Waiting]) -> None:
        """One payment the database cannot take must not spoil the others."""
        locked: set[object] = set()
        for waiting in together:
            customer = waiting.payment.customer
            if customer in locked or time.monotonic() - waiting.since > _MOST_SECONDS_WAITING:
                waiting.settle(Overloaded())
                continue
            try:
                waiting.settle((await self._call([waiting.payment]))[0])
            except DatabaseUnavailable:
                waiting.settle(DatabaseUnavailable())
            except psycopg.errors.LockNotAvailable:
                locked.add(customer)
                waiting.settle(Overloaded())
            except Exception as error:
                _log(error, 1)
                waiting.settle(Unavailable("not_committed", "the payment could not be committed"))

    def _give_up(self, together: Sequence[_Waiting]) -> None:
        """Nobody waits for a database that is away: all in the queue are told now, the next one tries again."""
        for waiting in (*together, *self._waiting):
            waiting.settle(DatabaseUnavailable())
        self._waiting.clear()

    async def _call(self, payments: Sequence[AskedPayment]) -> Sequence[Outcome]:
        if self._type_id is None:
            self._type_id = int((await self._database.fetch(_TYPE))[0][0])
        packed = pack(payments, type_id=self._type_id)
        take = self._fresh_money.take(payments)
        try:
            told = await self._database.ask(_COMMIT % self._type_id, packed, take.rules)
        except psycopg.Error as error:
            # An answer of the server: nothing was committed.
            self._fresh_money.settle(take, {}, ()) if error.sqlstate else self._fresh_money.lose(take)
            raise
        except BaseException:
            self._fresh_money.lose(take)
            raise
        answer: Mapping[str, Any] | None = json.loads(told) if told else None
        self._fresh_money.settle(take, *used_and_paid(payments, answer))
        return [_COMMITTED] * len(payments) if answer is None else answer["results"]


def _log(error: Exception, payments: int) -> None:
    logger.error("a commit of %d payments failed: %s", payments, reason(error))
