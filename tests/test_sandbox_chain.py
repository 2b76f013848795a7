"""The sandbox chain as a node: what it answers, what it remembers, and how it bears restarts and many clients."""

import http.client
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.exceptions import ContractLogicError, ContractPanicError, Web3RPCError
from web3.types import Wei

from sandbox.chain.client import (
    ETHER_WEI,
    PROJECT_FOLDER,
    ChainDidNotStart,
    RpcFailed,
    SandboxChain,
    running_chain,
    start_chain,
    wait_until_ready,
)
from sandbox.chain.contracts import contract

BASE_FEE_WEI = 10_000_000


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxChain]:
    with running_chain(tmp_path_factory.mktemp("chain"), round_length=10_000, max_log_range=500) as ready:
        yield ready


@pytest.fixture
def payer(chain: SandboxChain) -> LocalAccount:
    account: LocalAccount = Account.create()
    chain.give(account.address, ETHER_WEI)
    return account


def _raw(payer: LocalAccount, **changes: Any) -> str:
    transaction = {
        "type": 2,
        "chainId": 42161,
        "nonce": 0,
        "to": payer.address,
        "value": 1,
        "gas": 21_000,
        "maxFeePerGas": 2 * BASE_FEE_WEI,
        "maxPriorityFeePerGas": 0,
    }
    wanted = {name: value for name, value in {**transaction, **changes}.items() if value is not None}
    raw: str = payer.sign_transaction(wanted).raw_transaction.to_0x_hex()
    return raw


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
    payer = Account.from_key(chain.accounts["sender"].private_key)
    sent = chain.rpc("eth_sendRawTransaction", _raw(payer))
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


def test_a_chain_of_thousands_of_blocks_starts_quickly(tmp_path: Path) -> None:
    with running_chain(tmp_path) as chain:
        for _ in range(3):
            chain.mine(2_000)
    started = time.monotonic()
    with running_chain(tmp_path) as chain:
        assert chain.block_number() > 6_000
        # Twice the promise: the machine may be busy.
        assert time.monotonic() - started < 4
    assert not (tmp_path / "chain.json").exists()


def test_two_fresh_chains_have_the_same_addresses(tmp_path: Path, chain: SandboxChain) -> None:
    with running_chain(tmp_path / "other") as other:
        assert other.controller_address == chain.controller_address
        assert other.accounts == chain.accounts
        assert other.rpc_url != chain.rpc_url


# Blocks and their tags


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


def test_contracts_and_clients_see_the_same_block_number(chain: SandboxChain) -> None:
    block = chain.rpc("eth_getBlockByNumber", "latest", False)
    assert chain.read("RoundsManager", "blockNum") == int(block["number"], 16) == int(block["l1BlockNumber"], 16)


def test_tags_name_blocks_at_their_depth(chain: SandboxChain) -> None:
    chain.mine(10)
    numbers = {
        tag: int(chain.rpc("eth_getBlockByNumber", tag, False)["number"], 16)
        for tag in ("latest", "safe", "finalized", "earliest", "pending")
    }
    head = chain.block_number()
    assert numbers == {"latest": head, "safe": head - 4, "finalized": head - 8, "earliest": 0, "pending": head}
    assert chain.rpc("eth_getBlockByNumber", hex(head + 1), False) is None


def test_the_state_can_be_asked_at_any_block_and_tag(chain: SandboxChain, payer: LocalAccount) -> None:
    before = hex(chain.block_number())
    chain.give(payer.address, 5)
    block_hash = chain.rpc("eth_getBlockByNumber", before, False)["hash"]
    ask = ["latest", before, "safe", {"blockHash": block_hash}, {"blockNumber": before}]
    balances = [int(chain.rpc("eth_getBalance", payer.address, tag), 16) for tag in ask]
    assert balances == [ETHER_WEI + 5, ETHER_WEI, 0, ETHER_WEI, ETHER_WEI]

    chain.send("sender", "TicketBroker", "fundDeposit", value_wei=7)
    sender = chain.accounts["sender"].address
    now, then = (chain.read("TicketBroker", "getSenderInfo", sender, block=tag)[0][0] for tag in ("latest", before))
    assert now == then + 7


def test_a_block_hash_is_the_hash_of_its_header(chain: SandboxChain) -> None:
    """So that clients which hash headers by themselves agree, and children name their parents."""
    w3 = Web3(Web3.HTTPProvider(chain.rpc_url))
    head = chain.block_number()
    blocks = [w3.eth.get_block(number) for number in range(head - 3, head + 1)]
    assert all(child["parentHash"] == parent["hash"] for parent, child in itertools.pairwise(blocks))
    assert w3.eth.get_block(blocks[0]["hash"]) == blocks[0]


# Transactions


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"chainId": 1}, "invalid chain id"),
        ({"type": None, "chainId": None, "gasPrice": BASE_FEE_WEI, "maxFeePerGas": None,
          "maxPriorityFeePerGas": None}, "only replay-protected"),
        ({"value": 2 * ETHER_WEI}, "insufficient funds for gas * price + value"),
        ({"gas": 20_999}, "intrinsic gas too low"),
        ({"gas": 40_000_000}, "exceeds block gas limit"),
        ({"maxFeePerGas": BASE_FEE_WEI - 1}, "max fee per gas less than block base fee"),
        ({"maxPriorityFeePerGas": 3 * BASE_FEE_WEI}, "max priority fee per gas higher than max fee per gas"),
    ],
)  # fmt: skip
def test_a_transaction_that_cannot_run_is_refused_with_the_text_clients_know(
    chain: SandboxChain, payer: LocalAccount, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(RpcFailed, match=f"^-32000: {re.escape(text)}"):
        chain.rpc("eth_sendRawTransaction", _raw(payer, **changes))


def test_a_nonce_is_used_once_and_a_gap_waits_for_its_filling(chain: SandboxChain, payer: LocalAccount) -> None:
    late = chain.rpc("eth_sendRawTransaction", _raw(payer, nonce=1))
    with pytest.raises(RpcFailed, match="already known"):
        chain.rpc("eth_sendRawTransaction", _raw(payer, nonce=1))
    assert chain.rpc("eth_getTransactionReceipt", late) is None
    early = chain.rpc("eth_sendRawTransaction", _raw(payer, nonce=0))
    receipts = [chain.rpc("eth_getTransactionReceipt", item) for item in (early, late)]
    assert receipts[0]["blockHash"] == receipts[1]["blockHash"]
    assert [receipt["transactionIndex"] for receipt in receipts] == ["0x0", "0x1"]
    with pytest.raises(RpcFailed, match="nonce too low: next nonce 2, tx nonce 0"):
        chain.rpc("eth_sendRawTransaction", _raw(payer, nonce=0))


def test_waiting_transactions_show_as_pending_and_can_be_outbid(tmp_path: Path) -> None:
    with running_chain(tmp_path, block_seconds=3600) as chain:
        payer = Account.from_key(chain.accounts["stranger"].private_key)
        cheap = chain.rpc("eth_sendRawTransaction", _raw(payer, value=1))
        chain.rpc("eth_sendRawTransaction", _raw(payer, nonce=1))
        counts = [chain.rpc("eth_getTransactionCount", payer.address, tag) for tag in ("latest", "pending")]
        assert counts == ["0x0", "0x2"]
        with pytest.raises(RpcFailed, match="already known"):
            chain.rpc("eth_sendRawTransaction", _raw(payer, value=1))
        with pytest.raises(RpcFailed, match="replacement transaction underpriced"):
            chain.rpc("eth_sendRawTransaction", _raw(payer, value=2))
        dear = chain.rpc("eth_sendRawTransaction", _raw(payer, value=2, maxFeePerGas=3 * BASE_FEE_WEI))
        chain.mine()
        assert chain.rpc("eth_getTransactionByHash", cheap) is None
        assert chain.rpc("eth_getTransactionReceipt", dear)["status"] == "0x1"
        assert chain.rpc("eth_getTransactionCount", payer.address, "latest") == "0x2"


def test_old_and_new_transaction_types_pay_the_base_fee_and_nothing_more(
    chain: SandboxChain, payer: LocalAccount
) -> None:
    """The priority fee has no effect, as on Arbitrum."""
    legacy: dict[str, Any] = {
        "type": None,
        "maxFeePerGas": None,
        "maxPriorityFeePerGas": None,
        "gasPrice": 5 * BASE_FEE_WEI,
    }
    listed: dict[str, Any] = {**legacy, "type": 1, "accessList": [], "nonce": 1}
    tipping: dict[str, Any] = {"maxPriorityFeePerGas": BASE_FEE_WEI, "nonce": 2}
    for kind, changes in enumerate((legacy, listed, tipping)):
        before = int(chain.rpc("eth_getBalance", payer.address), 16)
        sent = chain.rpc("eth_sendRawTransaction", _raw(payer, **changes))
        receipt = chain.rpc("eth_getTransactionReceipt", sent)
        after = int(chain.rpc("eth_getBalance", payer.address), 16)
        assert before - after == 21_000 * BASE_FEE_WEI
        assert (receipt["type"], receipt["effectiveGasPrice"], receipt["gasUsedForL1"]) == (
            hex(kind), hex(BASE_FEE_WEI), "0x0",
        )  # fmt: skip


def test_a_reverted_transaction_costs_gas_and_changes_nothing(chain: SandboxChain, payer: LocalAccount) -> None:
    data = "0x" + contract("TicketBroker").call("unlock").hex()
    sent = chain.rpc(
        "eth_sendRawTransaction", _raw(payer, to=chain.ticket_broker_address, value=0, gas=200_000, data=data)
    )
    receipt = chain.rpc("eth_getTransactionReceipt", sent)
    assert (receipt["status"], receipt["logs"]) == ("0x0", [])
    spent = ETHER_WEI - int(chain.rpc("eth_getBalance", payer.address), 16)
    assert spent == int(receipt["gasUsed"], 16) * BASE_FEE_WEI


def test_an_estimate_is_enough_gas_and_not_far_too_much(chain: SandboxChain) -> None:
    w3 = Web3(Web3.HTTPProvider(chain.rpc_url))
    account = Account.from_key(chain.accounts["treasury"].private_key)
    broker = w3.eth.contract(
        address=Web3.to_checksum_address(chain.ticket_broker_address), abi=contract("TicketBroker").abi
    )
    call = broker.functions.fundDepositAndReserve(5, 6)
    nonce = w3.eth.get_transaction_count(account.address)
    transaction = call.build_transaction({"from": account.address, "value": Wei(11), "nonce": nonce})
    sent = w3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)
    receipt = w3.eth.wait_for_transaction_receipt(sent)
    assert receipt["status"] == 1
    assert receipt["gasUsed"] <= transaction["gas"] <= receipt["gasUsed"] * 1.2


# Answers in geth's form


def test_a_refused_call_carries_code_three_and_the_revert_data(chain: SandboxChain) -> None:
    request = {
        "from": chain.accounts["stranger"].address,
        "to": chain.ticket_broker_address,
        "data": "0x" + contract("TicketBroker").call("cancelUnlock").hex(),
    }
    for method in ("eth_call", "eth_estimateGas"):
        with pytest.raises(RpcFailed) as refused:
            chain.rpc(method, request, "latest")
        assert refused.value.code == 3
        assert refused.value.message == "execution reverted: no unlock request in progress"
        assert (refused.value.data or "").startswith("0x08c379a0")


def test_web3_tells_reasons_from_panics(chain: SandboxChain) -> None:
    w3 = Web3(Web3.HTTPProvider(chain.rpc_url))
    broker = w3.eth.contract(
        address=Web3.to_checksum_address(chain.ticket_broker_address), abi=contract("TicketBroker").abi
    )
    with pytest.raises(ContractLogicError, match="no unlock request in progress"):
        broker.functions.cancelUnlock().call()
    with pytest.raises(ContractPanicError, match="0x11"):
        broker.functions.fundDepositAndReserve(2**256 - 1, 1).call()


def test_nonsense_gets_an_error_object_and_not_a_broken_line(chain: SandboxChain) -> None:
    assert _post(chain, b"{")["error"]["code"] == -32700
    assert _post(chain, b"[]")["error"]["code"] == -32600
    assert _post(chain, b'{"id":1}')["error"]["code"] == -32600
    w3 = Web3(Web3.HTTPProvider(chain.rpc_url))
    for method, params, code in (
        ("eth_makeCoffee", [], -32601),
        ("eth_getBalance", [], -32602),
        ("eth_getBalance", ["0x12"], -32602),
        ("eth_getBlockByNumber", ["never", False], -32602),
        ("eth_sendRawTransaction", ["0xdeadbeef"], -32000),
        ("eth_call", [{"to": chain.ticket_broker_address}, "0xffffff"], -32000),
    ):
        with pytest.raises(RpcFailed) as refused:
            chain.rpc(method, *params)
        assert refused.value.code == code, method
    with pytest.raises(Web3RPCError):
        w3.eth.send_raw_transaction(b"\x02\xc0")


def test_a_batch_is_answered_in_order(chain: SandboxChain) -> None:
    batch = [{"jsonrpc": "2.0", "id": number, "method": "eth_chainId"} for number in (7, 3)]
    answers = _post(chain, json.dumps([*batch, {"id": 9, "method": "no"}]).encode())
    assert [(item["id"], item.get("result")) for item in answers] == [(7, "0xa4b1"), (3, "0xa4b1"), (9, None)]


def test_the_fee_market_is_flat(chain: SandboxChain) -> None:
    w3 = Web3(Web3.HTTPProvider(chain.rpc_url))
    assert w3.eth.gas_price == BASE_FEE_WEI
    assert w3.eth.max_priority_fee == 0
    history = w3.eth.fee_history(4, "latest", [50])
    assert history["baseFeePerGas"] == [BASE_FEE_WEI] * 5
    assert history["reward"] == [[0]] * 4
    assert w3.eth.syncing is False
    assert w3.client_version.startswith("sandbox-chain")
    assert w3.net.version == "42161"


def _post(chain: SandboxChain, body: bytes) -> Any:
    connection = http.client.HTTPConnection(chain.rpc_url.removeprefix("http://"))
    connection.request("POST", "/", body, {"content-type": "application/json"})
    answer = json.load(connection.getresponse())
    connection.close()
    return answer


# Logs


def test_logs_are_found_by_address_topics_and_range(chain: SandboxChain) -> None:
    broker, feed = chain.ticket_broker_address, chain.eth_usd_feed_address
    first = chain.send("sender", "TicketBroker", "fundDepositAndReserve", 1, 2, value_wei=3)
    second = chain.send("treasury", "TicketBroker", "fundDeposit", value_wei=4)
    chain.set_price(2_500)
    start, end = first["blockNumber"], hex(int(second["blockNumber"], 16) + 1)
    reserve_funded, deposit_funded = (log["topics"][0] for log in first["logs"])
    (sender,) = {log["topics"][1] for log in first["logs"]}

    def found(**wanted: Any) -> list[tuple[str, str]]:
        logs = chain.rpc("eth_getLogs", {"fromBlock": start, "toBlock": end, **wanted})
        return [(log["address"], log["topics"][0]) for log in logs]

    reserve, deposit = (broker.lower(), reserve_funded), (broker.lower(), deposit_funded)
    assert found(address=broker) == [reserve, deposit, deposit]
    assert [address for address, _ in found(address=[feed, broker])] == [broker.lower()] * 3 + [feed.lower()]
    assert found(topics=[deposit_funded]) == [deposit, deposit]
    assert found(topics=[[deposit_funded, reserve_funded], sender]) == [reserve, deposit]
    assert found(topics=[None, sender]) == [reserve, deposit]
    assert found(topics=[None, None, sender]) == []
    assert found(address=broker, fromBlock=second["blockNumber"]) == [deposit]
    by_hash = chain.rpc("eth_getLogs", {"blockHash": second["blockHash"]})
    assert by_hash == second["logs"]
    assert chain.rpc("eth_getLogs", {"blockHash": first["blockHash"]}) == first["logs"]


def test_log_ranges_have_a_limit_like_a_providers(chain: SandboxChain) -> None:
    chain.mine(600)
    with pytest.raises(RpcFailed) as refused:
        chain.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"})
    assert refused.value.code == -32005
    head = chain.block_number()
    assert chain.rpc("eth_getLogs", {"fromBlock": hex(head - 499), "toBlock": hex(head)}) == []
    assert chain.rpc("eth_getLogs", {"fromBlock": hex(head + 1), "toBlock": hex(head + 5)}) == []
    with pytest.raises(RpcFailed, match="invalid block range"):
        chain.rpc("eth_getLogs", {"fromBlock": hex(head), "toBlock": hex(head - 1)})


# Rewriting the past


def test_a_reorg_replaces_blocks_and_forgets_their_transactions(chain: SandboxChain) -> None:
    chain.mine(2)
    kept = chain.rpc("eth_getBlockByNumber", "latest", False)
    sender = chain.accounts["sender"].address
    before = chain.read("TicketBroker", "getSenderInfo", sender)
    lost = chain.send("sender", "TicketBroker", "fundDeposit", value_wei=11)
    chain.mine(1)
    head = chain.rpc("eth_getBlockByNumber", "latest", False)

    chain.reorg(2)
    assert chain.block_number() == int(head["number"], 16)
    assert chain.rpc("eth_getBlockByNumber", kept["number"], False) == kept
    replaced = chain.rpc("eth_getBlockByNumber", lost["blockNumber"], False)
    assert replaced["hash"] != lost["blockHash"]
    assert replaced["parentHash"] == kept["hash"]
    assert chain.rpc("eth_getBlockByHash", lost["blockHash"], False) is None
    assert chain.rpc("eth_getTransactionReceipt", lost["transactionHash"]) is None
    wanted = {"fromBlock": lost["blockNumber"], "toBlock": "latest", "address": chain.ticket_broker_address}
    assert chain.rpc("eth_getLogs", wanted) == []
    assert chain.read("TicketBroker", "getSenderInfo", sender) == before
    with pytest.raises(RpcFailed):
        chain.rpc("eth_getLogs", {"blockHash": lost["blockHash"]})


def test_a_snapshot_brings_everything_back_once(chain: SandboxChain, payer: LocalAccount) -> None:
    identity = chain.rpc("evm_snapshot")
    head = chain.rpc("eth_getBlockByNumber", "latest", False)
    chain.give(payer.address, 9)
    chain.rpc("anvil_setBalance", payer.address, "0x1")
    chain.rpc("evm_increaseTime", 3_600)
    assert chain.rpc("evm_revert", identity) is True
    assert chain.rpc("eth_getBlockByNumber", "latest", False) == head
    assert int(chain.rpc("eth_getBalance", payer.address), 16) == ETHER_WEI
    assert chain.rpc("evm_revert", identity) is False


def test_time_can_be_moved_and_balances_set(chain: SandboxChain, payer: LocalAccount) -> None:
    before = int(chain.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    chain.rpc("evm_increaseTime", 1_000)
    chain.rpc("evm_mine")
    assert int(chain.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) >= before + 1_000
    chain.rpc("anvil_setBalance", payer.address, "0x7")
    assert chain.rpc("eth_getBalance", payer.address) == "0x7"


# Many at once


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


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(chain: SandboxChain) -> None:
    """Delayed acknowledgements would make it 40 ms each."""
    connection = http.client.HTTPConnection(chain.rpc_url.removeprefix("http://"))
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}'
    seconds = []
    for _ in range(50):
        started = time.monotonic()
        connection.request("POST", "/", body, {"content-type": "application/json"})
        connection.getresponse().read()
        seconds.append(time.monotonic() - started)
    connection.close()
    assert sorted(seconds)[25] < 0.02
