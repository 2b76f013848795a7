"""What changes seldom and counts at once: rows kept in memory for a second at most, read again while payments come."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

# Reading again twice a second is the house's work; a payment starts it only where the house came late.
REFRESH_AFTER_SECONDS = 0.75
_LIFETIME_SECONDS = 1.0


class Fresh[T]:
    """The result of `read`; `last` is the same without a look at its age.

    When `get` answers it is at most a second old, or was asked for after `get` was.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], *, empty: T) -> None:
        self.last = empty
        self._read = read
        self._read_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        self._was_asked = False

    def is_young(self, now: float) -> bool:
        """Whether `last` serves at `now` of the monotonic clock as it is, without the waiting that `get` may bring."""
        self._was_asked = True
        return now - self._read_at <= REFRESH_AFTER_SECONDS

    async def get(self) -> T:
        """Waits only for what is too old. Raises DatabaseUnavailable."""
        self._was_asked = True
        now = time.monotonic()
        if now - self._read_at > REFRESH_AFTER_SECONDS:
            self._begin()
            # What was asked for before, and is slow to come, may be too old when it comes.
            while self._read_at < min(now, time.monotonic() - _LIFETIME_SECONDS):
                await asyncio.shield(self._begin())
        return self.last

    async def keep(self) -> None:
        """Reads again what was asked for since the last time. Raises DatabaseUnavailable."""
        if self._was_asked:
            self._was_asked = False
            await self.renew()

    async def renew(self) -> None:
        """Reads again now. Raises DatabaseUnavailable."""
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_again())
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._reading

    async def _read_again(self) -> None:
        asked_at = time.monotonic()
        self.last = await self._read()
        self._read_at = asked_at
