"""A line to PostgreSQL on which one question, or the answer to it, can be held until it is let go."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from django.conf import settings

_CHUNK = 65_536


@dataclass
class _Hold:
    """What to look for in a question, and whether it is the question that waits or what the server says to it."""

    what: Literal["question", "answer"]
    marks: Sequence[bytes]
    held: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def is_about(self, chunk: bytes) -> bool:
        return any(mark in chunk for mark in self.marks)


class HeldLine:
    """Passes bytes between clients and the server at `upstream`, a pair of host and port that may change."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self._hold: _Hold | None = None
        self._held_for_ever: list[_Hold] = []
        self._ends: list[socket.socket] = []
        self._cutting = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def hold(self, what: Literal["question", "answer"], *marks: bytes) -> threading.Event:
        """Holds the next question that contains a mark, or the answer to it; the event tells that it happened."""
        self._hold = _Hold(what, marks)
        return self._hold.held

    def let_go(self) -> None:
        if self._hold:
            self._hold.gate.set()
            self._hold = None

    def let_others_pass(self) -> None:
        """Who is held stays so until the line is closed."""
        if self._hold:
            self._held_for_ever.append(self._hold)
            self._hold = None

    def cut(self) -> None:
        """Ends every connection, also one that is just being made; those that come from now on go to `upstream`."""
        with self._cutting:
            ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = self.upstream
            try:
                server = socket.create_connection(upstream, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._cutting:
                self._ends += (client, server)
            if upstream != self.upstream:  # and cut, it may be, before this one could be told of
                server.shutdown(socket.SHUT_RDWR)
            asked = threading.Event()
            threading.Thread(target=self._questions, args=(client, server, asked), daemon=True).start()
            threading.Thread(target=self._answers, args=(server, client, asked), daemon=True).start()

    def close(self) -> None:
        self.let_go()
        for hold in self._held_for_ever:
            hold.gate.set()
        self._listener.close()

    def _questions(self, client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        with _closing(client, server):
            while chunk := client.recv(_CHUNK):
                hold = self._hold
                if hold and hold.is_about(chunk):
                    asked.set()
                    if hold.what == "question":
                        hold.held.set()
                        hold.gate.wait()
                server.sendall(chunk)

    def _answers(self, server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        with _closing(client, server):
            while chunk := server.recv(_CHUNK):
                hold = self._hold
                if hold and hold.what == "answer" and asked.is_set():
                    hold.held.set()
                    hold.gate.wait()
                client.sendall(chunk)


@contextmanager
def _closing(*ends: socket.socket) -> Iterator[None]:
    with contextlib.suppress(OSError):
        yield
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def database_address() -> tuple[str, int]:
    """Where the tests' own database listens."""
    given: dict[str, Any] = settings.DATABASES["default"]
    return given["HOST"], int(given["PORT"])


@contextmanager
def held_line(upstream: tuple[str, int] | None = None) -> Iterator[HeldLine]:
    """To the tests' own database, or to another place."""
    line = HeldLine(upstream or database_address())
    threading.Thread(target=line.serve, daemon=True).start()
    try:
        yield line
    finally:
        line.close()


def database_line() -> psycopg.Connection[Any]:
    """A connection of the test's own, beside those of the product."""
    given: dict[str, Any] = settings.DATABASES["default"]
    return psycopg.connect(
        dbname=given["NAME"], user=given["USER"], password=given["PASSWORD"], host=given["HOST"], port=given["PORT"]
    )
