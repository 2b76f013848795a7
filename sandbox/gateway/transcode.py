"""A transcoding stream as a gateway without the SDK would run it: a payment for the pixels of each segment."""

import asyncio
import base64
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from livepeer_gateway import get_orch_info, lp_rpc_pb2

from sandbox.gateway.customer import Customer, SessionLost, say

SEGMENT_SECONDS = 2
SEGMENT_PIXELS = 1280 * 720 * 30 * SEGMENT_SECONDS
_MAX_REFRESHES = 3
_COVERED, _REFRESH = 482, 480


async def transcode(customer: Customer) -> None:
    """One stream of `session_seconds`. Raises SessionLost when signer or orchestrator say no."""
    stream = Stream(customer)
    await stream.refresh()
    say("transcode", f"stream {stream.manifest_id} started")
    end = time.monotonic() + customer.session_seconds
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False), timeout=timeout) as http:
        while time.monotonic() < end:
            begun = time.monotonic()
            await stream.send_segment(http)
            await asyncio.sleep(max(0.0, min(begun + SEGMENT_SECONDS, end) - time.monotonic()))
    say("transcode", f"stream {stream.manifest_id} ended after {stream.segments} segments")


@dataclass
class Stream:
    """What one stream remembers between segments. `owed_pixels` were sent but are not yet paid for."""

    customer: Customer
    manifest_id: str = field(default_factory=lambda: secrets.token_hex(4))
    info: Any = None
    # The first state of a session has both members, empty.
    state: dict[str, Any] = field(default_factory=lambda: {"State": None, "Sig": None})
    credentials: str = ""
    owed_pixels: int = 0
    segments: int = 0

    async def refresh(self) -> None:
        """Fresh OrchestratorInfo; the signer's address and signature come with it."""
        self.info = await asyncio.to_thread(
            get_orch_info,
            self.customer.orchestrator_url,
            signer_url=self.customer.signer_url,
            signer_headers=self.customer.signer_headers,
        )

    async def send_segment(self, http: aiohttp.ClientSession) -> None:
        """Pay for everything owed, then hand the segment over; the answer brings new ticket parameters."""
        self.owed_pixels += SEGMENT_PIXELS
        headers = await self._payment(http)
        url = f"{self.customer.orchestrator_url}/segment?pixels={SEGMENT_PIXELS}"
        async with http.post(url, headers=headers, data=os.urandom(188)) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise SessionLost(f"segment refused: HTTP {answer.status} {body.decode(errors='replace')}")
        self.segments += 1
        if body:
            self.info = lp_rpc_pb2.PaymentResult.FromString(body).info

    async def _payment(self, http: aiohttp.ClientSession) -> dict[str, str]:
        """The headers of the next segment; without a payment when the signer says earlier ones cover it."""
        for _ in range(_MAX_REFRESHES + 1):
            status, answer = await self._ask_signer(http)
            if status == 200:
                self.state, self.credentials, self.owed_pixels = answer["state"], answer["segCreds"], 0
                return {"Livepeer-Payment": answer["payment"], "Livepeer-Segment": self.credentials}
            if status == _COVERED:
                return {"Livepeer-Segment": self.credentials}
            if status != _REFRESH:
                raise SessionLost(f"signer refused: HTTP {status} {answer}")
            await self.refresh()
        raise SessionLost("signer wants one refresh after another")

    async def _ask_signer(self, http: aiohttp.ClientSession) -> tuple[int, dict[str, Any]]:
        request = {
            "ManifestID": self.manifest_id,
            "orchestrator": base64.b64encode(self.info.SerializeToString()).decode(),
            "state": self.state,
            "inPixels": self.owed_pixels,
        }
        url = f"{self.customer.signer_url}/generate-live-payment"
        async with http.post(url, json=request, headers=self.customer.signer_headers) as response:
            return response.status, await response.json(content_type=None)
