"""A line to signers that loses a third of the answers to payments, after a signer made them, and delays others."""

import base64
import http.client
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from signing.pm import livepeer_pb2 as pb
from tests.json_doors import JsonDoors, opened

LATE_SECONDS = 0.8


@dataclass
class LossyLine:
    """Passes requests on, to one signer after the other; of each session's payments every third answer is thrown away.

    Only after a signer made it: the customer was charged. `sold` are the tickets of all answers, lost or not.
    """

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
def lossy_line(*signer_urls: str) -> Iterator[LossyLine]:
    line, turns = LossyLine(), itertools.cycle(map(urlsplit, signer_urls))

    class Doors(JsonDoors):
        def do_POST(self) -> None:
            body = self.body()
            there = next(turns)
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
            self.answer(given.status, answer)

    with opened(Doors) as line.url:
        yield line
