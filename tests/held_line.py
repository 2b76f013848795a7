"""A line to PostgreSQL that can be held: what one side sends then waits until it is let go."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 65_536


class HeldLine:
    """Passes bytes between clients and the server at `upstream`, a pair of host and port that may change.

    `questions` and `answers` are open gates; closing one holds what comes in that direction, on every connection.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.questions, self.answers = threading.Event(), threading.Event()
        self.questions.set()
        self.answers.set()
        self.questions_held = threading.Event()
        self.answers_held = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def let_go(self) -> None:
        """Opens both gates."""
        for gate, held in ((self.questions, self.questions_held), (self.answers, self.answers_held)):
            gate.set()
            held.clear()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.upstream, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for source, sink, gate, held in (
                (client, server, self.questions, self.questions_held),
                (server, client, self.answers, self.answers_held),
            ):
                threading.Thread(target=_pump, args=(source, sink, gate, held), daemon=True).start()

    def close(self) -> None:
        self.let_go()
        self._listener.close()


def _pump(source: socket.socket, sink: socket.socket, gate: threading.Event, held: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK):
            if not gate.is_set():
                held.set()
                gate.wait()
            sink.sendall(chunk)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def held_line(upstream: tuple[str, int]) -> Iterator[HeldLine]:
    line = HeldLine(upstream)
    threading.Thread(target=line.serve, daemon=True).start()
    try:
        yield line
    finally:
        line.close()
