"""Start gateways: python -m sandbox.gateway --kind all --signer-url URL --api-key KEY --orchestrator-url URL"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from typing import Any

from sandbox.gateway.customer import Customer, Work, keep_working, say
from sandbox.gateway.job import jobs
from sandbox.gateway.live import live
from sandbox.gateway.lv2v import lv2v
from sandbox.gateway.transcode import transcode

KINDS: dict[str, Work] = {"live": live, "lv2v": lv2v, "transcode": transcode, "job": jobs}
_GOODBYE_SECONDS = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(prog="sandbox.gateway")
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--signer-url", required=True)
    parser.add_argument("--api-key", default="", help="or set GATEWAY_API_KEY")
    parser.add_argument("--orchestrator-url", required=True)
    parser.add_argument("--session-seconds", type=float, default=15 * 60, help="then a new session is opened")
    parser.add_argument("--forever", action="store_true")
    arguments = parser.parse_args()
    customer = Customer(
        signer_url=arguments.signer_url.rstrip("/"),
        api_key=arguments.api_key or os.environ["GATEWAY_API_KEY"],
        orchestrator_url=arguments.orchestrator_url.rstrip("/"),
        session_seconds=arguments.session_seconds,
    )
    _listen_to_the_sdk()
    kinds = list(KINDS) if arguments.kind == "all" else [arguments.kind]
    went_well = asyncio.run(_run(kinds, customer, forever=arguments.forever))
    sys.exit(0 if went_well else 1)


async def _run(kinds: list[str], customer: Customer, *, forever: bool) -> bool:
    """All kinds side by side until they are done or a signal ends the process."""
    work = [asyncio.create_task(keep_working(kind, KINDS[kind], customer, forever=forever)) for kind in kinds]
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    stop = asyncio.create_task(stopping.wait())
    finished = asyncio.gather(*work)
    ends: list[asyncio.Future[Any]] = [finished, stop]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.is_set():
        stop.cancel()
        return all(finished.result())
    for task in work:
        task.cancel()
    await asyncio.wait(work, timeout=_GOODBYE_SECONDS)
    # A thread may still wait for the signer; nobody waits for that thread.
    os._exit(0)


class _OneLine(logging.Handler):
    """The SDK's log without its tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        cause = f" ({record.exc_info[1]})" if record.exc_info and record.exc_info[1] else ""
        say("sdk", record.getMessage() + cause)


def _listen_to_the_sdk() -> None:
    """Payments are worth a line; what the SDK's media transport says of a lost connection, we say ourselves."""
    log = logging.getLogger("livepeer_gateway")
    log.propagate = False
    log.addHandler(logging.NullHandler())
    for module in ("remote_signer", "live_runner", "lv2v"):
        log.getChild(module).addHandler(_OneLine())
        log.getChild(module).setLevel(logging.INFO)


main()
