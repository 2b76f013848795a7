"""A live video-to-video stream, paid by the pixel-second: tiny segments in, the same segments out."""

import asyncio
import contextlib
import os
import time

from livepeer_gateway import ControlConfig, ControlMode, StartJobRequest, TricklePublisher, start_lv2v

from sandbox.gateway.customer import Customer, SessionLost, say
from sandbox.orchestrator.terms import LV2V_MODEL

_SEGMENT_SECONDS = 2
_SEGMENT_BYTES = 188  # one packet of a transport stream


async def lv2v(customer: Customer) -> None:
    """One stream of `session_seconds`; the SDK pays as output segments arrive. Raises SessionLost."""
    # The SDK's start blocks, so it runs in a thread; what needs the event loop is started here afterwards.
    job = await asyncio.to_thread(
        start_lv2v,
        [customer.orchestrator_url],
        StartJobRequest(model_id=LV2V_MODEL),
        start_payments=False,
        signer_url=customer.signer_url,
        signer_headers=customer.signer_headers,
        control_config=ControlConfig(mode=ControlMode.DISABLED),
    )
    say("lv2v", f"stream {job.manifest_id} started")
    publisher = TricklePublisher(job.publish_url, "video/mp2t")
    try:
        payments = job.start_payment_sender()
        if job.control is not None:
            job.control.start_keepalive()
        end = time.monotonic() + customer.session_seconds
        while time.monotonic() < end:
            if payments is None or payments.done():
                raise SessionLost(f"stream {job.manifest_id} was ended by the orchestrator")
            async with await publisher.next() as segment:
                await segment.write(os.urandom(_SEGMENT_BYTES))
            await asyncio.sleep(min(_SEGMENT_SECONDS, max(0, end - time.monotonic())))
    finally:
        await publisher.close()
        with contextlib.suppress(asyncio.CancelledError):
            await job.close()
    say("lv2v", f"stream {job.manifest_id} ended")
