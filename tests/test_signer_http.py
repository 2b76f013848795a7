"""However a request is cut into pieces, it gets one answer, and nothing inside a body is taken for a request."""

import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from signing.models import SignerSession
from tests.signer_stage import Client, Stage, offer, revoke, rows, wallet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def wire(stage: Stage) -> Iterator["Wire"]:
    opened = Wire(stage)
    yield opened
    opened.hang_up()


def request(client: Client, *headers: str, body: bytes | None = None, length: int | None = None) -> bytes:
    """The bytes of a payment request."""
    content = json.dumps({"orchestrator": offer(), "type": "fixed"}).encode() if body is None else body
    lines = [
        "POST /generate-live-payment HTTP/1.1",
        "Host: signer",
        *([f"Authorization: Bearer {client.key}"] if client.key else []),
        *headers,
        *([] if length == 0 else [f"Content-Length: {length or len(content)}"]),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class Wire:
    """A raw connection to the signer."""

    def __init__(self, stage: Stage) -> None:
        parts = urlsplit(stage.url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def send(self, *pieces: bytes, pause: float = 0.05) -> None:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            self._socket.sendall(piece)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if status == 100:
            return self.answer()
        return status, headers, self._file.read(int(headers["content-length"]))

    def hang_up(self) -> None:
        self._file.close()
        self._socket.close()

    def is_closed(self) -> bool:
        return self._file.read(1) == b""


def test_a_request_gets_its_answer_in_whatever_pieces_it_comes(stage: Stage, wire: "Wire") -> None:
    client, owner = stage.gateway()
    for cut in (1, 30, 60, 300):
        whole = request(client)
        wire.send(whole[:cut], whole[cut:])
        assert wire.answer()[0] == 200
        wire.send(request(client))
        assert wire.answer()[0] == 200
    assert len(rows(owner)) == 8


def test_a_body_may_come_in_many_pieces_or_late_and_who_is_unknown_is_told_before_it_came(
    stage: Stage, wire: "Wire"
) -> None:
    client, owner = stage.gateway()
    whole = request(client)
    for pause in (0.02, 0.6):
        wire.send(whole[:300], whole[300:600], whole[600:], pause=pause)
        assert wire.answer()[0] == 200
    wire.send(whole[:-1], whole[-1:] + request(client), pause=0.02)
    assert [wire.answer()[0] for _ in range(2)] == [200, 200]
    wire.send(request(Client(stage.url, None))[:-1])
    assert wire.answer()[0] == 401
    assert len(rows(owner)) == 2


def test_requests_sent_without_waiting_are_answered_in_order(stage: Stage, wire: "Wire") -> None:
    client, owner = stage.gateway()
    asked = [request(client), b"GET /healthz HTTP/1.1\r\nHost: signer\r\n\r\n", request(client), request(client)]
    wire.send(b"".join(asked))
    wire.send(*asked, pause=0)
    answers = [wire.answer() for _ in range(8)]
    assert [status for status, _, _ in answers] == [200] * 8
    assert [b"payment" in body for _, _, body in answers] == [True, False, True, True] * 2
    assert len(rows(owner)) == 3


def test_chunks_and_expectations_are_understood(stage: Stage, wire: "Wire") -> None:
    client, owner = stage.gateway()
    body = json.dumps({"orchestrator": offer(), "type": "fixed"}).encode()
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    wire.send(request(client, "Transfer-Encoding: chunked", body=chunked, length=0))
    assert wire.answer()[0] == 200
    expecting = request(client, "Expect: 100-continue", body=b"", length=len(body))
    wire.send(expecting, body.replace(b"fixed", b"live "))
    assert wire.answer()[0] == 400
    wire.send(request(client, "Connection: close"))
    status, headers, _ = wire.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert wire.is_closed()
    assert len(rows(owner)) == 2


def test_a_request_inside_a_body_is_no_request(stage: Stage, wire: "Wire") -> None:
    """The first answer may come before its body does; what follows is that body still."""
    client, owner = stage.gateway()
    hidden = request(client)
    wire.send(request(Client(stage.url, None), body=b"", length=len(hidden)))
    assert wire.answer()[0] == 401
    wire.send(hidden)
    wire.send(b"GET /healthz HTTP/1.1\r\nHost: signer\r\n\r\n")
    assert wire.answer()[2] == b'{"status":"ok"}'
    assert rows(owner) == []


@pytest.mark.parametrize(
    "spoiled",
    [
        ("Content-Length: 5", "length twice"),
        ("Transfer-Encoding: chunked", "two lengths"),
        ("X-Header : blank before its colon", "a blank"),
        ("X-Header: a\x00b", "a NUL"),
        ("X-Header: a\nAuthorization: Bearer other", "a bare line feed"),
    ],
    ids=lambda each: each[1],
)
def test_a_request_that_could_be_read_in_two_ways_is_left_to_the_parser(
    stage: Stage, wire: "Wire", spoiled: tuple[str, str]
) -> None:
    client, owner = stage.gateway()
    wire.send(request(client, spoiled[0]))
    status, _, _ = wire.answer()
    assert status in {200, 400, 401}
    assert len(rows(owner)) == (status == 200)


def test_one_connection_may_bring_several_keys_and_heads_that_differ_in_a_byte(stage: Stage, wire: "Wire") -> None:
    (one, owner), (another, other) = stage.gateway(), stage.gateway()
    assert len(one.key or "") == len(another.key or "")
    for client in (one, another, one):
        wire.send(request(client, "User-Agent: gateway/1"))
        assert wire.answer()[0] == 200
    wire.send(request(Client(stage.url, f"{one.key}"[:-1] + "~"), "User-Agent: gateway/1"))
    assert wire.answer()[0] == 401
    wire.send(request(Client(stage.url, None), "User-Agent: gateway/1"))
    assert (wire.answer()[0], len(rows(owner)), len(rows(other))) == (401, 2, 1)
    for agent in ("gateway/1", "gateway/2"):
        wire.send(request(one, f"User-Agent: {agent}"))
        assert wire.answer()[0] == 200
    agents = SignerSession.objects.filter(customer_id=owner.pk).values_list("user_agent", flat=True)
    assert sorted(agents) == ["gateway/1"] * 3 + ["gateway/2"]


def test_a_revoked_key_is_refused_within_a_second_on_a_connection_that_knows_it(stage: Stage, wire: "Wire") -> None:
    client, _ = stage.gateway()

    def asked(body: bytes) -> int:
        wire.send(request(client, body=body))
        return wire.answer()[0]

    assert asked(request(client).partition(b"\r\n\r\n")[2]) == 200
    # What makes no sense says 400 to whoever the gate lets in, so it is the gate that is seen here, not the commit.
    assert asked(b"[]") == 400
    revoke(client.key or "")
    revoked_at = time.monotonic()
    while (status := asked(b"[]")) == 400:
        assert time.monotonic() - revoked_at < 1.2
        time.sleep(0.05)
    assert status == 401
    assert {asked(b"[]") for _ in range(3)} == {401}


def test_a_client_that_hangs_up_is_charged_for_what_it_asked(stage: Stage, wire: "Wire") -> None:
    client, owner = stage.gateway()
    wanted, before = request(client), wallet(owner)
    wire.send(wanted)
    wire.hang_up()
    deadline = time.monotonic() + 5
    while wallet(owner) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.request("POST", "/generate-live-payment", wanted.partition(b"\r\n\r\n")[2]).status == 200
    assert len(rows(owner)) == 1
