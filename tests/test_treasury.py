"""Stories of the treasury: one wish is one funding, wherever its worker is killed, and the books follow."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.db import connection
from eth_account import Account as EthAccount
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from billing import check_books as billing_books
from billing import ledger
from billing.models import Journal
from billing.postings import Account
from sandbox.chain.client import SandboxChain
from signing import tasks
from signing.chain import indexer
from signing.chain.ethereum import Chain, Receipt
from signing.models import TreasuryTransaction
from signing.signer.keystore import Keystore
from signing.treasury import check_books, funding, postings
from signing.treasury.postings import Holding, Part
from tests import builders, chain_cast
from tests.chain_cast import ETHER

Status = TreasuryTransaction.Status


class Killed(Exception):
    pass


class Fragile(Chain):
    """A chain whose user is killed at one moment of its work, once."""

    def __init__(self, sandbox: SandboxChain, moment: str) -> None:
        super().__init__([sandbox.rpc_url], controller=sandbox.controller_address)
        self._moment = moment

    def _kill_at(self, moment: str) -> None:
        if self._moment == moment:
            self._moment = ""
            raise Killed

    def nonce(self, address: str, *, block: int | str) -> int:
        self._kill_at("before signing")
        return super().nonce(address, block=block)

    def send_raw(self, raw: bytes) -> None:
        self._kill_at("before sending")
        super().send_raw(raw)
        self._kill_at("after sending")

    def receipt(self, tx_hash: str) -> Receipt | None:
        found = super().receipt(tx_hash)
        if found is None:
            self._kill_at("before looking")
        else:
            self._kill_at("after looking")
        return found


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxChain]:
    folder: Path = tmp_path_factory.mktemp("chain")
    with chain_cast.quiet_chain(folder) as chain:
        yield chain


@pytest.fixture
def chain(sandbox: SandboxChain, settings: Settings, transactional_db: None) -> Iterator[Chain]:
    chain_cast.point_at(settings, sandbox)
    snapshot = sandbox.rpc("evm_snapshot")
    sandbox.set_price(3_000)
    chain_cast.finalise(sandbox)
    connected = chain_cast.connected(sandbox)
    indexer.index(connected)
    yield connected
    connected.close()
    sandbox.rpc("evm_revert", snapshot)


@pytest.fixture
def key(sandbox: SandboxChain) -> Keystore:
    return chain_cast.key_of(sandbox, "treasury")


def _ask(sandbox: SandboxChain, *, deposit: int = 2 * ETHER, reserve: int = ETHER) -> TreasuryTransaction:
    sender = sandbox.accounts["sender"].address
    return funding.request(sender=sender, deposit_wei=deposit, reserve_wei=reserve, user=builders.user())


def _funds(sandbox: SandboxChain) -> tuple[int, int]:
    (deposit, _), (reserve, _) = sandbox.read("TicketBroker", "getSenderInfo", sandbox.accounts["sender"].address)
    return deposit, reserve


def _sent(sandbox: SandboxChain) -> int:
    return int(sandbox.rpc("eth_getTransactionCount", sandbox.accounts["treasury"].address, "latest"), 16)


def _book(sandbox: SandboxChain, chain: Chain) -> None:
    """Makes everything final, books it, and checks every invariant."""
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    figures = {**billing_books.invariants(), **check_books.invariants()}
    assert not {name: figure for name, figure in figures.items() if figure}


@contextmanager
def _acting_as(role: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE clearinghouse_{role}")
        try:
            yield
        finally:
            cursor.execute("RESET ROLE")


def test_a_wish_becomes_one_funding_and_one_set_of_journals(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    row = _ask(sandbox)
    with _acting_as("treasury"):
        for _ in range(3):
            funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.error) == (Status.CONFIRMED, "")
    assert _funds(sandbox) == (2 * ETHER, ETHER)
    assert _sent(sandbox) == 1
    receipt = sandbox.wait_for(row.tx_hash)
    assert row.gas_cost_wei == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    with _acting_as("worker"):
        chain_cast.finalise(sandbox)
        indexer.index(chain)
    _book(sandbox, chain)
    row.refresh_from_db()
    assert row.gas_journal is not None
    assert row.gas_journal.reference == f"gas:{sandbox.chain_id}:{row.tx_hash}"
    assert ledger.balance(1310, "ETH", row.sender) == 2 * ETHER
    assert sorted(Journal.objects.values_list("kind", flat=True)) == ["funding", "funding", "gas", "opening"]


@pytest.mark.parametrize(
    "moment", ["before signing", "before looking", "before sending", "after sending", "after looking"]
)
def test_a_worker_killed_at_any_moment_funds_once(
    sandbox: SandboxChain, chain: Chain, key: Keystore, moment: str
) -> None:
    row = _ask(sandbox)
    fragile = Fragile(sandbox, moment)
    with pytest.raises(Killed):
        funding.execute_pending(fragile, key)
    for _ in range(2):
        funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.CONFIRMED
    assert _funds(sandbox) == (2 * ETHER, ETHER)
    assert _sent(sandbox) == 1
    _book(sandbox, chain)
    fragile.close()


def test_a_worker_killed_before_it_wrote_the_signature_down_funds_once(
    sandbox: SandboxChain, chain: Chain, key: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = _ask(sandbox)

    def die(*_: object, **__: object) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(funding, "_store", die)
        with pytest.raises(Killed):
            funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.raw_transaction) == (Status.REQUESTED, None)
    funding.execute_pending(chain, key)
    assert _funds(sandbox) == (2 * ETHER, ETHER)


def test_many_workers_at_once_fund_each_wish_once(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    rows = [_ask(sandbox, deposit=number, reserve=0) for number in (1, 10, 100)]
    barrier = threading.Barrier(4)

    def work() -> None:
        own = chain_cast.connected(sandbox)
        barrier.wait()
        for _ in range(5):
            funding.execute_pending(own, key)
        own.close()
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for row in rows:
        row.refresh_from_db()
    assert {row.status for row in rows} == {Status.CONFIRMED}
    assert sorted(row.nonce or 0 for row in rows) == [0, 1, 2]
    assert _funds(sandbox) == (111, 0)
    _book(sandbox, chain)


def test_a_wallet_that_cannot_pay_signs_nothing(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    balance = chain.balance(key.checksum_address, block="latest")
    too_much, no_gas = _ask(sandbox, deposit=balance + 1), _ask(sandbox, deposit=balance, reserve=0)
    for _ in range(3):
        funding.execute_pending(chain, key)
    for row in (too_much, no_gas):
        row.refresh_from_db()
        assert (row.status, row.raw_transaction) == (Status.FAILED, None)
        assert "treasury wallet holds" in row.error
    assert _sent(sandbox) == 0


def test_a_wish_for_somebody_else_s_deposit_is_never_signed(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    """Whoever took over the web process can write such a row; the key is not there."""
    stranger, user = sandbox.accounts["orchestrator"].address.lower(), builders.user()
    with _acting_as("web"):
        row = TreasuryTransaction.objects.create(sender=stranger, deposit_wei=ETHER, requested_by=user)
    with _acting_as("treasury"):
        funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.raw_transaction) == (Status.FAILED, None)
    assert row.error == "Only a sender of our own can be funded."
    assert _sent(sandbox) == 0


def test_a_contract_that_refuses_is_quoted(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    row = _ask(sandbox)
    sandbox.send("deployer", "Controller", "pause")
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.FAILED
    assert "system is paused" in row.error
    assert _sent(sandbox) == 0


def test_a_transaction_that_reverts_costs_gas_only(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    row = _ask(sandbox)
    fragile = Fragile(sandbox, "before sending")
    with suppress(Killed):
        funding.execute_pending(fragile, key)
    sandbox.send("deployer", "Controller", "pause")
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.FAILED
    assert row.gas_cost_wei
    sandbox.send("deployer", "Controller", "unpause")
    _book(sandbox, chain)
    assert _funds(sandbox) == (0, 0)
    assert sorted(Journal.objects.values_list("kind", flat=True)) == ["gas", "opening"]
    fragile.close()


def test_a_reorganised_funding_is_sent_again_and_counts_once(
    sandbox: SandboxChain, chain: Chain, key: Keystore
) -> None:
    row = _ask(sandbox)
    funding.execute_pending(chain, key)
    sandbox.reorg(1)
    assert _funds(sandbox) == (0, 0)
    for _ in range(2):
        funding.execute_pending(chain, key)
    again = TreasuryTransaction.objects.get(pk=row.pk)
    assert again.status == Status.CONFIRMED
    assert _funds(sandbox) == (2 * ETHER, ETHER)
    assert _sent(sandbox) == 1
    _book(sandbox, chain)


def test_a_signed_wish_whose_nonce_is_gone_fails_when_that_is_final(
    sandbox: SandboxChain, chain: Chain, key: Keystore
) -> None:
    row = _ask(sandbox)
    fragile = Fragile(sandbox, "before sending")
    with suppress(Killed):
        funding.execute_pending(fragile, key)
    fragile.close()
    transfer = {"from": key.checksum_address, "to": sandbox.accounts["stranger"].address, "value": "0x1"}
    sandbox.wait_for(sandbox.rpc("eth_sendTransaction", transfer))
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.SIGNED
    assert "nonce" in row.error
    chain_cast.finalise(sandbox)
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.block_number) == (Status.FAILED, None)
    second = _ask(sandbox)
    funding.execute_pending(chain, key)
    second.refresh_from_db()
    assert second.status == Status.CONFIRMED
    _book(sandbox, chain)


def test_a_transaction_too_cheap_for_the_moment_waits(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    row = _ask(sandbox)
    fragile = Fragile(sandbox, "before sending")
    with suppress(Killed):
        funding.execute_pending(fragile, key)
    fragile.close()
    fee = chain.header("latest").base_fee_wei
    sandbox.rpc("anvil_setNextBlockBaseFeePerGas", hex(fee * 100))
    sandbox.mine()
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.SIGNED
    sandbox.rpc("anvil_setNextBlockBaseFeePerGas", hex(fee))
    sandbox.mine()
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.error) == (Status.CONFIRMED, "")


def test_the_clocks_doors_open_the_key_and_reach_the_chain(
    sandbox: SandboxChain, chain: Chain, settings: Settings, tmp_path: Path
) -> None:
    password, secret = "correct horse battery staple", bytes.fromhex(sandbox.accounts["treasury"].private_key[2:])
    keystore, password_file = tmp_path / "treasury.json", tmp_path / "treasury.password"
    keystore.write_text(json.dumps(EthAccount.encrypt(secret, password, kdf="pbkdf2", iterations=1_000)))
    password_file.write_text(password + "\n")
    settings.TREASURY_KEYSTORE_FILE, settings.TREASURY_KEYSTORE_PASSWORD_FILE = keystore, password_file
    tasks._chain.cache_clear()
    tasks._treasury_key.cache_clear()
    row = _ask(sandbox)
    tasks.execute_treasury()
    chain_cast.finalise(sandbox)
    assert tasks.index_chain() == int(sandbox.rpc("eth_getBlockByNumber", "safe", False)["number"], 16)
    row.refresh_from_db()
    assert row.gas_journal is not None
    tasks._chain().close()
    tasks._chain.cache_clear()
    settings.ETH_RPC_URLS = ["http://127.0.0.1:9"]
    assert tasks.index_chain() == 0
    tasks._chain().close()
    tasks._chain.cache_clear()
    tasks._treasury_key.cache_clear()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("deposit", "reserve"), [(0, 0), (-1, 2), (1.5, 0), (True, 0), (10**27, 1)], ids=["none", "-", "float", "bool", "!"]
)
def test_nonsense_is_not_written_down(settings: Settings, deposit: int, reserve: int) -> None:
    settings.SENDER_ADDRESS = "0x" + "5e" * 20
    with pytest.raises(funding.InvalidFunding) as refused:
        funding.request(sender=settings.SENDER_ADDRESS, deposit_wei=deposit, reserve_wei=reserve, user=builders.user())
    assert refused.value.code == "invalid_amount"
    assert not TreasuryTransaction.objects.exists()


@pytest.mark.django_db
def test_nobody_but_our_sender_is_funded(settings: Settings) -> None:
    settings.SENDER_ADDRESS = "0x" + "5e" * 20
    with pytest.raises(funding.InvalidFunding) as refused:
        funding.request(sender="0x" + "0b" * 20, deposit_wei=1, reserve_wei=0, user=builders.user())
    assert refused.value.code == "unknown_sender"


@given(wei=st.integers(1, 10**24), cost=st.integers(0, 10**18), moved=st.lists(st.integers(1, 10**23), max_size=6))
def test_cost_leaves_with_its_ether_and_none_stays_behind(wei: int, cost: int, moved: list[int]) -> None:
    held = Holding(wei=wei, nano_usd=cost)
    for amount in [*moved, wei]:
        taken = min(amount, held.wei)
        share = postings.share_floor(held, taken)
        assert 0 <= share <= held.nano_usd
        held = Holding(wei=held.wei - taken, nano_usd=held.nano_usd - share)
    assert held == Holding()


@given(
    liability=st.integers(0, 10**15),
    parts=st.lists(st.tuples(st.integers(0, 10**18), st.integers(0, 10**15)), min_size=1, max_size=2),
)
def test_a_redemption_relieves_the_liability_and_both_assets_exactly(
    liability: int, parts: list[tuple[int, int]]
) -> None:
    accounts = [postings.deposit("0xaa"), postings.reserve("0xaa")]
    given_parts = [
        Part(account=account, wei=wei, cost_nano_usd=cost)
        for account, (wei, cost) in zip(accounts, parts, strict=False)
    ]
    transfers = postings.redemption(recipient="0xbb", liability_nano_usd=liability, parts=given_parts)

    def moved(account: Account, asset: str) -> int:
        return sum(leg.amount for leg in transfers if leg.debit == account and leg.asset == asset) - sum(
            leg.amount for leg in transfers if leg.credit == account and leg.asset == asset
        )

    cost = sum(part.cost_nano_usd for part in given_parts)
    assert moved(postings.tickets("0xbb"), "USD") == liability
    assert moved(Account(7200), "USD") == cost - liability
    assert moved(postings.tickets("0xbb"), "ETH") == sum(part.wei for part in given_parts)
    for part in given_parts:
        assert moved(part.account, "USD") == -part.cost_nano_usd
        assert moved(part.account, "ETH") == -part.wei
