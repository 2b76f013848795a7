"""What the orchestrator reads from the chain, and the two transactions by which it is paid."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError, Web3Exception
from web3.types import TxParams, Wei

from signing.pm.tickets import ZERO_HASH, Ticket, keccak256

_ABI = Path(__file__).with_name("abi")
_STATE_SECONDS = 1.0
_SENDER_SECONDS = 3.0
_RECEIPT_SECONDS = 60
_REDEEM_GAS = 400_000  # a ticket, at the most


class RedemptionRefused(Exception):
    """The chain would revert the redemption; the text is the contract's reason."""


class ChainUnavailable(Exception):
    """The node did not answer or its answer made no sense."""


@dataclass(frozen=True, kw_only=True)
class ChainState:
    """One look at the chain: the clock, the creation round with its block hash, and our own standing."""

    l1_block: int
    last_initialized_round: int
    creation_round: int
    creation_round_block_hash: bytes
    pool_size: int
    active: bool


@dataclass(frozen=True, kw_only=True)
class SenderInfo:
    """getSenderInfo of the broker, plus what we already claimed of the reserve in this round; wei."""

    deposit_wei: int
    withdraw_round: int
    reserve_wei: int
    claimed_wei: int
    claimed_by_us_wei: int


@dataclass(frozen=True, kw_only=True)
class Winner:
    """A winning ticket with all the contract asks for."""

    ticket: Ticket
    signature: bytes
    recipient_rand: int


class Chain(Protocol):
    async def state(self) -> ChainState: ...

    async def sender(self, address: bytes) -> SenderInfo: ...

    async def redeem(self, winners: Sequence[Winner]) -> str: ...

    async def settled(self, ticket_hash: bytes) -> bool: ...


class EthereumChain:
    """The real thing, over JSON-RPC. Calls block, so they run in threads."""

    def __init__(self, rpc_url: str, controller: str, private_key: str) -> None:
        self._web3 = Web3(HTTPProvider(rpc_url, request_kwargs={"timeout": 10}))
        self._account = Account.from_key(private_key)
        self._controller = controller
        self._contracts: dict[str, Contract] = {}
        self._state: tuple[float, ChainState] | None = None
        self._senders: dict[bytes, tuple[float, SenderInfo]] = {}
        self._lock = asyncio.Lock()

    @property
    def address(self) -> bytes:
        return bytes.fromhex(self._account.address[2:])

    async def state(self) -> ChainState:
        """At most a second old. Raises ChainUnavailable."""
        async with self._lock:
            if self._state is None or time.monotonic() - self._state[0] > _STATE_SECONDS:
                self._state = (time.monotonic(), await _in_thread(self._read_state))
            return self._state[1]

    async def sender(self, address: bytes) -> SenderInfo:
        """At most three seconds old. Raises ChainUnavailable."""
        known = self._senders.get(address)
        if known is None or time.monotonic() - known[0] > _SENDER_SECONDS:
            known = (time.monotonic(), await _in_thread(self._read_sender, address))
            self._senders[address] = known
        return known[1]

    async def redeem(self, winners: Sequence[Winner]) -> str:
        """Redeem one ticket or a batch; the hash of the mined transaction.

        A batch swallows the failure of a single ticket, so ask `settled` for each afterwards.
        Raises RedemptionRefused with the contract's reason, ChainUnavailable.
        """
        return await _in_thread(self._redeem, winners)

    async def settled(self, ticket_hash: bytes) -> bool:
        return await _in_thread(self._read_used, ticket_hash)

    def _contract(self, name: str) -> Contract:
        if name not in self._contracts:
            address = self._controller
            if name != "Controller":
                address = self._contract("Controller").functions.getContract(keccak256(name.encode())).call()
            abi = json.loads((_ABI / f"{name}.json").read_text())
            self._contracts[name] = self._web3.eth.contract(Web3.to_checksum_address(address), abi=abi)
        return self._contracts[name]

    def _read_state(self) -> ChainState:
        block: dict[str, Any] = dict(self._web3.eth.get_block("latest"))
        rounds, bonding = (
            self._contract("RoundsManager").functions,
            self._contract("BondingManager").functions,
        )
        last_round = creation_round = rounds.lastInitializedRound().call()
        block_hash = rounds.blockHashForRound(creation_round).call()
        if block_hash == ZERO_HASH:  # a round without a hash can never be redeemed: stay in the one before
            creation_round -= 1
            block_hash = rounds.blockHashForRound(creation_round).call()
        # Arbitrum names the Ethereum block in a field of its own; other chains have only their number.
        l1_block = block.get("l1BlockNumber", block["number"])
        return ChainState(
            l1_block=int(l1_block, 16) if isinstance(l1_block, str) else int(l1_block),
            last_initialized_round=last_round,
            creation_round=creation_round,
            creation_round_block_hash=bytes(block_hash),
            pool_size=bonding.getTranscoderPoolSize().call(),
            active=bonding.isActiveTranscoder(self._account.address).call(),
        )

    def _read_sender(self, address: bytes) -> SenderInfo:
        broker, holder = self._contract("TicketBroker").functions, Web3.to_checksum_address(address)
        (deposit, withdraw_round), (reserve, claimed) = broker.getSenderInfo(holder).call()
        return SenderInfo(
            deposit_wei=deposit,
            withdraw_round=withdraw_round,
            reserve_wei=reserve,
            claimed_wei=claimed,
            claimed_by_us_wei=broker.claimedReserve(holder, self._account.address).call(),
        )

    def _read_used(self, ticket_hash: bytes) -> bool:
        used: bool = self._contract("TicketBroker").functions.usedTickets(ticket_hash).call()
        return used

    def _redeem(self, winners: Sequence[Winner]) -> str:
        broker = self._contract("TicketBroker").functions
        tickets = [_contract_ticket(winner.ticket) for winner in winners]
        signatures = [winner.signature for winner in winners]
        rands = [winner.recipient_rand for winner in winners]
        if len(winners) == 1:
            call = broker.redeemWinningTicket(tickets[0], signatures[0], rands[0])
        else:
            call = broker.batchRedeemWinningTickets(tickets, signatures, rands)
        eth = self._web3.eth
        request: TxParams = {
            "from": self._account.address,
            "nonce": eth.get_transaction_count(self._account.address),
            "gasPrice": Wei(2 * eth.gas_price),
            "chainId": eth.chain_id,
        }
        try:
            estimate = call.estimate_gas(request) * 3 // 2
        except ContractLogicError as error:
            raise RedemptionRefused(str(error.message)) from error
        # A batch swallows failures, also those for want of gas, so its estimate can be too low.
        request["gas"] = max(estimate, _REDEEM_GAS * len(winners))
        signed = self._account.sign_transaction(call.build_transaction(request))
        tx_hash = eth.send_raw_transaction(signed.raw_transaction)
        receipt = eth.wait_for_transaction_receipt(tx_hash, timeout=_RECEIPT_SECONDS, poll_latency=0.2)
        if receipt["status"] != 1:
            raise RedemptionRefused("the transaction reverted")
        return Web3.to_hex(tx_hash)


def _contract_ticket(ticket: Ticket) -> tuple[str, str, int, int, int, bytes, bytes]:
    aux_data = ticket.creation_round.to_bytes(32) + ticket.creation_round_block_hash
    return (
        Web3.to_checksum_address(ticket.recipient),
        Web3.to_checksum_address(ticket.sender),
        ticket.face_value,
        ticket.win_prob,
        ticket.sender_nonce,
        ticket.recipient_rand_hash,
        aux_data,
    )


async def _in_thread[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return await asyncio.to_thread(call, *args, **kwargs)
    except (Web3Exception, OSError, ValueError) as error:
        raise ChainUnavailable(f"{type(error).__name__}: {error}") from error
