"""A live runner session, paid by the second: reserve it, send it small frames, close it."""

import asyncio
import os
import time

import aiohttp
from livepeer_gateway import LivepeerGatewayError, LiveRunnerSession, reserve_session

from sandbox.gateway.customer import Customer, SessionLost, say
from sandbox.orchestrator.terms import LIVE_APP

_FRAME_SECONDS = 3


async def live(customer: Customer) -> None:
    """One session of `session_seconds`; the SDK pays in the background. Raises SessionLost."""
    session = await reserve_session(
        orchestrators=[customer.orchestrator_url],
        app=LIVE_APP,
        signer_url=customer.signer_url,
        signer_headers=customer.signer_headers,
    )
    say("live", f"session {session.session_id} open")
    try:
        frames = await _send_frames(session, customer.session_seconds)
    finally:
        await _close(session)
    say("live", f"session {session.session_id} closed after {frames} frames")


async def _send_frames(session: LiveRunnerSession, seconds: float) -> int:
    frames, end = 0, time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
        while time.monotonic() < end:
            async with http.post(session.app_url, data=os.urandom(64)) as answer:
                if answer.status != 200:
                    session.released = True  # nobody is left to say goodbye to
                    raise SessionLost(f"session {session.session_id} is gone (HTTP {answer.status})")
            frames += 1
            await asyncio.sleep(min(_FRAME_SECONDS, max(0, end - time.monotonic())))
    return frames


async def _close(session: LiveRunnerSession) -> None:
    try:
        await session.aclose()
    except LivepeerGatewayError as error:
        say("live", f"could not say goodbye: {error}")
