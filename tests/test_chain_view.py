"""Stories of the watch: what it says is what the contracts say, and an old answer is no answer."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from pytest_django import Settings

from sandbox.chain.client import SandboxChain
from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.chain.roster import read_roster
from signing.chain.view import ChainView, read_view
from signing.chain.watch import ChainWatch
from tests import chain_cast


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxChain]:
    folder: Path = tmp_path_factory.mktemp("chain")
    with chain_cast.quiet_chain(folder, max_log_range=7) as chain:
        yield chain


@pytest.fixture
def chain(sandbox: SandboxChain) -> Iterator[Chain]:
    connected = chain_cast.connected(sandbox)
    yield connected
    connected.close()


@pytest.fixture
def watch(sandbox: SandboxChain, settings: Settings) -> Iterator[ChainWatch]:
    chain_cast.point_at(settings, sandbox)
    watch = _watch(sandbox, chain_cast.connected(sandbox))
    watch.start()
    yield watch
    watch.stop()


def _watch(sandbox: SandboxChain, chain: Chain, *, max_age_seconds: float = 30) -> ChainWatch:
    return ChainWatch(
        chain,
        sender=sandbox.accounts["sender"].address,
        feed_address=sandbox.eth_usd_feed_address,
        refresh_seconds=0.05,
        max_age_seconds=max_age_seconds,
        rate_max_age_seconds=600,
        roster_seconds=0.2,
    )


def _view(chain: Chain, sandbox: SandboxChain) -> ChainView:
    return read_view(
        chain,
        sender=sandbox.accounts["sender"].address,
        feed_address=sandbox.eth_usd_feed_address,
        roster=read_roster(chain),
    )


def _refused(watch: ChainWatch) -> str:
    try:
        watch.view()
    except ChainUnavailable as error:
        return error.reason_code
    return ""


def _until[Result](ask: Callable[[], Result]) -> Result:
    """The first truthy answer within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def test_a_view_says_what_the_contracts_say(sandbox: SandboxChain, chain: Chain) -> None:
    chain_cast.fund(sandbox, deposit=3 * chain_cast.ETHER, reserve=2 * chain_cast.ETHER)
    sandbox.set_price(Decimal("2512.34567891"))
    sandbox.send("orchestrator", "ServiceRegistry", "setServiceURI", "https://orchestrator.example:8935")
    view = _view(chain, sandbox)
    (deposit, withdraw_round), (reserve, _) = sandbox.read(
        "TicketBroker", "getSenderInfo", sandbox.accounts["sender"].address
    )
    current = sandbox.current_round()
    orchestrator = sandbox.accounts["orchestrator"].address
    assert view.sender == sandbox.accounts["sender"].address.lower()
    assert (view.funds.deposit_wei, view.funds.reserve_wei) == (deposit, reserve) == (3 * 10**18, 2 * 10**18)
    assert view.funds.withdraw_round == withdraw_round == 0
    assert (view.current_round, view.last_initialized_round) == (current, current)
    assert view.round_block_hashes == {current: sandbox.read("RoundsManager", "blockHashForRound", current)}
    assert view.l1_block == sandbox.block_number()
    assert bytes.fromhex(orchestrator[2:]) in view.active_recipients
    assert bytes.fromhex(sandbox.accounts["orchestrator2"].address[2:]) not in view.active_recipients
    assert (orchestrator.lower(), "https://orchestrator.example:8935") in view.orchestrators
    assert view.pool_size == 2
    assert view.rate.nano_usd_per_eth == 2_512_345_678_910
    assert view.rate.feed_address == sandbox.eth_usd_feed_address.lower()


def test_the_last_two_initialised_rounds_have_their_hashes(sandbox: SandboxChain, chain: Chain) -> None:
    before = sandbox.current_round()
    current = sandbox.next_round()
    hashes = _view(chain, sandbox).round_block_hashes
    assert hashes == {
        number: sandbox.read("RoundsManager", "blockHashForRound", number) for number in (before, current)
    }
    sandbox.keeper(rounds=False)
    uninitialised = sandbox.next_round()
    view = _view(chain, sandbox)
    assert (view.current_round, view.last_initialized_round) == (uninitialised, current)
    assert view.round_block_hashes == hashes
    sandbox.keeper(rounds=True)
    sandbox.mine()


def test_the_watch_follows_the_chain(sandbox: SandboxChain, watch: ChainWatch) -> None:
    _until(lambda: not _refused(watch))
    before = watch.view()
    chain_cast.fund(sandbox, deposit=1, reserve=0)
    assert _until(lambda: watch.view().funds.deposit_wei == before.funds.deposit_wei + 1)
    newcomer = sandbox.accounts["orchestrator2"].address
    sandbox.register(newcomer, active_from_round=sandbox.current_round())
    assert _until(lambda: bytes.fromhex(newcomer[2:]) in watch.view().active_recipients)
    assert watch.view().pool_size == 3
    sandbox.deactivate(newcomer, from_round=sandbox.current_round())
    assert _until(lambda: bytes.fromhex(newcomer[2:]) not in watch.view().active_recipients)


def test_nothing_read_yet_is_no_view(sandbox: SandboxChain) -> None:
    watch = _watch(sandbox, Chain(["http://127.0.0.1:9"], controller=sandbox.controller_address))
    assert _refused(watch) == "chain_unread"
    watch.start()
    time.sleep(0.2)
    assert _refused(watch) == "chain_unread"
    watch.stop()


def test_an_old_price_is_no_price(sandbox: SandboxChain, watch: ChainWatch) -> None:
    _until(lambda: not _refused(watch))
    sandbox.set_price(2_500, updated_at_seconds=int(time.time()) - 601)
    assert _until(lambda: _refused(watch) == "rate_stale")
    sandbox.set_price(2_500)
    sandbox.keeper(feed=True)
    assert _until(lambda: not _refused(watch))


def test_a_chain_that_went_away_is_no_chain(tmp_path: Path) -> None:
    with chain_cast.quiet_chain(tmp_path) as sandbox:
        watch = _watch(sandbox, chain_cast.connected(sandbox), max_age_seconds=0.5)
        watch.start()
        _until(lambda: not _refused(watch))
    assert _until(lambda: _refused(watch) == "chain_stale")
    watch.stop()


def test_an_endpoint_that_no_longer_follows_the_chain_is_no_chain(sandbox: SandboxChain) -> None:
    class Behind(BaseHTTPRequestHandler):
        """Answers everything, but its newest block is of an hour ago."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with urlopen(Request(sandbox.rpc_url, body, {"Content-Type": "application/json"})) as answered:
                answer = json.load(answered)
            if json.loads(body)["method"] == "eth_getBlockByNumber":
                answer["result"]["timestamp"] = hex(int(time.time()) - 3600)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    sandbox.mine(1)
    behind = HTTPServer(("127.0.0.1", 0), Behind)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{behind.server_port}"
    alone = Chain([url], controller=sandbox.controller_address)
    for _ in range(2):
        with pytest.raises(ChainUnavailable, match="the newest block is from"):
            _view(alone, sandbox)
    both = Chain([url, sandbox.rpc_url], controller=sandbox.controller_address)
    watch = _watch(sandbox, both)
    watch.start()
    assert _until(lambda: not _refused(watch))
    watch.stop()
    behind.shutdown()
    behind.server_close()
    alone.close()


def test_a_broken_endpoint_is_passed_over(sandbox: SandboxChain) -> None:
    class Broken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(500)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    broken = HTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=broken.serve_forever, daemon=True).start()
    urls = ["http://127.0.0.1:9", f"http://127.0.0.1:{broken.server_port}", sandbox.rpc_url]
    chain = Chain(urls, controller=sandbox.controller_address)
    assert chain.header("latest").number == sandbox.block_number()
    broken.shutdown()
    broken.server_close()
    chain.close()


def test_logs_are_read_in_pages_the_endpoint_allows(sandbox: SandboxChain, chain: Chain) -> None:
    first = sandbox.block_number() + 1
    for _ in range(4):
        chain_cast.fund(sandbox, deposit=5, reserve=6)
        sandbox.mine(5)
    logs = chain.logs(
        "TicketBroker",
        ["DepositFunded", "ReserveFunded"],
        party=sandbox.accounts["sender"].address,
        first_block=first,
        last_block=sandbox.block_number(),
        page=1_000,
    )
    assert [(entry.name, entry.arguments["amount"]) for entry in logs] == 4 * [
        ("ReserveFunded", 6),
        ("DepositFunded", 5),
    ]


def test_an_endpoint_that_refuses_long_ranges_over_http_is_read_in_short_ones(sandbox: SandboxChain) -> None:
    refused: list[int] = []

    class Miser(BaseHTTPRequestHandler):
        """Passes requests on, except for logs of more than four blocks."""

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked = (
                request["params"][0] if request["method"] == "eth_getLogs" else {"fromBlock": "0x0", "toBlock": "0x0"}
            )
            blocks = int(asked["toBlock"], 16) - int(asked["fromBlock"], 16) + 1
            if blocks > 4:
                refused.append(blocks)
                self.send_response(400)
                self.end_headers()
                return
            answer = json.dumps(
                {"jsonrpc": "2.0", "id": 1, "result": sandbox.rpc(request["method"], *request["params"])}
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    chain_cast.fund(sandbox, deposit=11, reserve=0)
    last = sandbox.block_number()
    with HTTPServer(("127.0.0.1", 0), Miser) as miser:
        threading.Thread(target=miser.serve_forever, daemon=True).start()
        chain = Chain([f"http://127.0.0.1:{miser.server_port}"], controller=sandbox.controller_address)
        sender = sandbox.accounts["sender"].address
        logs = chain.logs(
            "TicketBroker", ["DepositFunded"], party=sender, first_block=last - 9, last_block=last, page=100
        )
        chain.close()
        miser.shutdown()
    assert logs[-1].arguments["amount"] == 11
    assert refused[:2] == [10, 5]
    assert len(refused) <= 4


def test_a_contract_the_controller_does_not_know_is_named(sandbox: SandboxChain, chain: Chain) -> None:
    with pytest.raises(ChainUnavailable) as refused:
        chain.address_of("NoSuchContract")
    assert refused.value.reason_code == "contract_missing"
