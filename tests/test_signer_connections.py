"""Connections that ask for nothing: they end soon, and however many there are, who asks is heard."""

import asyncio
import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import pytest
import uvicorn

from signing.signer import lobby, quick_http
from signing.signer.gate import Claim
from signing.signer.plain_requests import Headers
from signing.signer.server import config

PAYMENT = b"POST /generate-live-payment HTTP/1.1\r\nHost: signer\r\nContent-Length: 2\r\n\r\n{}"
PROBE = b"GET /healthz HTTP/1.1\r\nHost: signer\r\n\r\n"
SECONDS = 0.5
LONG = b"x" * 128 * 1024


class Short:
    """An application whose answers are `answer`, after so many seconds where ASGI asks, and its connections."""

    answer = b"{}"
    seconds = 0.0
    answered = 0
    connections: Collection[object] = ()

    def claim(self, peer: str | None, headers: Headers) -> Claim:
        return Claim(None, "", "", "")

    async def answer_payment(self, claim: Claim, body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        return 200, self.answer, {}

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        while scope["type"] == "lifespan":
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
        await asyncio.sleep(self.seconds)
        length = b"%d" % len(self.answer)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": self.answer})
        self.answered += 1


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Short:
    monkeypatch.setattr(quick_http, "_SECONDS_FOR_A_REQUEST", SECONDS)
    monkeypatch.setattr(quick_http, "_SECONDS_TO_READ_ANSWERS", SECONDS)
    monkeypatch.setattr(quick_http, "_SECONDS_TO_LOOK_AGAIN", SECONDS / 5)
    return Short()


@pytest.fixture
def address(application: Short) -> Iterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    server = uvicorn.Server(config(application))
    application.connections = server.server_state.connections
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(timeout=15)
    listener.close()
    assert not thread.is_alive()


def dialled(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=10)


def asked(line: socket.socket, request: bytes = PAYMENT) -> str:
    """The status that a request gets, or why it got none."""
    try:
        line.sendall(request)
        answer = line.recv(4096)
    except ConnectionError:
        return "hung up"
    return answer.split(b" ")[1].decode() if answer else "hung up"


def is_hung_up(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        return line.recv(4096) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        line.settimeout(10)


def nothing(line: socket.socket) -> bytes:
    return b""


def part_of_a_head(line: socket.socket) -> bytes:
    return PAYMENT[:12]


def part_of_a_head_after_an_answer(line: socket.socket) -> bytes:
    assert asked(line) == "200"
    return PAYMENT[:12]


def part_of_a_body_after_its_answer(line: socket.socket) -> bytes:
    assert asked(line, b"GET /healthz HTTP/1.1\r\nHost: signer\r\nContent-Length: 50000\r\n\r\nx") == "200"
    return b"y"


def empty_lines(line: socket.socket) -> bytes:
    return b"\r\n"


@pytest.mark.parametrize(
    "begin",
    [nothing, part_of_a_head, part_of_a_head_after_an_answer, part_of_a_body_after_its_answer, empty_lines],
    ids=lambda each: each.__name__,
)
@pytest.mark.parametrize("drips", [False, True], ids=["at once", "dripping"])
def test_who_does_not_send_a_whole_request_in_time_is_hung_up_on_and_nobody_else(
    address: tuple[str, int], begin: Callable[[socket.socket], bytes], drips: bool
) -> None:
    with dialled(address) as line, dialled(address) as patient, dialled(address) as probe:
        assert (asked(patient), asked(probe, PROBE)) == ("200", "200")
        part = begin(line)
        since = time.monotonic()
        line.sendall(part)
        while not is_hung_up(line):
            assert time.monotonic() - since < 4 * SECONDS
            time.sleep(0.05)
            if drips and part and not is_hung_up(line):
                try:
                    line.sendall(b"\r\n" if part == b"\r\n" else b"a")
                except ConnectionError:
                    break
        assert time.monotonic() - since > SECONDS / 2
        assert (asked(patient), asked(probe, PROBE)) == ("200", "200")


@pytest.mark.parametrize("request_of", [PAYMENT, PROBE], ids=["payments", "probes"])
def test_who_does_not_read_his_answers_is_hung_up_on(
    application: Short, address: tuple[str, int], request_of: bytes
) -> None:
    application.answer = LONG
    with dialled(address) as line:
        assert asked(line, PROBE) == "200"
        line.sendall(request_of * 400)  # their answers are far more than a kernel keeps for both ends
        deadline = time.monotonic() + 10
        while application.connections:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        seen = 0
        with contextlib.suppress(ConnectionError):
            while piece := line.recv(1 << 20):
                seen += len(piece)
        assert seen < 400 * len(LONG)


def test_the_silent_give_way_to_newcomers_and_who_asked_before_goes_on(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quick_http, "_SECONDS_FOR_A_REQUEST", 60)
    monkeypatch.setattr(lobby, "MOST_CONNECTIONS", 20)
    regulars = [dialled(address) for _ in range(2)]
    assert [asked(line) for line in regulars] == ["200", "200"]
    crowd = []
    for _ in range(60):
        crowd.append(dialled(address))
        crowd[-1].sendall(PAYMENT[:9])
    newcomer = dialled(address)
    assert asked(newcomer) == "200"
    deadline = time.monotonic() + 5
    while sum(not is_hung_up(line) for line in crowd) > 17:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Those who came first went first.
    assert [is_hung_up(line) for line in crowd] == [True] * 43 + [False] * 17
    assert [asked(line) for line in regulars] == ["200", "200"]
    assert [each for each in caplog.messages if "no more fit" in each] == [
        "20 connections are open, and no more fit; 18 are silent"
    ]
    for line in [*regulars, *crowd, newcomer]:
        line.close()


def test_where_all_have_asked_a_newcomer_is_told_to_come_again(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby, "MOST_CONNECTIONS", 5)
    guests = [dialled(address) for _ in range(5)]
    assert [asked(line, request) for line, request in zip(guests, [PAYMENT, PROBE] * 3, strict=False)] == ["200"] * 5
    with dialled(address) as newcomer:
        told = newcomer.recv(4096)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\nconnection: close\r\n" in told
        head, _, body = told.partition(b"\r\n\r\n")
        assert b"content-length: %d" % len(body) in head
        assert b'"code": "overloaded"' in body
        assert newcomer.recv(1) == b""
    guests.pop().close()
    deadline = time.monotonic() + 5
    while True:
        with dialled(address) as newcomer:
            if asked(newcomer) == "200":
                break
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for line in guests:
        assert asked(line) == "200"
        line.close()


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /healthz HTTP/1.1\r\nHost: signer\r\nX-Pad: ",
        b"GET /",
        PROBE[:-2] + b"X-Pad: a\r\n" * 3_000,
        PAYMENT[:-4] + b"X-Pad: a\r\n" * 3_000,
    ],
    ids=["a line", "an address", "lines", "a payment's lines"],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_a_head_without_end_is_refused_in_json_before_much_of_it_is_kept(
    address: tuple[str, int], begin: bytes, is_first: bool
) -> None:
    with dialled(address) as line:
        if not is_first:
            assert (asked(line), asked(line, PROBE)) == ("200", "200")
        piece = begin[-10:] if begin.endswith(b"\r\n") else b"a" * 10
        line.sendall(begin)
        sent = len(begin)
        while not select.select([line], [], [], 0.01)[0] and sent < 200_000:
            line.sendall(piece * 800)
            sent += 8_000
        told = told_at_last(line)
        assert told.startswith(b"HTTP/1.1 431 ")
        head, _, body = told.partition(b"\r\n\r\n")
        assert b"\r\nconnection: close\r\n" in head
        assert b"content-length: %d" % len(body) in head
        assert b'"code": "head_too_large"' in body
    with dialled(address) as line:
        assert sent_until_hung_up(line, begin) < 8 * 1024 * 1024  # what two kernels keep on the way, not what we do


def test_what_comes_after_a_body_counts_as_a_head_does(application: Short, address: tuple[str, int]) -> None:
    begin = b"POST /healthz HTTP/1.1\r\nHost: signer\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest in (b"0\r\nX-Pad: ", b"0\r\n" + b"X-Pad: a\r\n" * 10_000, b"1;pad="):
        with dialled(address) as line:
            assert sent_until_hung_up(line, begin + rest) < 8 * 1024 * 1024


@pytest.mark.parametrize("size", [6_000, 60_000])
def test_a_long_head_is_read_and_so_is_the_one_that_comes_with_the_body_before_it(
    address: tuple[str, int], size: int
) -> None:
    pad = b"X-Pad: " + b"a" * size + b"\r\n\r\n"
    probe = b"POST /healthz HTTP/1.1\r\nHost: signer\r\nContent-Length: 90000\r\n" + pad + b"x" * 90_000
    with dialled(address) as line:
        for request in (PAYMENT[:-4] + pad + b"{}", probe):
            line.sendall(request * 8)
            assert told_until_answered(line, 8).count(b"HTTP/1.1 ") == 8


def test_an_answer_that_is_still_awaited_is_never_a_refusal_of_what_follows_it(
    application: Short, address: tuple[str, int]
) -> None:
    application.seconds = 2 * SECONDS
    with dialled(address) as line:
        line.sendall(PROBE * 2 + b"GET /" + b"a" * 80_000)
        assert told_at_last(line) == b""
    deadline = time.monotonic() + 10
    while not application.answered:  # to nobody, and without a failure
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("request_of", [PAYMENT, PROBE], ids=["payments", "probes"])
def test_who_sends_on_without_waiting_for_answers_is_hung_up_on_before_many_requests_are_kept(
    address: tuple[str, int], request_of: bytes
) -> None:
    with dialled(address) as line:
        line.sendall(request_of * 400)
        told_until_answered(line, 400)
    with dialled(address) as line, dialled(address) as probe:
        reader = threading.Thread(target=told_at_last, args=[line], daemon=True)
        reader.start()
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 1_000_000:
                line.sendall(request_of * 1_000)
                sent += 1_000
        assert sent < 300_000  # what two kernels keep on the way
        reader.join(timeout=10)
        assert not reader.is_alive()
        assert asked(probe) == "200"


def test_what_is_no_request_is_told_in_json(address: tuple[str, int]) -> None:
    with dialled(address) as line:
        line.sendall(b"nonsense\r\n\r\n")
        told = told_at_last(line)
        assert told.startswith(b"HTTP/1.1 400 ")
        assert b'"code": "invalid_request"' in told


def told_until_answered(line: socket.socket, answers: int) -> bytes:
    """All that comes until so many requests were answered well."""
    told = b""
    while told.count(b"HTTP/1.1 200 OK") < answers:
        piece = line.recv(65536)
        assert piece
        told += piece
    return told


def told_at_last(line: socket.socket) -> bytes:
    """All that comes until the other end hangs up."""
    told = b""
    with contextlib.suppress(ConnectionError):
        while piece := line.recv(65536):
            told += piece
    return told


def sent_until_hung_up(line: socket.socket, begin: bytes) -> int:
    """How many bytes went out behind `begin`."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        line.sendall(begin)
        while sent < 64 * 1024 * 1024:
            sent += line.send(b"a" * 65536)
    return sent
