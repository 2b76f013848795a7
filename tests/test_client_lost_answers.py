"""A third of the signer's answers never arrive, or late: the network's Python client pays on and is charged once."""

import asyncio
import base64
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from livepeer_gateway import LivepeerGatewayError, LiveRunnerSession, reserve_session

from sandbox.orchestrator.node import Node
from sandbox.orchestrator.terms import LIVE_APP
from signing.pm import livepeer_pb2 as pb
from tests.client_stage import check_charges, running_town, worth_wei
from tests.signer_stage import rows

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).parents[1]
CREDIT = 10**11
SESSIONS = 3
SECONDS = 17
LATE_SECONDS = 0.8


@dataclass
class LossyLine:
    """Passes requests on to the signer; of each session's payments every third answer is thrown away.

    Only after the signer made it: the customer was charged. `sold` are the tickets of all answers, lost or not.
    """

    signer_url: str
    url: str = ""
    delivered: int = 0
    lost: int = 0
    late: int = 0
    sold: set[tuple[bytes, int]] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    _asked: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fate(self, body: bytes, status: int, answer: bytes) -> str:
        """What becomes of an answer to a payment request: passed, late or lost."""
        request = json.loads(body)
        # Openings share one count, for the client comes back as another session when one was lost.
        name = str(request["ManifestID"]) if request.get("state") else request["type"]
        with self._lock:
            self.statuses[status] += 1
            self._asked[name] += 1
            if status == 200:
                self.sold |= _tickets(answer)
            if status == 200 and self._asked[name] % 3 == 1 and name != "lv2v":
                self.lost += 1
                return "lost"
            self.delivered += 1
            self.late += self._asked[name] % 3 == 2
            return "late" if self._asked[name] % 3 == 2 else "passed"


def _tickets(answer: bytes) -> set[tuple[bytes, int]]:
    payment = pb.Payment.FromString(base64.b64decode(json.loads(answer)["payment"]))
    return {(payment.ticket_params.recipient_rand_hash, each.sender_nonce) for each in payment.ticket_sender_params}


@contextmanager
def lossy_line(signer_url: str) -> Iterator[LossyLine]:
    line, there = LossyLine(signer_url), urlsplit(signer_url)

    class Doors(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            onward = http.client.HTTPConnection(there.hostname or "", there.port, timeout=15)
            onward.request("POST", self.path, body=body, headers={"Authorization": self.headers["Authorization"]})
            given = onward.getresponse()
            answer = given.read()
            onward.close()
            fate = "passed" if self.path != "/generate-live-payment" else line.fate(body, given.status, answer)
            if fate == "late":
                time.sleep(LATE_SECONDS)
            if fate == "lost":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(given.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Doors)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    line.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield line
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def open_session(node: Node, line: LossyLine, key: str) -> LiveRunnerSession:
    """As an application would: when it did not work, again."""
    for _ in range(5):
        try:
            return await reserve_session(
                orchestrators=[node.service_uri],
                app=LIVE_APP,
                signer_url=line.url,
                signer_headers={"Authorization": f"Bearer {key}"},
            )
        except LivepeerGatewayError:
            continue
    raise AssertionError("no session was opened in five attempts")


async def live_sessions(node: Node, line: LossyLine, key: str) -> list[str]:
    """Several at once; the SDK pays in the background."""
    sessions = [await open_session(node, line, key) for _ in range(SESSIONS)]
    await asyncio.sleep(SECONDS)
    for session in sessions:
        await session.aclose()
    return [session.session_id for session in sessions]


@contextmanager
def stream(node: Node, line: LossyLine, key: str) -> Iterator["subprocess.Popen[str]"]:
    """A video stream beside them, paid by the SDK's other payment loop."""
    command = [sys.executable, "-m", "sandbox.gateway", "--kind=lv2v", f"--signer-url={line.url}"]
    command += [f"--orchestrator-url={node.service_uri}", f"--api-key={key}", f"--session-seconds={SECONDS - 4}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_no_ticket_is_rejected_or_charged_twice_although_a_third_of_the_answers_is_lost(tmp_path: Path) -> None:
    terms = {"live_price_wei": 10**11, "pixel_price_wei": 3_600, "ticket_ev_wei": 10**11, "debit_seconds": 1}
    with running_town(tmp_path, **terms) as town, lossy_line(town.signer.url) as line:
        gateway, owner = town.signer.gateway(dollars_nano=CREDIT)
        key = gateway.key or ""
        with stream(town.node, line, key) as process:
            opened = asyncio.run(live_sessions(town.node, line, key))
            output, _ = process.communicate(timeout=20)
        found = town.status()
    assert process.returncode == 0, output
    booked: list[dict[str, Any]] = rows(owner)
    assert line.lost * 3 >= line.lost + line.delivered
    assert line.lost >= 5
    assert line.late >= 3
    assert set(line.statuses) <= {200, 482}
    # What the signer sold is what it answered, and each ticket was charged once.
    assert check_charges(owner, CREDIT) == line.sold
    assert line.statuses[200] > len(booked)  # answers that were given again
    assert (found["tickets_rejected"], found["payments_rejected"]) == (0, {})
    # What never arrived is missing at the orchestrator and nothing else.
    assert Fraction(found["received_wei"]) <= sum(worth_wei(row) for row in booked)
    assert found["tickets_accepted"] <= len(line.sold)
    closed = {session["session_id"]: session["closed_because"] for session in found["sessions"]}
    assert {closed[session] for session in opened} == {"stopped by the client"}
