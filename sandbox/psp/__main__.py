"""Starts the provider: `python -m sandbox.psp --port 0 --dir DIR --secret-key sk_test_x ...`."""

import argparse
import asyncio
import fcntl
import logging
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from sandbox.psp import agenda, app, webhooks
from sandbox.psp.store import Store
from sandbox.psp.world import Endpoint, World


def main() -> None:
    given = _arguments()
    logging.basicConfig(level=logging.WARNING, format="sandbox.psp %(levelname)s %(message)s")
    given.dir.mkdir(parents=True, exist_ok=True)
    with (given.dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"Another provider is already running on {given.dir}.")
        asyncio.run(_serve(given))


async def _serve(given: argparse.Namespace) -> None:
    """Binds first: the pages' addresses need the port, then answers until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    bound = socket.create_server(("127.0.0.1", given.port))
    world = _world(given, f"http://127.0.0.1:{bound.getsockname()[1]}")
    runner = web.AppRunner(app.build(world), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, bound).start()
    background = [asyncio.create_task(work) for work in (webhooks.carry(world), agenda.keep(world))]
    for task in background:
        task.add_done_callback(lambda ended: stop.set())
    print("ready", world.url, flush=True)
    await stop.wait()
    for task in background:
        task.cancel()
    results = await asyncio.gather(*background, return_exceptions=True)
    await runner.cleanup()
    world.store.close()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


def _world(given: argparse.Namespace, url: str) -> World:
    secrets = given.webhook_secret
    if len(secrets) == 1:
        secrets = secrets * len(given.webhook_url)
    pairs = zip(given.webhook_url, secrets, strict=True)
    return World(
        store=Store(given.dir / "psp.sqlite3"),
        url=url,
        secret_key=given.secret_key,
        merchant=given.merchant,
        endpoints=tuple(Endpoint(url=address, secret=secret) for address, secret in pairs),
        retry_base_seconds=given.retry_base,
        max_tries=given.max_tries,
        news=asyncio.Event(),
        alarm=asyncio.Event(),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.psp", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--dir", type=Path, required=True, help="where the provider keeps its state")
    parser.add_argument("--secret-key", required=True)
    parser.add_argument("--webhook-url", action="append", default=[], help="may be given several times")
    parser.add_argument("--webhook-secret", action="append", default=[], help="one for all, or one for each URL")
    parser.add_argument("--merchant", default="Clearinghouse", help="the name the payment page shows")
    parser.add_argument("--retry-base", type=float, default=1.0, help="seconds before the first retry; then doubled")
    parser.add_argument("--max-tries", type=int, default=12, help="tries of one delivery before it is given up")
    given = parser.parse_args()
    if len(given.webhook_secret) not in (1, len(given.webhook_url)):
        parser.error("give one --webhook-secret for all receivers or one for each --webhook-url")
    return given


if __name__ == "__main__":
    main()
