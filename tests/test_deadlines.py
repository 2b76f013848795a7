"""A payment that takes too long is ended in time, and nobody else is: one timer for all means what one each meant."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from signing.signer.deadlines import Deadlines

SECONDS = 0.1
LATE = 1.0  # a machine that is busy is late itself


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Deadlines], Awaitable[None]]], None]:
    def once(story: Callable[[Deadlines], Awaitable[None]]) -> None:
        async def told() -> None:
            await story(Deadlines(seconds=SECONDS))

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(told())

    return once


type Run = Callable[[Callable[[Deadlines], Awaitable[None]]], None]


async def work(deadlines: Deadlines, seconds: float) -> float:
    """Works that long at most, and says how long it was."""
    began = time.monotonic()
    try:
        with deadlines.start():
            await asyncio.sleep(seconds)
    except TimeoutError:
        assert time.monotonic() - began >= SECONDS - 0.005
        return -1.0
    return time.monotonic() - began


def test_what_takes_too_long_is_ended_in_time_once_and_twice(run: Run) -> None:
    async def story(deadlines: Deadlines) -> None:
        for seconds in (10.0, 10.0, 0.01, 10.0):
            began = time.monotonic()
            assert (await work(deadlines, seconds) < 0) == (seconds > SECONDS)
            assert time.monotonic() - began < min(seconds, SECONDS) + LATE
            task = asyncio.current_task()
            assert task
            assert task.cancelling() == 0
        # Whoever was in time is left alone, however long he goes on.
        await asyncio.sleep(SECONDS * 1.5)
        assert await work(deadlines, SECONDS / 2) > 0

    run(story)


def test_many_at_once_each_have_their_own_time(run: Run) -> None:
    async def late(deadlines: Deadlines, number: int) -> None:
        await asyncio.sleep(number * 0.003)
        began = time.monotonic()
        is_slow = number % 3 == 0
        assert (await work(deadlines, 10 if is_slow else number % 2 * SECONDS / 2) < 0) == is_slow
        assert time.monotonic() - began < SECONDS + LATE

    async def story(deadlines: Deadlines) -> None:
        await asyncio.gather(*[late(deadlines, number) for number in range(200)])
        assert await work(deadlines, 10) < 0

    run(story)


def test_cancelled_from_outside_it_stays_a_cancellation(run: Run) -> None:
    async def story(deadlines: Deadlines) -> None:
        early = asyncio.create_task(work(deadlines, 10))
        await asyncio.sleep(SECONDS / 4)
        early.cancel()
        with pytest.raises(asyncio.CancelledError):
            await early

        # Also when its time is over in the same moment.
        async def both() -> None:
            task = asyncio.current_task()
            assert task
            deadline = deadlines.start()
            with deadline:
                deadline.end()
                task.cancel()
                await asyncio.sleep(10)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(both())
        assert await work(deadlines, 10) < 0

    run(story)


def test_the_inner_of_two_limits_and_the_outer_are_told_apart(run: Run) -> None:
    async def story(deadlines: Deadlines) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SECONDS / 4) as outer:
                await work(deadlines, 10)  # would swallow a timeout of its own
        assert outer.expired()
        async with asyncio.timeout(10) as outer:
            assert await work(deadlines, 10) < 0
            await asyncio.sleep(0)
        assert not outer.expired()

    run(story)


def test_whoever_tidies_up_after_his_time_is_not_disturbed_again(run: Run) -> None:
    async def story(deadlines: Deadlines) -> None:
        is_tidy = False

        async def tidy_up() -> None:
            nonlocal is_tidy
            with deadlines.start():
                try:
                    await asyncio.sleep(10)
                finally:
                    await asyncio.sleep(SECONDS * 1.5)
                    is_tidy = True

        with pytest.raises(TimeoutError):
            await tidy_up()
        assert is_tidy

    run(story)


def test_an_error_in_time_stays_what_it_is(run: Run) -> None:
    async def story(deadlines: Deadlines) -> None:
        with pytest.raises(KeyError), deadlines.start():
            raise KeyError
        await asyncio.sleep(SECONDS * 1.2)

    run(story)
