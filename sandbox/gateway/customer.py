"""Who the gateways are: one customer's key, where it goes, and how it keeps going when told no."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from livepeer_gateway import LivepeerGatewayError

FIRST_PAUSE_SECONDS = 2
LONGEST_PAUSE_SECONDS = 60


class SessionLost(Exception):
    """The work ended early: the orchestrator closed it, or the signer would not pay for it any longer."""


@dataclass(frozen=True, kw_only=True)
class Customer:
    signer_url: str
    api_key: str
    orchestrator_url: str
    session_seconds: float

    @property
    def signer_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


type Work = Callable[[Customer], Awaitable[None]]


async def keep_working(kind: str, work: Work, customer: Customer, *, forever: bool) -> bool:
    """Do the work once, or for ever; after a refusal wait, longer each time. False when it did not go well."""
    pause: float = FIRST_PAUSE_SECONDS
    while True:
        started = time.monotonic()
        try:
            await work(customer)
            went_well = True
        except (LivepeerGatewayError, SessionLost, aiohttp.ClientError, OSError, TimeoutError) as error:
            went_well = False
            say(kind, f"stopped: {error}")
        if not forever:
            return went_well
        if went_well or time.monotonic() - started > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        # Customers that were refused together should not come back together.
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def say(kind: str, text: str) -> None:
    """One short line an event; texts come from answers, never from our headers."""
    line = " ".join(text.split())[:200]
    print(f"{time.strftime('%H:%M:%S')} {kind:<9} {line}", flush=True)
