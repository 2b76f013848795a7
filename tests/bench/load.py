"""The load generator: a process of its own, as light as Python can be, that keeps every answer for the books.

Started with a job as JSON in its one argument; says `ready` when its requests are made, starts at the first line of its
standard input, and prints its report as JSON.
"""

import base64
import hashlib
import json
import os
import select
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_FACE_VALUE_WEI = 10**14
_EV_WEI = _FACE_VALUE_WEI // 1000  # all but a trillionth
_MOST_BYTES = 65_536


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
    """What came back."""

    statuses: Counter[bytes] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)


class Line:
    """One keep-alive connection with one request at a time."""

    def __init__(self, port: int, run: Run) -> None:
        self._run = run
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._since = 0.0
        self.fileno = self._socket.fileno

    def ask(self, request: bytes, since: float) -> None:
        self._since = since
        self._socket.sendall(request)

    def hear(self) -> bool:
        """Whether the answer came to its end."""
        data = self._socket.recv(_MOST_BYTES)
        if not data:
            sys.exit("the signer closed a connection")
        if self._buffer:
            data = self._buffer + data
        head, found, rest = data.partition(b"\r\n\r\n")
        # The signer's last header is the length.
        if not found or len(rest) < int(head[head.rindex(b":") + 1 :]):
            self._buffer = data
            return False
        self._buffer = b""
        run, status = self._run, head[9:12]
        run.latencies.append(time.perf_counter() - self._since)
        run.statuses[status] += 1
        if status == b"200":
            run.answers.append(rest)
        return True


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


class Lines:
    """All connections, spread over the ports."""

    def __init__(self, job: Job, run: Run) -> None:
        self.all = [Line(job.ports[number % len(job.ports)], run) for number in range(job.connections)]
        self._by_number = {line.fileno(): line for line in self.all}
        self._poll = select.epoll()
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)

    def answered(self, seconds: float = -1) -> Iterator[Line]:
        """Waits so long for something to come, for ever if that is negative; tells whose answers are complete then."""
        for number, _ in self._poll.poll(seconds):
            line = self._by_number[number]
            if line.hear():
                yield line


def closed_loop(lines: Lines, requests: deque[bytes]) -> None:
    """Every connection asks again as soon as it is answered."""
    outstanding = len(requests)
    for line in lines.all[:outstanding]:
        line.ask(requests.popleft(), time.perf_counter())
    while outstanding:
        for line in lines.answered():
            outstanding -= 1
            if requests:
                line.ask(requests.popleft(), time.perf_counter())


def open_loop(lines: Lines, requests: deque[bytes], *, rate: int) -> None:
    """Requests are due at their rate whether answers come or not; all waiting since then counts as latency."""
    free, due = deque(lines.all), deque[tuple[bytes, float]]()
    outstanding, moment = len(requests), time.perf_counter()
    while outstanding:
        while requests and moment <= time.perf_counter():
            due.append((requests.popleft(), moment))
            moment += 1 / rate
        while free and due:
            free.popleft().ask(*due.popleft())
        for line in lines.answered(max(0.0, moment - time.perf_counter()) if requests else -1):
            outstanding -= 1
            free.append(line)


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


def perform(job: Job) -> dict[str, Any]:
    run, requests = Run(), requests_of(job)
    lines = Lines(job, run)
    print("ready", flush=True)
    sys.stdin.readline()
    start, cpu = time.perf_counter(), time.process_time()
    if job.rate:
        open_loop(lines, requests, rate=job.rate)
    else:
        closed_loop(lines, requests)
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
    # Clients are on other machines: this one keeps to a core, instead of driving signer and database from theirs.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")
    import django

    django.setup()
    print(json.dumps(perform(Job(**json.loads(sys.argv[1])))), flush=True)


if __name__ == "__main__":
    main()
