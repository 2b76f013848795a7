"""The sandbox chain as a node: what it answers, what it remembers, and how it bears restarts and many clients."""

import http.client
import itertools
import json
import re
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
    RpcFailed,
    SandboxChain,
    running_chain,
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


# Blocks and their tags


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


def test_the_base_fee_can_be_raised_to_play_a_busy_chain(chain: SandboxChain, payer: LocalAccount) -> None:
    chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(10 * BASE_FEE_WEI))
    with pytest.raises(RpcFailed, match="max fee per gas less than block base fee"):
        chain.rpc("eth_sendRawTransaction", _raw(payer))
    sent = chain.rpc("eth_sendRawTransaction", _raw(payer, maxFeePerGas=10 * BASE_FEE_WEI))
    chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(BASE_FEE_WEI))
    receipt = chain.rpc("eth_getTransactionReceipt", sent)
    assert receipt["effectiveGasPrice"] == hex(10 * BASE_FEE_WEI)
    assert chain.rpc("eth_getBlockReceipts", receipt["blockNumber"]) == [receipt]
