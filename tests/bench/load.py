"""The load generator: a process of its own, as light as Python can be, that keeps every answer for the books.

Started with a job as JSON in its one argument; says `ready` when its requests are made, starts at the first line of its
standard input, and prints its report as JSON.
"""

import asyncio
import base64
import hashlib
import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

_FACE_VALUE_WEI = 10**14
_EV_WEI = _FACE_VALUE_WEI // 1000  # all but a trillionth


@dataclass(frozen=True, kw_only=True)
class Job:
    """Connections are spread over `ports`; `rate` is requests a second, 0 for as fast as answers come.

    `forget` answers are not told of, as if they had been lost: the books must not match then.
    """

    ports: Sequence[int]
    keys: Sequence[str]
    connections: int
    requests: int
    tickets: int = 1
    rate: int = 0
    forget: int = 0


@dataclass(slots=True)
class Run:
    """What goes on: the requests not sent yet, and what came back."""

    waiting: deque[bytes]
    outstanding: int
    done: asyncio.Event
    statuses: Counter[bytes] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def take(self, status: bytes, body: bytes, seconds: float) -> None:
        self.statuses[status] += 1
        self.latencies.append(seconds)
        if status == b"200":
            self.answers.append(body)
        self.outstanding -= 1
        if not self.outstanding:
            self.done.set()


class Line(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self, run: Run, when_free: Callable[["Line"], None]) -> None:
        self._run = run
        self._when_free = when_free
        self._buffer = b""
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, since: float) -> None:
        self._since = since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        # The signer's last header is the length.
        if not found or len(rest) < int(head[head.rindex(b":") + 1 :]):
            return
        self._buffer = b""
        self._run.take(head[9:12], rest, time.perf_counter() - self._since)
        self._when_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._run.outstanding:
            sys.exit("the signer closed a connection")


def requests_of(job: Job) -> deque[bytes]:
    """Each opens a new session; the customers take turns."""
    from tests.signer_stage import offer

    made: deque[bytes] = deque()
    for number in range(job.requests):
        work = {
            "orchestrator": offer(face_value=_FACE_VALUE_WEI, price=(_EV_WEI - 10**6, 1)),
            "ManifestID": f"{number:08x}",
        }
        body = json.dumps({**work, "type": "fixed"} if job.tickets == 1 else {**work, "inPixels": job.tickets}).encode()
        made.append(
            b"POST /generate-live-payment HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (job.keys[number % len(job.keys)].encode(), len(body), body)
        )
    return made


async def closed_loop(job: Job, run: Run) -> None:
    """Every connection asks again as soon as it is answered."""

    def go_on(line: Line) -> None:
        if run.waiting:
            line.ask(run.waiting.popleft(), time.perf_counter())

    for line in await _connect(job, run, go_on):
        go_on(line)
    await run.done.wait()


async def open_loop(job: Job, run: Run) -> None:
    """Requests come at their rate whether answers do or not; waiting for a free connection counts as latency."""
    free: deque[Line] = deque()
    due: deque[tuple[bytes, float]] = deque()

    def go_on(line: Line) -> None:
        if due:
            line.ask(*due.popleft())
        else:
            free.append(line)

    free.extend(await _connect(job, run, go_on))
    start = time.perf_counter()
    for number in range(job.requests):
        moment = start + number / job.rate
        if (pause := moment - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        due.append((run.waiting.popleft(), time.perf_counter()))
        if free:
            go_on(free.popleft())
    await run.done.wait()


async def _connect(job: Job, run: Run, when_free: Callable[[Line], None]) -> list[Line]:
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Line(run, when_free), "127.0.0.1", job.ports[number % len(job.ports)])
        for number in range(job.connections)
    ]
    return [line for _, line in made]


def tickets_of(answers: Sequence[bytes]) -> list[tuple[str, int, int]]:
    """(rand hash, first nonce, tickets) of each answer."""
    from signing.pm import livepeer_pb2 as pb

    issued = []
    for answer in answers:
        payment = pb.Payment.FromString(base64.b64decode(json.loads(answer)["payment"]))
        nonces = [each.sender_nonce for each in payment.ticket_sender_params]
        assert nonces == list(range(nonces[0], nonces[0] + len(nonces)))
        issued.append((payment.ticket_params.recipient_rand_hash.hex(), nonces[0], len(nonces)))
    return issued


def fingerprint(issued: Sequence[tuple[str, int, int]]) -> str:
    return hashlib.sha256(repr(sorted(issued)).encode()).hexdigest()


def drift(latencies: Sequence[float]) -> float:
    """p99 of the last third over p99 of the first."""
    third = max(1, len(latencies) // 3)
    return percentile(latencies[-third:], 0.99) / percentile(latencies[:third], 0.99)


def percentile(latencies: Sequence[float], share: float) -> float:
    return sorted(latencies)[min(len(latencies) - 1, int(len(latencies) * share))]


async def perform(job: Job) -> dict[str, Any]:
    run = Run(waiting=requests_of(job), outstanding=job.requests, done=asyncio.Event())
    print("ready", flush=True)
    sys.stdin.readline()
    start, cpu = time.perf_counter(), time.process_time()
    await (open_loop if job.rate else closed_loop)(job, run)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    issued = tickets_of(run.answers[job.forget :])
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "statuses": {status.decode(): count for status, count in run.statuses.items()},
        "p50_ms": percentile(run.latencies, 0.5) * 1e3,
        "p99_ms": percentile(run.latencies, 0.99) * 1e3,
        "p99_drift": drift(run.latencies),
        "tickets": sum(count for _, _, count in issued),
        "fingerprint": fingerprint(issued),
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")
    import django

    django.setup()
    print(json.dumps(uvloop.run(perform(Job(**json.loads(sys.argv[1]))))), flush=True)


if __name__ == "__main__":
    main()
