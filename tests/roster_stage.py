"""The stage of the roster's stories: a watch on a sandbox chain, through an endpoint that may refuse or meddle."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

from sandbox.chain.client import SandboxChain
from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.chain.view import ChainView
from signing.chain.watch import ChainWatch
from tests.held_chain import HeldChain

FIRST_IN_POOL = "0x88a6c749"
NEXT_IN_POOL = "0x235c9603"
MUCH_STAKE = 10**30

type Meddle = Callable[[str, list[Any]], str]
"""Gets a function's selector, empty for what is no call, and the request's parameters; a text is answered as error."""


@contextmanager
def through(sandbox: SandboxChain, meddle: Meddle) -> Iterator[Chain]:
    """The chain, read over an endpoint that lets `meddle` see each request first."""

    class Meddler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = json.loads(body)
            call = request["params"][0] if request["method"] == "eth_call" else {}
            refusal = meddle(str(call.get("data") or call.get("input") or "")[:10], request["params"])
            if refusal:
                error = {"code": -32000, "message": refusal}
                answer = json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
            else:
                with urlopen(Request(sandbox.rpc_url, body, {"Content-Type": "application/json"})) as answered:
                    answer = answered.read()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Meddler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chain = Chain([f"http://127.0.0.1:{server.server_port}"], controller=sandbox.controller_address)
        yield chain
        chain.close()
        server.shutdown()


@contextmanager
def watching(sandbox: SandboxChain, chain: Chain, *, roster_seconds: float = 0.2) -> Iterator[ChainWatch]:
    """A watch that has seen the chain."""
    watch = ChainWatch(
        chain,
        sender=sandbox.accounts["sender"].address,
        feed_address=sandbox.eth_usd_feed_address,
        refresh_seconds=0.05,
        max_age_seconds=30,
        rate_max_age_seconds=600,
        roster_seconds=roster_seconds,
    )
    watch.start()
    try:
        until(lambda: is_seen(watch))
        yield watch
    finally:
        watch.stop()


def is_seen(watch: ChainWatch) -> bool:
    try:
        watch.view()
    except ChainUnavailable:
        return False
    return True


def until[Result](ask: Callable[[], Result]) -> Result:
    """The first truthy answer within ten seconds."""
    deadline = time.monotonic() + 10
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


class FollowedChain(HeldChain):
    """Held still, but for the roster, which is that of a watch."""

    def __init__(self, watch: ChainWatch) -> None:
        super().__init__()
        self._watch = watch

    def view(self) -> ChainView:
        seen = self._watch.view()
        return replace(super().view(), active_recipients=seen.active_recipients, roster_is_old=seen.roster_is_old)


class Pool:
    """Orchestrators that this test alone enrols, in front of those the sandbox has."""

    def __init__(self, sandbox: SandboxChain) -> None:
        self._sandbox = sandbox
        self._enrolled: list[bytes] = []

    def enrol(self, count: int = 1, *, rounds_from_now: int = 0) -> Sequence[bytes]:
        """In the order of the list; active from that round on."""
        found = [os.urandom(20) for _ in range(count)]
        start = self._sandbox.current_round() + rounds_from_now
        for number, recipient in enumerate(found):
            self._sandbox.register(text(recipient), stake_wei=MUCH_STAKE - number, active_from_round=start)
        self._enrolled += found
        return found

    def leave(self, recipient: bytes) -> None:
        """As an eviction: out of the pool now, active until the round ends."""
        self._sandbox.deactivate(text(recipient), from_round=self._sandbox.current_round() + 1)

    def close(self) -> None:
        for recipient in self._enrolled:
            self._sandbox.unregister(text(recipient))


def text(address: bytes) -> str:
    return "0x" + address.hex()
