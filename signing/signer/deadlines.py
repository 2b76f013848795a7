"""A limit of time for what many tasks do, with one timer for all of them."""

import asyncio
from types import TracebackType
from typing import Any

_ABOUT_NOW_SECONDS = 0.001


class Deadlines:
    """`with deadlines.start():` raises TimeoutError at what is awaited inside when the seconds are over.

    It means what `asyncio.timeout` means. All have the same seconds, so whoever began first is due first: the one timer
    waits for him, and when he was done long ago, for the oldest of those who are not.
    """

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> "Deadline":
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._ring, loop)
        return Deadline(self._running, loop.time() + self._seconds)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._running:
            oldest = next(iter(self._running))
            left = oldest.due - loop.time()
            if left > _ABOUT_NOW_SECONDS:
                self._timer = loop.call_later(left, self._ring, loop)
                return
            oldest.end()


class Deadline:
    """The time of one task, which must be the one that enters it; `due` is of the loop's clock."""

    __slots__ = ("_cancelling", "_is_over", "_running", "_task", "due")

    def __init__(self, running: "dict[Deadline, None]", due: float) -> None:
        self._running = running
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._is_over = False
        self.due = due

    def end(self) -> None:
        del self._running[self]
        self._is_over = True
        if self._task:
            self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task, "only a task can be stopped"
        self._task = task
        self._cancelling = task.cancelling()
        self._running[self] = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._is_over:
            del self._running[self]
        elif self._task and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            # Nobody else wanted it stopped.
            raise TimeoutError from error
