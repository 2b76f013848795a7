"""A wish to fund is one funding, however many workers look at it, and the books follow; others' wishes are none."""

import json
import threading
from pathlib import Path

import pytest
from django.db import connection
from eth_account import Account as EthAccount
from pytest_django import Settings

from billing import ledger
from billing.models import Journal
from sandbox.chain.client import SandboxChain
from signing import tasks
from signing.chain import indexer
from signing.chain.ethereum import Chain
from signing.models import TreasuryTransaction
from signing.signer.keystore import Keystore
from signing.treasury import funding
from tests import builders, chain_cast
from tests.acting import acting_as
from tests.chain_cast import ETHER
from tests.funding_stage import ask, chain, funds, key, sent
from tests.indexer_stage import settle

__all__ = ["chain", "key"]

Status = TreasuryTransaction.Status


def test_a_wish_becomes_one_funding_and_one_set_of_journals(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    row = ask(sandbox)
    with acting_as("treasury"):
        for _ in range(3):
            funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.error) == (Status.CONFIRMED, "")
    assert funds(sandbox) == (2 * ETHER, ETHER)
    assert sent(sandbox) == 1
    receipt = sandbox.wait_for(row.tx_hash)
    assert row.gas_cost_wei == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    with acting_as("worker"):
        chain_cast.finalise(sandbox)
        indexer.index(chain)
    settle(sandbox, chain)
    row.refresh_from_db()
    assert row.gas_journal is not None
    assert row.gas_journal.reference == f"gas:{sandbox.chain_id}:{row.tx_hash}"
    assert ledger.balance(1310, "ETH", row.sender) == 2 * ETHER
    assert sorted(Journal.objects.values_list("kind", flat=True)) == ["funding", "funding", "gas", "opening"]


def test_many_workers_at_once_fund_each_wish_once(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    rows = [ask(sandbox, deposit=number, reserve=0) for number in (1, 10, 100)]
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
    assert funds(sandbox) == (111, 0)
    settle(sandbox, chain)


def test_a_wallet_that_cannot_pay_signs_nothing(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    balance = chain.balance(key.checksum_address, block="latest")
    too_much, no_gas = ask(sandbox, deposit=balance + 1), ask(sandbox, deposit=balance, reserve=0)
    for _ in range(3):
        funding.execute_pending(chain, key)
    for row in (too_much, no_gas):
        row.refresh_from_db()
        assert (row.status, row.raw_transaction) == (Status.FAILED, None)
        assert "treasury wallet holds" in row.error
    assert sent(sandbox) == 0


def test_a_wish_for_somebody_else_s_deposit_is_never_signed(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    """Whoever took over the web process can write such a row; the key is not there."""
    stranger, user = sandbox.accounts["orchestrator"].address.lower(), builders.user()
    with acting_as("web"):
        row = TreasuryTransaction.objects.create(sender=stranger, deposit_wei=ETHER, requested_by=user)
    with acting_as("treasury"):
        funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.raw_transaction) == (Status.FAILED, None)
    assert row.error == "Only a sender of our own can be funded."
    assert sent(sandbox) == 0


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
    row = ask(sandbox)
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
