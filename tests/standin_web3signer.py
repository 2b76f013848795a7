"""A server that speaks Web3Signer's API over HTTP with one key, as honest or as difficult as a test wants it."""

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from coincurve import PrivateKey, PublicKey

from signing.pm.tickets import keccak256

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class StandinWeb3Signer:
    """What it does can be changed while it runs.

    `manner`: "steady" signs by RFC 6979; "fickle" draws a new number for each signature and gives high s half the
    time, as an HSM may; "foreign" signs with another key; "dumb" answers 500; "silent" never answers; "wordy" answers
    something else.
    """

    def __init__(self, secret: bytes, port: int = 0) -> None:
        self.manner = "steady"
        self.delay_seconds = 0.0
        self.signed: dict[bytes, set[bytes]] = {}
        self.at_once = self.most_at_once = 0
        self._key = PrivateKey(secret)
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._server = _Server(("127.0.0.1", port), self._handler())
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._released = threading.Event()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def identifier(self) -> str:
        return "0x" + self._key.public_key.format(compressed=False)[1:].hex()

    def sign(self, data: bytes) -> bytes:
        digest = keccak256(data)
        if self.manner == "fickle":
            signature = fickle_signature(self._key, digest)
        else:
            key = PrivateKey(b"\x77" * 32) if self.manner == "foreign" else self._key
            signature = key.sign_recoverable(digest, hasher=None)
            signature = signature[:64] + bytes((signature[64] + 27,))
        with self._lock:
            self.signed.setdefault(data, set()).add(signature)
        return signature

    def answer(self, identifier: str, data: bytes) -> tuple[int, str]:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.delay_seconds)
            if self.manner == "silent":
                self._released.wait(20)
            if self.manner == "dumb":
                return 500, "Internal Server Error"
            if self.manner == "wordy":
                return 200, "signed, honestly"
            if identifier != self.identifier:
                return 404, "Signer not found for identifier"
            return 200, "0x" + self.sign(data).hex()
        finally:
            with self._lock:
                self.at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                server._connections.append(self.connection)

            def do_GET(self) -> None:
                if self.path == "/api/v1/eth1/publicKeys":
                    self._send(200, json.dumps([server.identifier]), "application/json")
                else:
                    self._send(404, "Not Found")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                path, _, identifier = self.path.rpartition("/")
                if path != "/api/v1/eth1/sign":
                    self._send(404, "Not Found")
                    return
                self._send(*server.answer(identifier, bytes.fromhex(body["data"][2:])))

            def _send(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
                payload = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def fickle_signature(key: PrivateKey, digest: bytes) -> bytes:
    """ECDSA with a random number instead of RFC 6979's; r, s of either half, v."""
    number = secrets.randbelow(ORDER - 1) + 1
    point = PublicKey.from_valid_secret(number.to_bytes(32)).point()
    r = point[0] % ORDER
    s = pow(number, -1, ORDER) * (int.from_bytes(digest) + r * key.to_int()) % ORDER
    recovery = point[1] & 1
    if secrets.randbelow(2):
        s, recovery = ORDER - s, recovery ^ 1
    return r.to_bytes(32) + s.to_bytes(32) + bytes((recovery + 27,))


@contextmanager
def running(secret: bytes) -> Iterator[StandinWeb3Signer]:
    server = StandinWeb3Signer(secret)
    try:
        yield server
    finally:
        server.stop()
