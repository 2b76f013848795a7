"""What counts at once is never told when it is old, however slow the answers of the database are."""

import asyncio
import time

from signing.signer.fresh import Fresh


class Slow:
    """Tells when it was asked, after some seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.times = 0

    async def read(self) -> float:
        self.times += 1
        asked_at = time.monotonic()
        await asyncio.sleep(self.seconds)
        return asked_at


def test_a_slow_answer_that_is_old_when_it_comes_is_asked_for_again() -> None:
    async def story() -> None:
        slow = Slow()
        fresh = Fresh(slow.read, empty=0.0)
        assert await fresh.get() <= time.monotonic()
        slow.seconds = 1.4
        keeping = asyncio.create_task(fresh.keep())  # the house asked, and its answer takes its time
        await asyncio.sleep(1.1)
        slow.seconds = 0.0
        assert time.monotonic() - await fresh.get() < 1
        assert slow.times == 3
        await keeping

    asyncio.run(story())


def test_a_payment_waits_for_its_own_question_at_most() -> None:
    async def story() -> None:
        slow = Slow()
        slow.seconds = 1.2
        fresh = Fresh(slow.read, empty=0.0)
        since = time.monotonic()
        told = await asyncio.gather(*[fresh.get() for _ in range(3)])
        assert since <= min(told)
        assert slow.times == 1

    asyncio.run(story())
