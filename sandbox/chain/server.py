"""The chain behind HTTP: JSON-RPC for several processes at once, and the clock that makes blocks."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import uvicorn

from sandbox.chain.deployment import Genesis, chain_file, deploy, existing
from sandbox.chain.keeper import Keeper
from sandbox.chain.node import Chain
from sandbox.chain.rpc import Options, Rpc

PARSE_ERROR = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}}
MAX_BODY_BYTES = 8 * 1024 * 1024


class FolderInUse(Exception):
    """Another process runs the chain in this folder."""


class DifferentChain(Exception):
    """The folder holds a chain with another id."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """`block_seconds` 0 means: no clock, every transaction is mined as it arrives."""

    folder: Path
    port: int
    block_seconds: float
    feed_refresh_seconds: int
    genesis: Genesis
    options: Options


def serve(service: Service) -> None:
    """Runs until SIGINT or SIGTERM. Raises FolderInUse, DifferentChain."""
    # The server passes a signal on once it has stopped; by default that would end us before the tidying up.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    service.folder.mkdir(parents=True, exist_ok=True)
    with (service.folder / "lock").open("w") as lock:
        _take(lock)
        ready_file = service.folder / "chain.json"
        ready_file.unlink(missing_ok=True)
        chain = Chain(
            service.folder / "chain.sqlite3",
            chain_id=service.genesis.chain_id,
            automine=service.block_seconds == 0,
        )
        if chain.store.meta("chain_id") != service.genesis.chain_id:
            raise DifferentChain(f"{service.folder} holds a chain with id {chain.store.meta('chain_id')}")
        try:
            asyncio.run(_run(service, chain, ready_file))
        finally:
            ready_file.unlink(missing_ok=True)
            chain.close()


def _take(lock: TextIO) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderInUse("another process runs the chain in this folder") from error


async def _run(service: Service, chain: Chain, ready_file: Path) -> None:
    deployment = existing(chain) or deploy(chain, service.genesis)
    keeper = Keeper(chain, deployment, feed_refresh_seconds=service.feed_refresh_seconds)
    keeper.attend()
    listener = _listen(service.port)
    rpc_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(Door(Rpc(chain, keeper, service.options)), log_level="warning", access_log=False, lifespan="off")
    )
    content = chain_file(deployment, rpc_url=rpc_url, chain_id=chain.chain_id)
    clock = asyncio.create_task(_clock(chain, keeper, service.block_seconds))
    # The socket listens already: whoever connects from here on waits a moment and is answered.
    _announce(ready_file, content)
    await server.serve(sockets=[listener])
    clock.cancel()
    with suppress(asyncio.CancelledError):
        await clock


def _listen(port: int) -> socket.socket:
    """asyncio turns Nagle's algorithm off only for sockets that name TCP; with it each answer takes 40 ms."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(256)
    return listener


def _announce(ready_file: Path, content: dict[str, Any]) -> None:
    unfinished = ready_file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(unfinished, ready_file)
    print(f"ready {content['rpc_url']}", flush=True)


async def _clock(chain: Chain, keeper: Keeper, block_seconds: float) -> None:
    """A block every `block_seconds`; blocks missed while the machine slept are not made up for."""
    if block_seconds == 0:
        return
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + block_seconds, loop.time())
        await asyncio.sleep(due - loop.time())
        chain.mine()
        keeper.attend()


class Door:
    """The ASGI application: any POST is JSON-RPC, any GET says that the chain is there."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] != "POST":
            await _respond(send, 200, b'{"status":"ok"}')
            return
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                await _respond(send, 413, b'{"error":"request too large"}')
                return
            if not message.get("more_body"):
                break
        await _respond(send, 200, json.dumps(self._answer(bytes(body)), separators=(",", ":")).encode())

    def _answer(self, body: bytes) -> Any:
        try:
            request = json.loads(body)
        except ValueError:
            return PARSE_ERROR
        return self.rpc.answer(request)


async def _respond(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
