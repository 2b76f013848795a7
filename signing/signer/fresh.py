"""What changes seldom and counts at once: rows kept in memory for a second at most, read again while payments come."""

import asyncio
import time
from collections.abc import Awaitable, Callable

_REFRESH_AFTER_SECONDS = 0.5
_LIFETIME_SECONDS = 1.0


class Fresh[T]:
    """The result of `read`, at most a second old when `get` answers; `last` is the same without a look at its age."""

    def __init__(self, read: Callable[[], Awaitable[T]], *, empty: T) -> None:
        self.last = empty
        self._read = read
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """Reads ahead after half a second, so that a payment seldom waits. Raises DatabaseUnavailable."""
        age = _LIFETIME_SECONDS if self._read_at is None else time.monotonic() - self._read_at
        if age > _REFRESH_AFTER_SECONDS and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read_again())
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        if age >= _LIFETIME_SECONDS and self._reading:
            await asyncio.shield(self._reading)
        return self.last

    async def _read_again(self) -> None:
        asked_at = time.monotonic()
        self.last = await self._read()
        self._read_at = asked_at
