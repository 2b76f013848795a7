"""AI jobs, each paid by itself at a fixed price: one request every half minute or so."""

import asyncio
import random
import time

from livepeer_gateway import runner_selector

from sandbox.gateway.customer import Customer, say
from sandbox.orchestrator.terms import CAPTION_APP

_PAUSE_SECONDS = (20, 30)


async def jobs(customer: Customer) -> None:
    """Jobs for `session_seconds`; the SDK answers the 402 of each with one payment."""
    end = time.monotonic() + customer.session_seconds
    while True:
        cursor = await runner_selector(
            body={"image": "a small picture"},
            orchestrators=[customer.orchestrator_url],
            app=CAPTION_APP,
            signer_url=customer.signer_url,
            signer_headers=customer.signer_headers,
        )
        result = await cursor.next()
        say("job", f"{result.session_id}: {result.data.get('caption')}")
        pause = random.uniform(*_PAUSE_SECONDS)
        if time.monotonic() + pause > end:
            return
        await asyncio.sleep(pause)
