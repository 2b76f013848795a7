"""The sandbox chain as a process: restarts, kills, a clock of its own, and several clients at once."""

import http.client
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.chain.client import (
    PROJECT_FOLDER,
    ChainDidNotStart,
    SandboxChain,
    running_chain,
    start_chain,
    wait_until_ready,
)


def _everything(chain: SandboxChain) -> dict[str, Any]:
    """All that a client can have been told: every block, its transactions, receipts and logs, and balances."""
    head = chain.block_number()
    blocks = [chain.rpc("eth_getBlockByNumber", hex(number), True) for number in range(head + 1)]
    hashes = [transaction["hash"] for block in blocks for transaction in block["transactions"]]
    return {
        "blocks": blocks,
        "receipts": [chain.rpc("eth_getTransactionReceipt", item) for item in hashes],
        "logs": chain.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"}),
        "balances": [chain.rpc("eth_getBalance", account.address) for account in chain.accounts.values()],
        "round": chain.read("RoundsManager", "currentRound"),
        "price": chain.read("PriceFeed", "latestRoundData"),
    }


# Memory


def test_a_killed_chain_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    process = start_chain(tmp_path)
    chain = wait_until_ready(process, tmp_path)
    for deposit_wei in (3, 5):
        chain.send("sender", "TicketBroker", "fundDeposit", value_wei=deposit_wei)
    chain.set_price("2001.5")
    chain.next_round()
    known = _everything(chain)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    with running_chain(tmp_path) as again:
        assert _everything(again) == known
        assert again.controller_address == chain.controller_address
        chain_before = again.block_number()
        again.send("sender", "TicketBroker", "fundDeposit", value_wei=1)
        assert again.block_number() == chain_before + 1
        sender_info = again.read("TicketBroker", "getSenderInfo", again.accounts["sender"].address)
        assert sender_info == ((9, 0), (0, 0))


def test_a_transaction_that_waited_when_the_chain_was_killed_is_mined_later(tmp_path: Path) -> None:
    process = start_chain(tmp_path, block_seconds=3600)
    chain = wait_until_ready(process, tmp_path)
    sender, treasury = (chain.accounts[role].address for role in ("sender", "treasury"))
    sent = chain.rpc("eth_sendTransaction", {"from": sender, "to": treasury, "value": "0x1"})
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with running_chain(tmp_path, block_seconds=3600) as again:
        assert again.rpc("eth_getTransactionByHash", sent)["blockNumber"] is None
        again.mine()
        assert again.rpc("eth_getTransactionReceipt", sent)["status"] == "0x1"


def test_one_folder_is_run_by_one_process_with_one_chain_id(tmp_path: Path) -> None:
    with running_chain(tmp_path):
        second = start_chain(tmp_path)
        with pytest.raises(ChainDidNotStart, match="another process"):
            wait_until_ready(second, tmp_path)
    other = start_chain(tmp_path, chain_id=1337)
    with pytest.raises(ChainDidNotStart, match="42161"):
        wait_until_ready(other, tmp_path)


def test_a_chain_of_thousands_of_blocks_starts_as_quickly_as_a_new_one(tmp_path: Path) -> None:
    started = time.monotonic()
    with running_chain(tmp_path) as chain:
        fresh_seconds = time.monotonic() - started
        for _ in range(3):
            chain.mine(2_000)
    assert not (tmp_path / "chain.json").exists()
    started = time.monotonic()
    with running_chain(tmp_path) as chain:
        assert time.monotonic() - started < 2 * fresh_seconds + 1
        assert chain.block_number() > 6_000


def test_two_fresh_chains_have_the_same_addresses(tmp_path: Path) -> None:
    with running_chain(tmp_path / "one") as chain, running_chain(tmp_path / "other") as other:
        assert other.controller_address == chain.controller_address
        assert other.accounts == chain.accounts
        assert other.rpc_url != chain.rpc_url


def test_a_clock_makes_blocks_and_rounds_without_anybody_asking(tmp_path: Path) -> None:
    with running_chain(tmp_path, block_seconds=0.05, round_length=15) as chain:
        first = chain.current_round()
        deadline = time.monotonic() + 30
        while chain.read("RoundsManager", "lastInitializedRound") < first + 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        numbers = range(first, first + 4)
        hashes = [chain.read("RoundsManager", "blockHashForRound", number) for number in numbers]
        assert bytes(32) not in hashes
        assert len(set(hashes)) == 4


FUNDING_CLIENT = """
import sys
from pathlib import Path
from sandbox.chain.client import SandboxChain

folder, role, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chain = SandboxChain.from_folder(folder)
for number in range(1, times + 1):
    chain.send(role, "TicketBroker", "fundDeposit", value_wei=1)
    (deposit, _), _ = chain.read("TicketBroker", "getSenderInfo", chain.accounts[role].address)
    assert deposit == number, (deposit, number)
"""


def test_several_processes_are_served_at_once_and_none_waits_for_ever(tmp_path: Path) -> None:
    times, roles = 15, ("sender", "treasury", "stranger", "redeemer")
    with running_chain(tmp_path, block_seconds=0.05) as chain:
        clients = [
            subprocess.Popen(
                [sys.executable, "-c", FUNDING_CLIENT, str(tmp_path), role, str(times)], cwd=PROJECT_FOLDER
            )
            for role in roles
        ]
        assert [client.wait(timeout=120) for client in clients] == [0] * len(roles)
        addresses = [chain.accounts[role].address for role in roles]
        deposits = [chain.read("TicketBroker", "getSenderInfo", address)[0][0] for address in addresses]
        assert deposits == [times] * len(roles)


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(tmp_path: Path) -> None:
    """Delayed acknowledgements would make it 40 ms each."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}'
    seconds = []
    with running_chain(tmp_path) as chain:
        connection = http.client.HTTPConnection(chain.rpc_url.removeprefix("http://"))
        for _ in range(50):
            started = time.monotonic()
            connection.request("POST", "/", body, {"content-type": "application/json"})
            connection.getresponse().read()
            seconds.append(time.monotonic() - started)
        connection.close()
    assert sorted(seconds)[25] < 0.02
