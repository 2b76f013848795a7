"""The one door to an Ethereum chain: JSON-RPC with fallback, contracts found through the Controller."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import requests
from django.conf import settings
from eth_typing import ChecksumAddress, HexStr
from hexbytes import HexBytes
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.exceptions import (
    BadFunctionCallOutput,
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.providers.base import JSONBaseProvider
from web3.types import BlockIdentifier, LogReceipt, RPCEndpoint, RPCResponse, TxParams, Wei

from signing.chain.answers import CallReverted, ChainUnavailable, Header, Log, Receipt, RpcRefused

type Block = int | str

ABI_FOLDER = Path(__file__).resolve().parent / "abi"
TIMEOUT_SECONDS = 5
ADDRESSES_LIVE_SECONDS = 60
_NOBODY = "0x" + "00" * 20


class Chain:
    """Reads and sends over the first endpoint that answers; safe to share between threads.

    Every method raises ChainUnavailable when no endpoint gives an answer.
    """

    def __init__(self, urls: Sequence[str], *, controller: str, timeout_seconds: int = TIMEOUT_SECONDS) -> None:
        self._provider = _Fallback(urls, timeout_seconds)
        self._web3 = Web3(self._provider)
        self._addresses: dict[str, tuple[float, ChecksumAddress]] = {}
        self._contracts: dict[tuple[str, ChecksumAddress], Contract] = {}
        self._controller = self._contract("Controller", Web3.to_checksum_address(controller))
        self._chain_id: int | None = None

    def close(self) -> None:
        self._provider.close()

    def pass_over(self) -> None:
        """Asks another endpoint first from now on: this one answers, but not with what is true now."""
        self._provider.pass_over()

    def chain_id(self) -> int:
        if self._chain_id is None:
            with _translated():
                self._chain_id = self._web3.eth.chain_id
        return self._chain_id

    def header(self, block: Block) -> Header:
        """`block` is a number or one of the tags latest, safe, finalized. Raises ChainUnavailable."""
        with _translated():
            found = cast(Mapping[str, Any], self._web3.eth.get_block(_identifier(block)))
        number = int(found["number"])
        return Header(
            number=number,
            hash=_hex(found["hash"]),
            l1_number=_number(found.get("l1BlockNumber"), default=number),
            time=datetime.fromtimestamp(int(found["timestamp"]), UTC),
            base_fee_wei=_number(found.get("baseFeePerGas"), default=0),
        )

    def balance(self, address: str, *, block: Block) -> int:
        """Wei."""
        with _translated():
            return self._web3.eth.get_balance(Web3.to_checksum_address(address), _identifier(block))

    def nonce(self, address: str, *, block: Block) -> int:
        with _translated():
            return self._web3.eth.get_transaction_count(Web3.to_checksum_address(address), _identifier(block))

    def address_of(self, contract: str) -> ChecksumAddress:
        """Where the Controller says a contract lives; asked again every minute, for proxies may be replaced."""
        known = self._addresses.get(contract)
        if known is not None and time.monotonic() - known[0] < ADDRESSES_LIVE_SECONDS:
            return known[1]
        with _translated():
            found = self._controller.functions.getContract(Web3.keccak(text=contract)).call()
        if found == _NOBODY:
            raise ChainUnavailable("contract_missing", f"the Controller knows no {contract}")
        address = Web3.to_checksum_address(found)
        self._addresses[contract] = (time.monotonic(), address)
        return address

    def call(self, contract: str, function: str, *arguments: object, block: Block, at: str = "") -> Any:
        """What a view function returns at a block; `at` names the address of a contract the Controller has not.

        Raises CallReverted.
        """
        with _translated():
            return self._function(contract, function, arguments, at).call(block_identifier=_identifier(block))

    def transaction_to(
        self, contract: str, function: str, *arguments: object, sender: str, value_wei: int
    ) -> tuple[ChecksumAddress, str, int]:
        """The recipient, the data and the estimated gas of a transaction. Raises CallReverted."""
        bound = self._function(contract, function, arguments, "")
        message: TxParams = {"from": Web3.to_checksum_address(sender), "value": Wei(value_wei)}
        with _translated():
            gas = bound.estimate_gas(message)
            data = self._contract(contract, bound.address).encode_abi(function, args=list(bound.args))
        return bound.address, data, gas

    def priority_fee_wei(self) -> int:
        with _translated():
            return self._web3.eth.max_priority_fee

    def send_raw(self, raw: bytes) -> None:
        """Hands a signed transaction to the network. Raises RpcRefused, also where it is known already."""
        with _translated():
            self._web3.eth.send_raw_transaction(raw)

    def receipt(self, tx_hash: str) -> Receipt | None:
        """None while the transaction is in no block."""
        try:
            with _translated():
                found = self._web3.eth.get_transaction_receipt(cast(HexStr, tx_hash))
        except _NotFound:
            return None
        return Receipt(
            tx_hash=tx_hash,
            block_number=int(found["blockNumber"]),
            sender=found["from"].lower(),
            recipient=(found.get("to") or _NOBODY).lower(),
            succeeded=found["status"] == 1,
            gas_cost_wei=int(found["gasUsed"]) * int(found["effectiveGasPrice"]),
        )

    def logs(
        self, contract: str, names: Sequence[str], *, party: str, first_block: int, last_block: int, page: int
    ) -> list[Log]:
        """The events of these names that have the address `party` as first topic, in chain order.

        Reads `page` blocks at a time, fewer where an endpoint refuses so many.
        """
        decoders = self._decoders(contract, names)
        span, start, found = page, first_block, list[Log]()
        while start <= last_block:
            end = min(start + span - 1, last_block)
            try:
                raw = self._raw_logs(contract, list(decoders), party, start, end)
            except RpcRefused:
                if end == start:
                    raise
                span = (end - start + 1) // 2
                continue
            found += [_log(decoders, entry) for entry in raw if not entry.get("removed")]
            start, span = end + 1, min(page, span + span // 4 + 1)
        return sorted(found, key=lambda log: (log.block_number, log.log_index))

    def _raw_logs(self, contract: str, topics: list[str], party: str, start: int, end: int) -> list[LogReceipt]:
        with _translated():
            return self._web3.eth.get_logs(
                {
                    "address": self.address_of(contract),
                    "topics": [cast(list[HexStr], topics), cast(HexStr, "0x" + party[2:].lower().zfill(64))],
                    "fromBlock": start,
                    "toBlock": end,
                }
            )

    def _function(self, contract: str, function: str, arguments: Sequence[object], at: str) -> ContractFunction:
        address = Web3.to_checksum_address(at) if at else self.address_of(contract)
        given = [_argument(item) for item in arguments]
        return cast(ContractFunction, self._contract(contract, address).get_function_by_name(function)(*given))

    def _contract(self, name: str, address: ChecksumAddress) -> Contract:
        if (name, address) not in self._contracts:
            abi = json.loads((ABI_FOLDER / f"{name}.json").read_text())
            self._contracts[name, address] = self._web3.eth.contract(address=address, abi=abi)
        return self._contracts[name, address]

    def _decoders(self, contract: str, names: Sequence[str]) -> dict[str, Any]:
        events = self._contract(contract, Web3.to_checksum_address(_NOBODY)).events
        bound = [events[name]() for name in names]
        return {_hex(Web3.keccak(text=event.signature)): event for event in bound}


def connect() -> Chain:
    """The chain of the settings. Raises ChainUnavailable when none is configured."""
    if not settings.ETH_RPC_URLS:
        raise ChainUnavailable("rpc_not_configured", "ETH_RPC_URL is not set")
    return Chain(settings.ETH_RPC_URLS, controller=settings.CONTROLLER_ADDRESS)


class _NotFound(ChainUnavailable):
    pass


class _Fallback(JSONBaseProvider):
    """Asks the endpoint that answered last; after a failure the next. Their texts may hold keys: never shown."""

    def __init__(self, urls: Sequence[str], timeout_seconds: int) -> None:
        super().__init__()
        self._session = requests.Session()
        self._endpoints = [
            HTTPProvider(
                url,
                request_kwargs={"timeout": timeout_seconds},
                session=self._session,
                exception_retry_configuration=None,
            )
            for url in urls
        ]
        self._first = 0
        self._lock = threading.Lock()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        first, count = self._first, len(self._endpoints)
        refusal: RPCResponse | None = None
        failure, is_too_much = "", False
        for index in ((first + step) % count for step in range(count)):
            try:
                response = self._endpoints[index].make_request(method, params)
            except (requests.RequestException, OSError, ValueError) as error:
                failure, is_too_much = type(error).__name__, is_too_much or _may_be_too_much(error)
                continue
            if "error" not in response or _is_revert(response):
                with self._lock:
                    self._first = index
                return response
            refusal = response
        if refusal is not None:
            return refusal
        kind = RpcRefused if is_too_much else ChainUnavailable
        raise kind("rpc_unreachable", f"none of {count} RPC endpoints answered ({failure})")

    def pass_over(self) -> None:
        with self._lock:
            self._first = (self._first + 1) % len(self._endpoints)

    def close(self) -> None:
        self._session.close()


@contextmanager
def _translated() -> Iterator[None]:
    """web3's exceptions as ours."""
    try:
        yield
    except ContractLogicError as error:
        raise CallReverted("call_reverted", error.message or "execution reverted") from None
    except (TransactionNotFound, BlockNotFound) as error:
        raise _NotFound("not_found", str(error)) from None
    except Web3RPCError as error:
        raise RpcRefused("rpc_refused", _error_text(error)) from None
    except BadFunctionCallOutput:
        raise ChainUnavailable("contract_missing", "a contract gave no answer at this block") from None
    except Web3Exception as error:
        raise ChainUnavailable("rpc_nonsense", type(error).__name__) from None


def _is_revert(response: RPCResponse) -> bool:
    """A contract's own refusal is the same on every endpoint; geth gives it code 3."""
    error = response["error"]
    return isinstance(error, dict) and error.get("code") == 3


def _may_be_too_much(error: Exception) -> bool:
    """Some endpoints answer a request for too many logs with a bad HTTP status, or not in time."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in (400, 413, 422)
    return isinstance(error, requests.ReadTimeout)


def _error_text(error: Web3RPCError) -> str:
    response = error.rpc_response or {}
    detail = response.get("error")
    return str(detail.get("message", ""))[:200] if isinstance(detail, dict) else "refused"


def _log(decoders: Mapping[str, Any], entry: LogReceipt) -> Log:
    event = decoders[_hex(entry["topics"][0])]
    arguments = event.process_log(entry)["args"]
    return Log(
        block_number=int(entry["blockNumber"]),
        block_hash=_hex(entry["blockHash"]),
        tx_hash=_hex(entry["transactionHash"]),
        log_index=int(entry["logIndex"]),
        name=event.event_name,
        arguments={name: _plain(value) for name, value in arguments.items()},
    )


def _plain(value: object) -> int | str:
    if isinstance(value, bytes):
        return _hex(value)
    return value if isinstance(value, int) else str(value).lower()


def _identifier(block: Block) -> BlockIdentifier:
    return cast(BlockIdentifier, block)


def _argument(value: object) -> object:
    return Web3.to_checksum_address(value) if isinstance(value, str) and len(value) == 42 else value


def _hex(value: bytes) -> str:
    return "0x" + HexBytes(value).hex().removeprefix("0x")


def _number(value: object, *, default: int) -> int:
    """Fields web3 does not know stay hexadecimal text."""
    if value is None:
        return default
    return int(value, 16) if isinstance(value, str) else int(cast(int, value))
