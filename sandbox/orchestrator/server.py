"""The running orchestrator: its doors and its background work, until it is told to stop."""

import asyncio
from pathlib import Path
from typing import Any

from sandbox.orchestrator.door import open_door
from sandbox.orchestrator.grpc_door import serve_grpc
from sandbox.orchestrator.http_door import serve_http
from sandbox.orchestrator.node import Node


async def serve(node: Node, directory: Path, port: int, *, ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Serve on 127.0.0.1:port; sets `ready` when it listens, returns after `stop`."""
    grpc_server, grpc_port = await serve_grpc(node)
    http_server, http_port = await serve_http(node)
    door = await open_door(directory, "127.0.0.1", port, grpc_port=grpc_port, http_port=http_port)
    background: list[asyncio.Task[Any]] = [
        asyncio.create_task(node.till.run()),
        asyncio.create_task(_debit(node)),
    ]
    ready.set()
    stopped = asyncio.create_task(stop.wait())
    # Background work never ends by itself: if it does, it broke, and so does the process.
    done, _ = await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
    await door.close()
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    await grpc_server.stop(grace=0)
    await http_server.cleanup()
    node.till.close()
    for task in done:
        task.result()


async def _debit(node: Node) -> None:
    while True:
        await asyncio.sleep(node.terms.debit_seconds)
        node.sessions.debit_metered()
