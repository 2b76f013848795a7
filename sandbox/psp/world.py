"""What every handler is given: the memory, the clock, the merchant's settings and who asked."""

import asyncio
import dataclasses
import secrets
import string
import time

from sandbox.psp.errors import JSON, ApiError, no_such
from sandbox.psp.store import Store

API_VERSION = "2026-10-28.endive"
LETTERS = string.ascii_letters + string.digits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One webhook receiver of the merchant."""

    url: str
    secret: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cause:
    """The API request an event comes from; both None when the customer or the clock did it."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    store: Store
    url: str
    secret_key: str
    merchant: str
    endpoints: tuple[Endpoint, ...]
    retry_base_seconds: float
    max_tries: int
    news: asyncio.Event
    alarm: asyncio.Event
    cause: Cause = Cause()

    def now(self) -> int:
        """The provider's own time in whole seconds: the machine's plus what the knob moved it forward."""
        return int(self.exact_now())

    def exact_now(self) -> float:
        return time.time() + float(self.store.setting("clock_offset_seconds", 0))

    def schedule(self, *, due: float, kind: str, subject: str) -> None:
        """Puts one thing on the agenda, in the transaction that asks for it."""
        self.store.db.execute("INSERT INTO agenda (due, kind, subject) VALUES (?, ?, ?)", (due, kind, subject))
        self.alarm.set()

    def need(self, kind: str, id: str, *, param: str = "id") -> JSON:
        found = self.store.find(id, kind)
        if found is None:
            raise no_such(kind, id, param=param)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One API request after authentication: unchecked parameters, the id in the path, what to expand."""

    world: World
    params: JSON
    id: str
    expand: list[str]


def new_id(prefix: str, length: int = 24) -> str:
    return prefix + "".join(secrets.choice(LETTERS) for _ in range(length))


def take_expand(params: JSON) -> list[str]:
    """Removes `expand[]` from the parameters and gives its paths."""
    given = params.pop("expand", {})
    if not isinstance(given, dict) or not all(isinstance(path, str) for path in given.values()):
        raise ApiError("Invalid array", param="expand")
    return [str(path) for path in given.values()]
