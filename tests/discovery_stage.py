"""Orchestrators that answer, lie or are away, on real sockets, and a signer that tells of them."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from sandbox.orchestrator.terms import LV2V_MODEL, Terms
from signing.chain.ethereum import Chain
from signing.models import Orchestrator, OrchestratorSource, SenderIntroduction
from signing.pm.wire import orchestrator_info_digest
from tests.held_chain import HeldChain
from tests.signer_stage import Client, Stage, running_signer
from tests.standin_orchestrator import RECIPIENT, ChainInMemory, served_node

LIVE = f"live-video-to-video/{LV2V_MODEL}"
APPS = ["sandbox/camera", "sandbox/caption", "sandbox/restyle"]


@pytest.fixture(autouse=True)
def _sources(settings: Settings) -> None:
    settings.ORCHESTRATOR_LIST, settings.ORCHESTRATOR_WEBHOOK_URL = [], ""
    settings.ETH_RPC_URLS = []
    settings.DISCOVERY_PRIVATE_ADDRESSES = True
    settings.DISCOVERY_SECONDS, settings.DISCOVERY_KEEP_SECONDS = 3600, 7200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stand-in orchestrator keeps the certificate it made for itself."""
    return tmp_path_factory.mktemp("orchestrator")


@pytest.fixture(scope="module")
def node_url(folder: Path) -> Iterator[str]:
    with served_node(ChainInMemory(), folder, Terms()) as node:
        yield node.service_uri


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A signer in whose eyes the stand-in orchestrator is registered; the worker may speak in its name."""
    chain = HeldChain(active_recipients=frozenset({RECIPIENT}), orchestrators=(("0x" + RECIPIENT.hex(), ""),))
    with running_signer(chain) as stage:
        until(SenderIntroduction.objects.exists)
        yield stage


def until(found: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def no_chain() -> Chain:
    raise AssertionError("nobody asked for the registry")


def introduce() -> None:
    """As a signer does when it starts."""
    stage = Stage("", HeldChain())
    SenderIntroduction.objects.create(
        address="0x" + stage.keystore.address.hex(),
        signature=stage.keystore.sign_personal(orchestrator_info_digest(stage.keystore.address)),
    )


def make_due() -> None:
    Orchestrator.objects.update(due_at=Now())
    OrchestratorSource.objects.update(due_at=Now())


def ask(client: Client, query: str = "") -> Any:
    answer = client.request("GET", "/discover-orchestrators" + query)
    assert answer.headers["content-type"] == "application/json"
    return answer.json if answer.status == 200 else (answer.status, answer.code)


def listed(client: Client, expected: int, query: str = "") -> Any:
    """The answer, once it has so many entries; the signer reads its rows every second or two."""
    return until(lambda: (found := ask(client, query)) and isinstance(found, list) and len(found) == expected and found)


@dataclass
class Pages:
    """A web server whose every page a test decides; `asked` are the paths in order."""

    url: str
    asked: list[str] = field(default_factory=list)
    status: int = 200
    body: bytes = b"[]"
    headers: dict[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0


@contextmanager
def pages(certificate: Path | None = None) -> Iterator[Pages]:
    """Over TLS, as an orchestrator that speaks no gRPC, with the certificate that a folder holds."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.asked.append(self.path)
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for start in range(0, len(given.body), 65536):
                    self.wfile.write(given.body[start : start + 65536])
                while given.drip_seconds and not stopped.wait(given.drip_seconds):
                    self.wfile.write(b" ")
            except OSError:
                pass  # the reader had enough

        def log_message(self, *_: object) -> None:
            pass

    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    given = Pages(f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield given
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def door_to(url: str) -> Iterator[str]:
    """Another address of the same orchestrator, which is away after the block."""

    def pass_on(reader: socket.socket, writer: socket.socket) -> None:
        with suppress(OSError):
            while data := reader.recv(65536):
                writer.sendall(data)
        for end in (reader, writer):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def enter() -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
                lines.extend((here, there))
                threads.extend(threading.Thread(target=pass_on, args=pair) for pair in ((here, there), (there, here)))
                for thread in threads[-2:]:
                    thread.start()

    lines: list[socket.socket] = []
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        entrance = threading.Thread(target=enter)
        entrance.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        entrance.join()
    for thread in threads:
        thread.join()
    for line in lines:
        line.close()
