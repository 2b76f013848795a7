"""Who is asking: API keys by their digest, remembered for less than a second."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from accounts import api_keys
from signing.signer.database import Database
from signing.signer.fresh import REFRESH_AFTER_SECONDS
from signing.signer.refusals import Refused, Unavailable

logger = logging.getLogger(__name__)

_LIFETIME_SECONDS = 1.0
_NEW_SECONDS = 0.25
_MOST_REMEMBERED = 20_000
_MOST_IN_ONE_QUERY = 500
_LONGEST_KEY = 512
_KEYS = """
    SELECT k.secret_sha256, k.id, k.customer_id, c.status, coalesce(s.address, '')
    FROM accounts_apikey k JOIN accounts_customer c ON c.id = k.customer_id
    LEFT JOIN signing_senderpin s ON s.customer_id = k.customer_id
    WHERE k.secret_sha256 = ANY(%s) AND k.revoked_at IS NULL
"""
_USED = """
    UPDATE accounts_apikey SET last_used_at = clock_timestamp()
    WHERE id = ANY(%s) AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A key that is not revoked, and its customer as of less than a second ago.

    `sender` is the lower-case address the customer pays from, empty before the first payment.
    """

    api_key_id: int
    customer_id: int
    is_active: bool
    sender: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller | None
    since: float


class NotAuthenticated(Refused):
    """No key, an unknown one or a revoked one."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(401, code, message, {"WWW-Authenticate": "Bearer"})


def digest_of(authorization: str | None) -> bytes | None:
    """The digest of the key in an Authorization header; None when there is none."""
    scheme, _, key = (authorization or "").strip().partition(" ")
    key = key.strip()
    return api_keys.digest(key[: _LONGEST_KEY + 1]) if scheme.lower() == "bearer" and key else None


class Authentication:
    """Looks digests up, many in one query, and looks the busy ones up again before they grow old."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._wanted: dict[bytes, asyncio.Future[Caller | None]] = {}
        self._lookup: asyncio.Task[None] | None = None
        self._busy: set[bytes] = set()
        self._used: set[int] = set()
        self._noted: dict[int, float] = {}

    def known(self, digest: bytes | None) -> Caller | None:
        """Whose key this is, if that was found out less than a second ago; else None: `find` tells."""
        known = self._known.get(digest) if digest else None
        if digest is None or known is None or known.caller is None or not self._is_fresh(digest, known):
            return None
        self._used.add(known.caller.api_key_id)
        return known.caller

    def is_expected(self, digest: bytes) -> bool:
        """Whether this was somebody's key when it was looked up last, or is just being looked up."""
        known = self._known.get(digest)
        return (known is not None and known.caller is not None) or digest in self._wanted

    async def find(self, digest: bytes) -> Caller | None:
        """Whose key this is; None for an unknown one or a revoked one. Raises DatabaseUnavailable."""
        known = self._known.get(digest)
        is_fresh = known is not None and self._is_fresh(digest, known)
        caller = known.caller if known and is_fresh else await self._find_out(digest)
        if caller is not None:
            self._used.add(caller.api_key_id)
        return caller

    async def _find_out(self, digest: bytes) -> Caller | None:
        now = time.monotonic()
        caller = await asyncio.shield(self._look_up(digest))
        known = self._known.get(digest)
        if known and known.since < min(now, time.monotonic() - _LIFETIME_SECONDS):
            # It was asked for before, and was slow to come.
            caller = await asyncio.shield(self._look_up(digest))
        return caller

    async def keep(self) -> None:
        """Looks all keys up again that came since the last time."""
        self._look_up_busy()
        if self._lookup:
            await asyncio.shield(self._lookup)

    async def note_use(self) -> None:
        """Writes the time of last use, at most once a minute for each key."""
        now = time.monotonic()
        self._noted = {key: at for key, at in self._noted.items() if now - at < 60}
        fresh = sorted(self._used - self._noted.keys())
        self._used.clear()
        if fresh:
            await self._database.fetch(_USED, [fresh])
            self._noted.update(dict.fromkeys(fresh, now))

    def _is_fresh(self, digest: bytes, known: _Known) -> bool:
        """Whether this may be told; whoever is told keeps the key among the busy ones."""
        age = time.monotonic() - known.since
        if age >= _LIFETIME_SECONDS:
            return False
        self._busy.add(digest)
        if age > REFRESH_AFTER_SECONDS:
            self._look_up_busy()
        return True

    def _look_up_busy(self) -> None:
        """One is due, so are soon all that were asked about since: they share a query, now and from then on."""
        now = time.monotonic()
        for digest in self._busy:
            if now - self._known[digest].since > _NEW_SECONDS:
                self._look_up(digest)
        self._busy.clear()

    def _look_up(self, digest: bytes) -> asyncio.Future[Caller | None]:
        """The answer to come for this digest; all that are wanted at one moment share a query."""
        wanted = self._wanted.get(digest)
        if wanted is None:
            wanted = self._wanted[digest] = asyncio.get_running_loop().create_future()
            # Nobody may be waiting: a refresh that fails is tried again by the next request.
            wanted.add_done_callback(lambda done: done.cancelled() or done.exception())
            if self._lookup is None or self._lookup.done():
                self._lookup = asyncio.create_task(self._look_up_wanted())
        return wanted

    async def _look_up_wanted(self) -> None:
        while self._wanted:
            digests = list(self._wanted)[:_MOST_IN_ONE_QUERY]
            asked_at = time.monotonic()
            try:
                rows = await self._database.fetch(_KEYS, [digests])
            except Exception as error:
                self._fail(digests, error)
                continue
            found = {
                bytes(secret): Caller(
                    api_key_id=key, customer_id=customer, is_active=status == "active", sender=str(sender)
                )
                for secret, key, customer, status, sender in rows
            }
            for digest in digests:
                self._remember(digest, found.get(digest), asked_at)

    def _remember(self, digest: bytes, caller: Caller | None, asked_at: float) -> None:
        self._known[digest] = _Known(caller, asked_at)
        self._known.move_to_end(digest)
        if len(self._known) > _MOST_REMEMBERED:
            self._busy.discard(self._known.popitem(last=False)[0])
        self._wanted.pop(digest).set_result(caller)

    def _fail(self, digests: Iterable[bytes], error: Exception) -> None:
        if not isinstance(error, Unavailable):
            logger.error("API keys could not be read: %s", type(error).__name__)
            error = Unavailable("database_unavailable", "the database is unavailable, try again")
        for digest in digests:
            self._wanted.pop(digest).set_exception(error)
