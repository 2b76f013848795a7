"""Clients that do not read their answers, or are gone: the signer keeps next to nothing for them."""

import gc
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import uvicorn

from signing.signer.gate import Claim
from signing.signer.plain_requests import Headers
from signing.signer.quick_http import QuickHttp
from signing.signer.server import config

ANSWER = b"x" * 128 * 1024
REQUEST = b"POST /generate-live-payment HTTP/1.1\r\nHost: signer\r\nContent-Length: 2\r\n\r\n{}"
ASKED = 200  # their answers are 25 MiB, and a kernel keeps 10 MiB for both ends at the very most


class Counting:
    """An application whose answers are long."""

    def __init__(self) -> None:
        self.answered = 0

    def claim(self, peer: str | None, headers: Headers) -> Claim:
        return Claim(None, "", "", "")

    async def answer_payment(self, claim: Claim, body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        self.answered += 1
        return 200, ANSWER, {}

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        while scope["type"] == "lifespan":
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
        self.answered += 1
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(ANSWER))]}
        )
        await send({"type": "http.response.body", "body": ANSWER})


@pytest.fixture
def served() -> Iterator[tuple[Counting, tuple[str, int]]]:
    application = Counting()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config(application))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield application, listener.getsockname()
    server.should_exit = True
    thread.join(timeout=15)
    listener.close()
    assert not thread.is_alive()


def test_who_does_not_read_is_not_answered_any_more_until_he_does(served: tuple[Counting, tuple[str, int]]) -> None:
    application, address = served
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        line.connect(address)
        line.settimeout(10)
        for number in range(ASKED):
            line.sendall(REQUEST)
            deadline = time.monotonic() + 0.2
            while application.answered <= number and time.monotonic() < deadline:
                time.sleep(0.0005)
            if application.answered <= number:
                line.sendall(REQUEST * (ASKED - number - 1))
                break
        assert application.answered < ASKED / 2
        head = b"HTTP/1.1 200 OK"
        told, seen, kept = 0, 0, b""
        while told < ASKED or seen < ASKED * len(ANSWER):
            piece = line.recv(1 << 20)
            assert piece
            told += (kept + piece).count(head)
            seen += piece.count(b"x")
            kept = piece[-len(head) + 1 :]
        assert application.answered == ASKED


def test_of_a_connection_that_was_reset_nothing_is_kept(served: tuple[Counting, tuple[str, int]]) -> None:
    def remembered() -> int:
        return sum(issubclass(type(each), QuickHttp) for each in gc.get_objects())

    before = remembered()
    for _ in range(5):
        with socket.create_connection(served[1], timeout=10) as line:
            line.sendall(REQUEST)
            assert line.recv(16, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK\r"
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + 5
    while remembered() > before:
        assert time.monotonic() < deadline
        gc.collect()
        time.sleep(0.05)
