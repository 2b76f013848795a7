"""Discovery with real sockets: sources, orchestrators that answer, lie or are away, and what the signer tells."""

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.db import ProgrammingError, connection, connections, transaction
from django.db.models.functions import Now
from livepeer_gateway import discover_orchestrators, discover_runners
from livepeer_gateway.capabilities import CapabilityId, build_capabilities
from pytest_django import Settings

from clearinghouse.embedded import free_port
from sandbox.chain.client import SandboxChain
from sandbox.orchestrator.client import RunningOrchestrator, running_orchestrator
from sandbox.orchestrator.terms import LV2V_MODEL, Terms
from signing import tasks
from signing.chain.ethereum import Chain
from signing.discovery import reading, refresh
from signing.models import Orchestrator, OrchestratorSource, RecipientRule, SenderIntroduction
from signing.pm.wire import orchestrator_info_digest
from tests import chain_cast
from tests.signer_stage import Client, HeldChain, Stage, running_signer
from tests.standin_orchestrator import RECIPIENT, ChainInMemory, served_node

pytestmark = pytest.mark.django_db(transaction=True)
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


# -- What the signer tells ---------------------------------------------------------------------------------


def test_the_sdk_finds_what_the_worker_read_in_the_name_of_our_sender(
    stage: Stage, node_url: str, settings: Settings
) -> None:
    settings.ORCHESTRATOR_LIST = [node_url]
    assert refresh.refresh(no_chain) == 1
    gateway, _ = stage.gateway(dollars_nano=0)
    key = {"Authorization": f"Bearer {gateway.key}"}
    (entry,) = listed(gateway, 1)
    assert list(entry) == ["address", "score", "capabilities", "runners"]
    assert entry["address"] == node_url
    assert entry["score"] == 1
    assert entry["capabilities"] == [LIVE, *APPS]
    assert entry["runners"][0] == {
        "url": f"{node_url}/runner/camera/session",
        "app": "sandbox/camera",
        "mode": "persistent",
        "capacity": 100,
        "capacity_used": 0,
        "capacity_available": 100,
        "price_info": {"price": 46_300_000_000, "currency": "wei", "unit": "seconds"},
    }
    wish = build_capabilities(CapabilityId.LIVE_VIDEO_TO_VIDEO, LV2V_MODEL)
    assert discover_orchestrators(signer_url=stage.url, signer_headers=key, capabilities=wish) == [node_url]
    other = build_capabilities(CapabilityId.LIVE_VIDEO_TO_VIDEO, "another-model")
    assert discover_orchestrators(signer_url=stage.url, signer_headers=key, capabilities=other) == []
    found = asyncio.run(discover_runners(signer_url=stage.url, signer_headers=key, app="sandbox/caption"))
    assert [runner["app"] for runner in found[0]["runners"]] == ["sandbox/caption"]
    assert asyncio.run(discover_runners(signer_url=stage.url, signer_headers=key, gpu="H100")) == []


def test_without_anybody_to_list_the_answer_is_503_and_an_unmatched_filter_is_an_empty_list(
    stage: Stage, node_url: str, settings: Settings
) -> None:
    gateway, _ = stage.gateway(dollars_nano=0)
    assert ask(gateway) == (503, "no_orchestrators")
    assert ask(gateway, "?caps=a/b") == (503, "no_orchestrators")
    settings.ORCHESTRATOR_LIST = [node_url]
    refresh.refresh(no_chain)
    listed(gateway, 1)
    assert ask(gateway, "?caps=a/b") == []
    assert ask(gateway, f"?caps=a/b&caps={LIVE}")[0]["address"] == node_url
    assert ask(gateway, "?" + "&".join(["caps=a"] * 100)) == (400, "invalid_filter")
    assert Client(gateway.url, None).request("GET", "/discover-orchestrators").status == 401


def test_whoever_may_not_be_paid_is_not_listed(stage: Stage, node_url: str, settings: Settings) -> None:
    settings.ORCHESTRATOR_LIST = [node_url]
    refresh.refresh(no_chain)
    gateway, _ = stage.gateway(dollars_nano=0)
    listed(gateway, 1)
    stage.chain.change(active_recipients=frozenset())
    until(lambda: ask(gateway) == (503, "no_orchestrators"))
    stage.chain.change(active_recipients=frozenset({RECIPIENT}))
    listed(gateway, 1)
    blocked = RecipientRule.objects.create(address="0x" + RECIPIENT.hex(), standing="frozen", reason="drill")
    until(lambda: ask(gateway) == (503, "no_orchestrators"))
    RecipientRule.objects.filter(pk=blocked.pk).update(lifted_at=Now(), lift_reason="over")
    listed(gateway, 1)
    held, stage.chain.current = stage.chain.current, None
    until(lambda: ask(gateway) == (503, "chain_stale"))
    stage.chain.current = held


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"RECIPIENT_POLICY": "listed"}, None),
        ({"RECIPIENT_POLICY": "any"}, [LIVE, *APPS]),
        ({"MAX_PRICE_PER_UNIT": 1675}, [LIVE, "sandbox/restyle"]),
        ({"MAX_PRICE_PER_UNIT": 1674}, None),
        ({"MAX_TICKET_EV_WEI": 50_000_000_001}, [LIVE, *APPS]),
        ({"MAX_TICKET_EV_WEI": 50_000_000_000}, None),
    ],
    ids=str,
)
def test_nothing_is_listed_that_a_payment_would_be_refused_for(
    node_url: str, settings: Settings, changes: dict[str, Any], names: list[str] | None
) -> None:
    introduce()
    settings.ORCHESTRATOR_LIST = [node_url]
    refresh.refresh(no_chain)
    registered = {"RECIPIENT_POLICY": "registered", **changes}
    chain = HeldChain(active_recipients=frozenset({RECIPIENT}))
    with running_signer(chain, **registered) as stage:
        gateway, _ = stage.gateway(dollars_nano=0)
        found = until(lambda: (found := ask(gateway)) != (503, "database_unavailable") and found)
        assert found == (503, "no_orchestrators") if names is None else found[0]["capabilities"] == names


def test_a_signer_introduces_its_sender_once_and_starts_again_without_a_word(stage: Stage) -> None:
    row = SenderIntroduction.objects.get()
    assert row.address == "0x" + stage.keystore.address.hex()
    assert bytes(row.signature) == stage.keystore.sign_personal(orchestrator_info_digest(stage.keystore.address))
    with running_signer() as again:
        assert again.url != stage.url
        assert SenderIntroduction.objects.get().made_at == row.made_at


# -- Old answers -------------------------------------------------------------------------------------------


def test_an_orchestrator_that_is_away_stays_as_it_was_for_the_stated_time_and_then_goes(
    node_url: str, settings: Settings
) -> None:
    introduce()
    chain = HeldChain(active_recipients=frozenset({RECIPIENT}))
    with running_signer(chain, DISCOVERY_KEEP_SECONDS=600) as stage:
        gateway, _ = stage.gateway(dollars_nano=0)
        with door_to(node_url) as address:
            settings.ORCHESTRATOR_LIST = [address]
            assert refresh.refresh(no_chain) == 1
        make_due()
        assert refresh.refresh(no_chain) == 0
        row = Orchestrator.objects.get()
        assert row.failures == 1
        assert "unreachable" in row.trouble
        assert listed(gateway, 1)[0]["capabilities"] == [LIVE, *APPS]
        # Each half grows old for itself.
        Orchestrator.objects.update(info_read_at=Now() - timedelta(seconds=601))
        until(lambda: ask(gateway) == (503, "no_orchestrators"))
        stage.chain.change(orchestrators=(("0x" + RECIPIENT.hex(), address + "/"),))
        until(lambda: isinstance(found := ask(gateway), list) and found[0]["capabilities"] == APPS)
        Orchestrator.objects.update(info_read_at=Now(), runners_read_at=Now() - timedelta(seconds=601))
        until(lambda: isinstance(found := ask(gateway), list) and found[0]["capabilities"] == [LIVE])
        Orchestrator.objects.update(info_read_at=Now() - timedelta(seconds=601))
        until(lambda: ask(gateway) == (503, "no_orchestrators"))


def test_answers_are_asked_for_anew_after_the_interval_and_failures_sooner(node_url: str, settings: Settings) -> None:
    introduce()
    away = f"https://127.0.0.1:{free_port()}"
    settings.ORCHESTRATOR_LIST = [node_url, away]
    assert refresh.refresh(no_chain) == 1
    first = Orchestrator.objects.get(address=node_url).info_read_at
    assert refresh.refresh(no_chain) == 0
    assert Orchestrator.objects.get(address=node_url).info_read_at == first

    # Nothing was learnt there: again after 15 s, then 30 s, never later than the interval.
    for failures, wait in enumerate((15, 30, 60, 100, 100), start=1):
        settings.DISCOVERY_SECONDS = 100
        row = Orchestrator.objects.get(address=away)
        waits = row.due_at - until(lambda: Orchestrator.objects.annotate(now=Now()).first()).now
        assert row.failures == failures
        assert timedelta(seconds=wait - 5) < waits <= timedelta(seconds=wait)
        Orchestrator.objects.filter(address=away).update(due_at=Now())
        refresh.refresh(no_chain)
    Orchestrator.objects.filter(address=node_url).update(due_at=Now())
    assert refresh.refresh(no_chain) == 1
    newer = Orchestrator.objects.get(address=node_url)
    assert newer.info_read_at is not None
    assert first is not None
    assert newer.info_read_at > first
    assert timedelta(seconds=90) < newer.due_at - newer.info_read_at < timedelta(seconds=100)


def test_two_workers_never_ask_one_orchestrator_at_the_same_time(
    folder: Path, node_url: str, settings: Settings
) -> None:
    with pages(folder) as page:
        settings.ORCHESTRATOR_LIST = [page.url]
        refresh.read_sources(no_chain)
        workers = [threading.Thread(target=in_thread(lambda: refresh.refresh(no_chain))) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert page.asked == ["/discovery"]


def in_thread(work: Callable[[], object]) -> Callable[[], None]:
    """Its connections to the database end with it."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    return run


# -- Hostile answers ---------------------------------------------------------------------------------------


def read(url: str, *, allow_private: bool = True) -> reading.Reading:
    (found,) = asyncio.run(reading.read_all([url], introduction=None, allow_private=allow_private))
    return found


def runners_of(page: Pages, *more: dict[str, Any]) -> bytes:
    good = {"url": page.url + "/a", "app": "good", "price_info": {"price": 5, "currency": "wei", "unit": "fixed"}}
    return json.dumps([{"address": page.url, "runners": [*more, good]}]).encode()


def test_runners_alone_make_an_orchestrator_worth_listing(folder: Path, node_url: str, settings: Settings) -> None:
    introduce()
    with pages(folder) as page:
        page.body = runners_of(page)
        settings.ORCHESTRATOR_LIST = [page.url]
        assert refresh.refresh(no_chain) == 1
        row = Orchestrator.objects.get()
        assert row.trouble.startswith("grpc_")
        assert row.info is None
        owner = "0x" + RECIPIENT.hex()
        chain = HeldChain(active_recipients=frozenset({RECIPIENT}), orchestrators=((owner, page.url),))
        with running_signer(chain) as stage:
            gateway, _ = stage.gateway(dollars_nano=0)
            assert listed(gateway, 1, "?caps=good")[0]["capabilities"] == ["good"]


def test_an_orchestrator_without_a_discovery_page_has_no_runners(folder: Path, node_url: str) -> None:
    with pages(folder) as page:
        page.status, page.body = 404, b"404 page not found"
        assert read(page.url).runners == ()


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"status": 500}, "discovery_500"),
        ({"status": 302, "headers": {"Location": "http://169.254.169.254/latest"}}, "discovery_302"),
        ({"status": 301, "headers": {"Location": "/elsewhere"}}, "discovery_301"),
        ({"body": b"<html>"}, "discovery_nonsense"),
        ({"body": b'{"address":"x"}'}, "discovery_nonsense"),
        ({"body": b"[" * 200_000}, "discovery_nonsense"),
        ({"body": b" " * (reading.MOST_BYTES + 1)}, "discovery_too_long"),
        ({"body": b"[]", "headers": {"Content-Length": "abc"}}, "discovery_unreachable"),
        ({"body": b"[]", "headers": {"X": "y" * 100_000}}, "discovery_unreachable"),
        ({"body": b"\x1f\x8b" + b"\0" * 100, "headers": {"Content-Encoding": "gzip"}}, "discovery_nonsense"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_bad_answer_teaches_nothing(folder: Path, node_url: str, changes: dict[str, Any], trouble: str) -> None:
    with pages(folder) as page:
        for name, value in changes.items():
            setattr(page, name, value)
        found = read(page.url)
        assert (found.runners, found.trouble) == (None, f"sender_unknown, {trouble}")
        assert page.asked == ["/discovery"]


def test_an_answer_that_drips_for_ever_ends_in_time(
    folder: Path, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HALF_SECONDS", 0.5)
    with pages(folder) as page:
        page.drip_seconds = 0.05
        started = time.monotonic()
        assert read(page.url).trouble == "sender_unknown, timeout"
        assert time.monotonic() - started < 3


def test_many_dead_addresses_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HALF_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        nobody = reading.Introduction(sender=b"\0" * 20, signature=b"\0" * 65)
        found = asyncio.run(reading.read_all([address] * 64, introduction=nobody, allow_private=True))
        assert {each.trouble for each in found} == {"timeout, timeout"}
        assert time.monotonic() - started < 5


def test_names_that_nobody_answers_for_keep_no_other_from_being_read(
    folder: Path, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HALF_SECONDS", 1.0)
    look_up, over = socket.getaddrinfo, threading.Event()

    def silent(host: str, *given: Any, **named: Any) -> Any:
        if host.endswith(".silent.example"):
            over.wait(30)
        return look_up("127.0.0.1", *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    try:
        with pages(folder) as page:
            port = page.url.rpartition(":")[2]
            wanted = [f"https://n{number}.silent.example:{port}" for number in range(60)] + [
                f"https://orch.example:{port}"
            ]
            started = time.monotonic()
            found = asyncio.run(reading.read_all(wanted, introduction=None, allow_private=True))
            assert time.monotonic() - started < 5
            assert [each.trouble for each in found] == ["timeout"] * 60 + ["sender_unknown"]
    finally:
        over.set()


def test_each_service_may_do_its_part_of_discovery_and_no_more() -> None:
    statements = {
        "list": "SELECT * FROM signing_orchestrator",
        "sources": "SELECT * FROM signing_orchestratorsource",
        "write": "INSERT INTO signing_orchestrator (address, failures, trouble) VALUES ('https://x.example:1', 0, '')",
        "drop": "DELETE FROM signing_orchestrator",
        "introduce": "INSERT INTO signing_senderintroduction VALUES ('0x', '') ON CONFLICT DO NOTHING",
        "introduction": "SELECT * FROM signing_senderintroduction",
        "forge": "UPDATE signing_senderintroduction SET signature = ''",
        "forget": "DELETE FROM signing_senderintroduction",
    }
    allowed = {
        "web": {"list", "sources"},
        "signer": {"list", "introduce"},
        "worker": {"list", "sources", "write", "drop", "introduction"},
        "treasury": set[str](),
    }
    for service, may in allowed.items():
        for name, statement in statements.items():
            with connection.cursor() as cursor, transaction.atomic(), ExitStack() as outcome:
                cursor.execute(f"SET LOCAL ROLE clearinghouse_{service}")
                if name not in may:
                    outcome.enter_context(pytest.raises(ProgrammingError, match="permission denied"))
                with transaction.atomic():
                    cursor.execute(statement)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "0.0.0.0"])
def test_no_address_leads_into_our_own_network_unless_the_setting_says_so(
    folder: Path, node_url: str, host: str, settings: Settings
) -> None:
    settings.DISCOVERY_PRIVATE_ADDRESSES = False
    with pages(folder) as page:
        settings.ORCHESTRATOR_LIST = [f"https://{host}:{page.url.rpartition(':')[2]}"]
        assert refresh.refresh(no_chain) == 0
        assert Orchestrator.objects.get().trouble == "private_address"
        assert page.asked == []


def test_a_name_means_one_machine_from_the_check_to_the_last_byte(
    folder: Path, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a name server says later: the address that was checked is the one that is called."""
    asked = 0

    look_up = socket.getaddrinfo

    def rebinding(host: str, *given: Any, **named: Any) -> Any:
        nonlocal asked
        if host != "orch.example":
            return look_up(host, *given, **named)
        asked += 1
        return look_up("127.0.0.1" if asked == 1 else "169.254.169.254", *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pages(folder) as page:
        page.body = runners_of(page)
        port = page.url.rpartition(":")[2]
        found = read(f"https://orch.example:{port}")
        assert found.runners == ()  # it answered, for an address that is not the one it was asked at
        assert asked == 1
        assert page.asked == ["/discovery"]


# -- Sources -----------------------------------------------------------------------------------------------


def addresses() -> set[str]:
    return set(Orchestrator.objects.values_list("address", flat=True))


def test_a_webhook_names_orchestrators_until_it_names_others(settings: Settings) -> None:
    with pages() as webhook:
        settings.ORCHESTRATOR_WEBHOOK_URL = webhook.url + "/orchestrators"
        settings.ORCHESTRATOR_LIST = ["https://a.example:1"]
        webhook.body = b'[{"address":"https://b.example:2"},{"address":"a.example:1","score":1}]'
        refresh.read_sources(no_chain)
        assert webhook.asked == ["/orchestrators"]
        assert addresses() == {"https://a.example:1", "https://b.example:2"}
        refresh.read_sources(no_chain)
        assert len(webhook.asked) == 1
        for status, body in ((500, b"[]"), (200, b"{}"), (302, b"[]"), (200, b" " * (reading.MOST_BYTES + 1))):
            webhook.status, webhook.body = status, body
            OrchestratorSource.objects.update(due_at=Now())
            refresh.read_sources(no_chain)
            assert addresses() == {"https://a.example:1", "https://b.example:2"}
            assert OrchestratorSource.objects.get(name="webhook").trouble
        webhook.status, webhook.body = 200, b'[{"address":"https://c.example:3"}]'
        OrchestratorSource.objects.update(due_at=Now())
        refresh.read_sources(no_chain)
        assert addresses() == {"https://a.example:1", "https://c.example:3"}
        assert OrchestratorSource.objects.get(name="webhook").trouble == ""
        settings.ORCHESTRATOR_WEBHOOK_URL, settings.ORCHESTRATOR_LIST = "", ["https://d.example:4"]
        refresh.read_sources(no_chain)
        assert addresses() == {"https://d.example:4"}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxChain]:
    with chain_cast.quiet_chain(tmp_path_factory.mktemp("chain")) as chain:
        chain_cast.fund(chain, deposit=chain_cast.ETHER, reserve=chain_cast.ETHER)
        yield chain


@pytest.fixture
def orchestrator(sandbox: SandboxChain, tmp_path: Path) -> Iterator[RunningOrchestrator]:
    with running_orchestrator(
        tmp_path / "orchestrator",
        rpc_url=sandbox.rpc_url,
        controller=sandbox.controller_address,
        key=sandbox.accounts["orchestrator"].private_key,
    ) as running:
        yield running


def test_the_chain_s_active_orchestrators_are_found_at_the_addresses_they_registered(
    sandbox: SandboxChain, orchestrator: RunningOrchestrator, settings: Settings
) -> None:
    sandbox.send("orchestrator", "ServiceRegistry", "setServiceURI", orchestrator.url)
    sandbox.send("bystander", "ServiceRegistry", "setServiceURI", "http://no-use.example/path")
    chain_cast.point_at(settings, sandbox)
    key = chain_cast.key_of(sandbox, "sender")
    signature = key.sign_personal(orchestrator_info_digest(key.address))
    SenderIntroduction.objects.create(address="0x" + key.address.hex(), signature=signature)
    tasks._chain.cache_clear()
    assert tasks.discover_orchestrators() == 1
    tasks._chain.cache_clear()
    row, source = Orchestrator.objects.get(), OrchestratorSource.objects.get()
    owner, bystander = (sandbox.accounts[role].address.lower() for role in ("orchestrator", "bystander"))
    assert source.members == [[owner, orchestrator.url], [bystander, ""]]
    assert (row.address, row.trouble) == (orchestrator.url, "")
    assert row.info
    assert row.info["recipient"] == owner
    assert row.runners
    assert len(row.runners) == 3

    settings.ETH_RPC_URLS = [f"http://127.0.0.1:{free_port()}"]
    OrchestratorSource.objects.update(due_at=Now())
    refresh.read_sources(lambda: Chain(settings.ETH_RPC_URLS, controller=settings.CONTROLLER_ADDRESS))
    assert OrchestratorSource.objects.get().trouble == "rpc_unreachable"
    assert addresses() == {orchestrator.url}
    settings.ORCHESTRATOR_REGISTRY = False
    refresh.read_sources(no_chain)
    assert addresses() == set()
