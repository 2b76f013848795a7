"""Who may be paid: the operator's policy, the registered orchestrators and the addresses staff listed or blocked."""

import asyncio
import time
from collections.abc import Mapping

from signing.pm.state import address_text
from signing.signer.database import Database
from signing.signer.refusals import Refused

_REFRESH_AFTER_SECONDS = 0.5
_LIFETIME_SECONDS = 1.0
_STANDINGS = "SELECT lower(address), standing FROM signing_recipient"


class Recipients:
    """The operator's list, read again once a second while payments come."""

    def __init__(self, database: Database, policy: str) -> None:
        self.policy = policy
        self._database = database
        self._standings: Mapping[str, str] = {}
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    async def check(self, recipient: bytes, registered: frozenset[bytes]) -> None:
        """Raises Refused (403) for a recipient that may not be paid, or DatabaseUnavailable."""
        standing = (await self._current()).get(address_text(recipient))
        if standing == "blocked":
            raise Refused(403, "recipient_blocked", "the ticket's recipient is blocked")
        if self.policy == "listed" and standing != "listed":
            raise Refused(403, "recipient_not_listed", "the ticket's recipient is not listed")
        if self.policy == "registered" and recipient not in registered:
            raise Refused(
                403, "recipient_not_registered", "the ticket's recipient is no active registered orchestrator"
            )

    async def _current(self) -> Mapping[str, str]:
        age = _LIFETIME_SECONDS if self._read_at is None else time.monotonic() - self._read_at
        if age > _REFRESH_AFTER_SECONDS and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        if age >= _LIFETIME_SECONDS and self._reading:
            await asyncio.shield(self._reading)
        return self._standings

    async def _read(self) -> None:
        asked_at = time.monotonic()
        rows = await self._database.fetch(_STANDINGS)
        self._standings = {str(address): str(standing) for address, standing in rows}
        self._read_at = asked_at
