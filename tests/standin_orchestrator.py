"""The sandbox orchestrator with all its doors open over a chain that lives in memory."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.orchestrator.chain import ChainState, RedemptionRefused, SenderInfo, Winner
from sandbox.orchestrator.node import Node
from sandbox.orchestrator.server import serve
from sandbox.orchestrator.terms import Terms

RECIPIENT = bytes.fromhex("3c44cdddb6a900fa2b585dd299e03d12fa4293bc")


def _first_state() -> ChainState:
    return ChainState(
        l1_block=1000,
        last_initialized_round=7,
        creation_round=7,
        creation_round_block_hash=bytes([7]) * 32,
        pool_size=2,
        active=True,
    )


def _rich_sender() -> SenderInfo:
    return SenderInfo(deposit_wei=10**18, withdraw_round=0, reserve_wei=10**18, claimed_wei=0, claimed_by_us_wei=0)


@dataclass
class ChainInMemory:
    """A chain whose figures a test sets, and which remembers what was redeemed."""

    now: ChainState = field(default_factory=_first_state)
    sender_info: SenderInfo = field(default_factory=_rich_sender)
    batches: list[Sequence[Winner]] = field(default_factory=list)
    used: set[bytes] = field(default_factory=set)
    refuses: str = ""
    leaves_out_last: bool = False

    async def state(self) -> ChainState:
        return self.now

    async def sender(self, address: bytes) -> SenderInfo:
        return self.sender_info

    async def redeem(self, winners: Sequence[Winner]) -> str:
        self.batches.append(winners)
        if self.refuses:
            raise RedemptionRefused(self.refuses)
        paid = winners[:-1] if self.leaves_out_last else winners
        self.used |= {winner.ticket.hash() for winner in paid}
        return f"0x{len(self.batches):064x}"

    async def settled(self, ticket_hash: bytes) -> bool:
        return ticket_hash in self.used


@contextmanager
def served_node(chain: ChainInMemory, directory: Path, terms: Terms) -> Iterator[Node]:
    """A node that listens on its service_uri, in a thread of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"https://127.0.0.1:{port}"
    listening = threading.Event()
    running: list[tuple[Node, Callable[[], object]]] = []

    async def run() -> None:
        node = Node(address=RECIPIENT, chain=chain, service_uri=uri, directory=directory, terms=terms)
        ready, stop, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
        running.append((node, lambda: loop.call_soon_threadsafe(stop.set)))
        serving = asyncio.create_task(serve(node, directory, port, ready=ready, stop=stop))
        await ready.wait()
        listening.set()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert listening.wait(timeout=20)
    node, stop = running[0]
    try:
        yield node
    finally:
        stop()
        thread.join()
