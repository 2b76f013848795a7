"""The JSON-RPC methods: geth's, the test helpers anvil and hardhat have, and a few of our own (sandbox_*)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sandbox.chain import views
from sandbox.chain.accounts import dev_accounts_by_address
from sandbox.chain.blocks import NO_ADDRESS, Header
from sandbox.chain.keeper import Keeper
from sandbox.chain.machine import Call, Outcome
from sandbox.chain.node import CALL_GAS_LIMIT, Chain, TransactionRefused, UnknownSnapshot
from sandbox.chain.store import LogFilter
from sandbox.chain.transactions import MalformedTransaction
from sandbox.chain.views import Json, hex_data
from sandbox.chain.world import BALANCE, CODE, slot_key

INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32600, -32601, -32602
SERVER_ERROR, LIMIT_EXCEEDED, EXECUTION_REVERTED = -32000, -32005, 3
MAX_LOGS = 10_000
MAX_MINED_AT_ONCE = 100_000

CALL_STIPEND_GAS = 2_300


class RpcError(Exception):
    """An answer with an `error` member; `data` carries a revert's bytes."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.body: dict[str, Json] = {"code": code, "message": message}
        if data is not None:
            self.body["data"] = data


@dataclass(frozen=True, kw_only=True)
class Options:
    safe_depth_blocks: int = 4
    finalized_depth_blocks: int = 8
    max_log_range_blocks: int = 0  # 0: no limit


class Rpc:
    """`answer` takes one parsed request or a batch of them. Every change is followed by the keeper's round."""

    def __init__(self, chain: Chain, keeper: Keeper, options: Options) -> None:
        self.chain = chain
        self.keeper = keeper
        self.options = options
        self.methods: dict[str, Callable[..., Json]] = {
            "web3_clientVersion": lambda: "sandbox-chain/1.0",
            "net_version": lambda: str(self.chain.chain_id),
            "eth_chainId": lambda: hex(self.chain.chain_id),
            "eth_syncing": lambda: False,
            "eth_accounts": lambda: [hex_data(address) for address in dev_accounts_by_address()],
            "eth_blockNumber": lambda: hex(self.chain.head.number),
            "eth_gasPrice": lambda: hex(self.chain.base_fee_wei),
            "eth_maxPriorityFeePerGas": lambda: "0x0",
            "eth_feeHistory": self.fee_history,
            "eth_getBlockByNumber": lambda tag, full=False: self.block(self.header_at(tag), full),
            "eth_getBlockByHash": lambda value, full=False: self.block(
                self.chain.store.header_by_hash(_bytes(value)), full
            ),
            "eth_getBlockReceipts": self.block_receipts,
            "eth_getBalance": self.balance,
            "eth_getTransactionCount": self.transaction_count,
            "eth_getCode": lambda address, tag="latest": hex_data(self.read(_address(address) + CODE, tag, b"")),
            "eth_getStorageAt": self.storage_at,
            "eth_call": self.call,
            "eth_estimateGas": self.estimate_gas,
            "eth_sendRawTransaction": self.send_raw_transaction,
            "eth_sendTransaction": self.send_transaction,
            "eth_getTransactionByHash": self.transaction,
            "eth_getTransactionReceipt": self.receipt,
            "eth_getLogs": self.logs,
            "evm_mine": lambda _when=None: self.mine(1),
            "anvil_mine": self.mine,
            "hardhat_mine": self.mine,
            "evm_snapshot": lambda: hex(self.chain.snapshot()),
            "evm_revert": self.revert,
            "evm_increaseTime": self.increase_time,
            "evm_setAutomine": self.set_automine,
            "anvil_setBalance": lambda address, value: self.set_value(_address(address) + BALANCE, _int(value)),
            "anvil_setNextBlockBaseFeePerGas": lambda value: self.chain.set_base_fee(_int(value)),
            "anvil_reorg": lambda depth, _transactions=None: self.reorg(depth),
            "sandbox_reorg": self.reorg,
            "sandbox_keeper": self.switch_keeper,
        }

    def answer(self, request: Any) -> Json:
        if isinstance(request, list):
            return [self._answer_one(item) for item in request] or _error(None, INVALID_REQUEST, "empty batch")
        return self._answer_one(request)

    def _answer_one(self, request: Any) -> Json:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, INVALID_REQUEST, "invalid request")
        identity, name = request.get("id"), request["method"]
        method = self.methods.get(name)
        if method is None:
            return _error(identity, METHOD_NOT_FOUND, f"the method {name} does not exist/is not available")
        try:
            result = method(*(request.get("params") or []))
        except RpcError as error:
            return {"jsonrpc": "2.0", "id": identity, "error": error.body}
        except (TransactionRefused, MalformedTransaction) as error:
            return _error(identity, SERVER_ERROR, str(error))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            return _error(identity, INVALID_PARAMS, f"invalid argument: {error}")
        return {"jsonrpc": "2.0", "id": identity, "result": result}

    # Which block

    def header_at(self, tag: Any) -> Header | None:
        """A tag, a number, or an object with blockHash or blockNumber; None for a block that is not there."""
        head = self.chain.head.number
        if isinstance(tag, dict):
            if "blockHash" in tag:
                return self.chain.store.header_by_hash(_bytes(tag["blockHash"]))
            tag = tag["blockNumber"]
        if tag in ("latest", "pending"):
            return self.chain.head
        depths = {
            "earliest": head,
            "safe": self.options.safe_depth_blocks,
            "finalized": self.options.finalized_depth_blocks,
        }
        number = max(0, head - depths[tag]) if tag in depths else _int(tag)
        return self.chain.head if number == head else self.chain.store.header(number)

    def known_header(self, tag: Any) -> Header:
        header = self.header_at(tag)
        if header is None:
            raise RpcError(SERVER_ERROR, "header not found")
        return header

    def block(self, header: Header | None, full: bool) -> Json:
        if header is None:
            return None
        return views.block(header, self.chain.store.transactions_of(header.number), full=full)

    def block_receipts(self, tag: Any) -> Json:
        header = self.header_at(tag)
        if header is None:
            return None
        return [views.receipt(header, mined) for mined in self.chain.store.transactions_of(header.number)]

    def fee_history(self, count: Any, newest: Any, percentiles: list[float] | None = None) -> Json:
        last = self.known_header(newest).number
        first = max(0, last + 1 - min(_int(count), 1024))
        headers = [self.known_header(hex(number)) for number in range(first, last + 1)]
        history: dict[str, Json] = {
            "oldestBlock": hex(first),
            "baseFeePerGas": [*(hex(header.base_fee_wei) for header in headers), hex(self.chain.base_fee_wei)],
            "gasUsedRatio": [0 for _ in headers],
        }
        if percentiles:
            history["reward"] = [["0x0" for _ in percentiles] for _ in headers]
        return history

    # State and calls

    def read(self, key: bytes, tag: Any, default: Any) -> Any:
        value = self.chain.reader(self.known_header(tag).number)(key)
        return default if value is None else value

    def balance(self, address: str, tag: Any = "latest") -> Json:
        return hex(self.read(_address(address) + BALANCE, tag, 0))

    def storage_at(self, address: str, slot: str, tag: Any = "latest") -> Json:
        number: int = self.read(slot_key(_address(address), _int(slot)), tag, 0)
        return hex_data(number.to_bytes(32, "big"))

    def transaction_count(self, address: str, tag: Any = "latest") -> Json:
        if tag == "pending":
            return hex(self.chain.pending_nonce(_address(address)))
        return hex(self.read(_address(address) + b"n", tag, 0))

    def call(self, request: dict[str, Any], tag: Any = "latest", overrides: Any = None) -> Json:
        if overrides:
            raise RpcError(INVALID_PARAMS, "state overrides are not supported")
        outcome = self.chain.call(_call(request), self.known_header(tag), pending=tag == "pending")
        return hex_data(_successful(outcome).output)

    def estimate_gas(self, request: dict[str, Any], tag: Any = "latest", _overrides: Any = None) -> Json:
        """Enough for the refunds that come too late and for the 1/64 that each inner call leaves behind."""
        header = self.known_header(tag)
        call = _call(request)
        outcome = _successful(self.chain.call(call, header))
        if not call.data and call.to is not None:
            return hex(outcome.gas_used)
        enough = (outcome.gas_used + outcome.gas_refunded + CALL_STIPEND_GAS) * 64 // 63
        tried = self.chain.call(replace(call, gas=enough), header)
        return hex(enough if tried.error is None else 2 * enough)

    # Transactions

    def send_raw_transaction(self, raw: str) -> Json:
        transaction = self.chain.submit(_bytes(raw))
        self.keeper.attend()
        return hex_data(transaction.hash)

    def send_transaction(self, request: dict[str, Any]) -> Json:
        """For the dev accounts only: the chain knows their keys and picks the nonce."""
        account = dev_accounts_by_address().get(_address(request["from"]))
        if account is None:
            raise RpcError(SERVER_ERROR, "unknown account")
        call = _call(request)
        gas = _int(request["gas"]) if "gas" in request else _int(str(self.estimate_gas(request)))
        sent = self.chain.submit_as(account, to=call.to, data=call.data, value_wei=call.value_wei, gas=gas)
        self.keeper.attend()
        return hex_data(sent.hash)

    def transaction(self, value: str) -> Json:
        transaction_hash = _bytes(value)
        waiting = self.chain.pooled(transaction_hash)
        if waiting is not None:
            return views.transaction(waiting, None, None)
        found = self.chain.store.transaction(transaction_hash)
        if found is None:
            return None
        block, mined = found
        return views.transaction(mined.transaction, self.known_header(hex(block)), mined)

    def receipt(self, value: str) -> Json:
        found = self.chain.store.transaction(_bytes(value))
        if found is None:
            return None
        block, mined = found
        return views.receipt(self.known_header(hex(block)), mined)

    def logs(self, request: dict[str, Any]) -> Json:
        wanted = self._log_filter(request)
        width = wanted.last_block - wanted.first_block + 1
        limit = self.options.max_log_range_blocks
        if limit and width > limit:
            raise RpcError(LIMIT_EXCEEDED, f"block range too wide: {width} blocks, at most {limit} are allowed")
        found = self.chain.store.logs(wanted, limit=MAX_LOGS + 1)
        if len(found) > MAX_LOGS:
            raise RpcError(LIMIT_EXCEEDED, f"query returned more than {MAX_LOGS} results")
        return [views.log(item) for item in found]

    def _log_filter(self, request: dict[str, Any]) -> LogFilter:
        if "blockHash" in request:
            header = self.header_at({"blockHash": request["blockHash"]})
            if header is None:
                raise RpcError(SERVER_ERROR, "unknown block")
            first = last = header.number
        else:
            first = self._block_number(request.get("fromBlock") or "latest")
            last = min(self._block_number(request.get("toBlock") or "latest"), self.chain.head.number)
        if first > last and first <= self.chain.head.number:
            raise RpcError(INVALID_PARAMS, "invalid block range params")
        return LogFilter(
            first_block=first,
            last_block=last,
            addresses=[_address(item) for item in _choices(request.get("address"))],
            topics=[[_bytes(item) for item in _choices(place)] for place in request.get("topics") or []],
        )

    def _block_number(self, tag: Any) -> int:
        """Numbers may lie beyond the head."""
        if isinstance(tag, str) and tag.startswith("0x"):
            return _int(tag)
        return self.known_header(tag).number

    # Test helpers

    def mine(self, count: Any = 1, _interval: Any = None) -> Json:
        """Blocks at once; the first takes what waits in the pool, rounds in between stay uninitialised."""
        blocks = _int(count)
        if not 0 < blocks <= MAX_MINED_AT_ONCE:
            raise RpcError(INVALID_PARAMS, f"between 1 and {MAX_MINED_AT_ONCE} blocks can be mined at once")
        self.chain.mine()
        self.chain.mine_empty(blocks - 1)
        self.keeper.attend()
        return "0x0"

    def revert(self, identity: Any) -> Json:
        try:
            self.chain.revert(_int(identity))
        except UnknownSnapshot:
            return False
        return True

    def increase_time(self, seconds: Any) -> Json:
        self.chain.increase_time(_int(seconds))
        return self.chain.clock_offset_seconds

    def set_automine(self, automine: bool) -> Json:
        self.chain.automine = automine
        return None

    def set_value(self, key: bytes, value: int | bytes) -> Json:
        self.chain.set_value(key, value)
        return None

    def reorg(self, depth: Any) -> Json:
        """Replace the last blocks by others without their transactions; answers the new head's hash."""
        blocks = _int(depth)
        if not 0 < blocks <= self.chain.head.number:
            raise RpcError(INVALID_PARAMS, f"cannot replace {blocks} of {self.chain.head.number} blocks")
        self.chain.reorg(blocks)
        self.keeper.attend()
        return hex_data(self.chain.head.hash)

    def switch_keeper(self, duties: dict[str, bool]) -> Json:
        """{"rounds": bool, "feed": bool}, either may be missing; answers both."""
        if not set(duties) <= {"rounds", "feed"}:
            raise RpcError(INVALID_PARAMS, "the keeper's duties are rounds and feed")
        self.keeper.switch(**duties)
        self.keeper.attend()
        return dict(self.keeper.switches)


def _error(identity: Any, code: int, message: str) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": message}}


def _successful(outcome: Outcome) -> Outcome:
    """Raises RpcError: code 3 with the data for a revert that says something, as geth does."""
    if outcome.error is None:
        return outcome
    if outcome.reverted and outcome.output:
        raise RpcError(EXECUTION_REVERTED, outcome.error, hex_data(outcome.output))
    raise RpcError(SERVER_ERROR, outcome.error)


def _call(request: dict[str, Any]) -> Call:
    data = request.get("input") or request.get("data") or "0x"
    gas = _int(request["gas"]) if request.get("gas") else CALL_GAS_LIMIT
    price = request.get("gasPrice") or request.get("maxFeePerGas") or "0x0"
    return Call(
        sender=_address(request["from"]) if request.get("from") else NO_ADDRESS,
        to=_address(request["to"]) if request.get("to") else None,
        data=_bytes(data),
        value_wei=_int(request.get("value") or "0x0"),
        gas=min(gas, CALL_GAS_LIMIT),
        gas_price_wei=_int(price),
    )


def _choices(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _int(value: Any) -> int:
    return value if isinstance(value, int) else int(value, 16)


def _bytes(value: str) -> bytes:
    if not value.startswith("0x"):
        raise ValueError("hex string without 0x prefix")
    return bytes.fromhex(value[2:])


def _address(value: str) -> bytes:
    address = _bytes(value)
    if len(address) != 20:
        raise ValueError("an address has 20 bytes")
    return address
