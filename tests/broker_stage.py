"""The stage of the broker checks: a deployment of the ticket protocol, accounts, tickets and what became of them."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from sha3 import keccak_256
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractCustomError, ContractLogicError, ContractPanicError
from web3.types import TxReceipt

from sandbox.chain.client import ETHER_WEI, SandboxChain, running_chain
from sandbox.chain.contracts import contract

ALWAYS_WINS = 2**256 - 1
ROUND_LENGTH_BLOCKS = 120
_nonces = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class TicketFields:
    recipient: str
    sender: str
    face_value_wei: int
    win_prob: int
    nonce: int
    rand_hash: bytes
    aux_data: bytes


@dataclass(frozen=True, kw_only=True)
class SignedTicket:
    """A ticket with its opened secret; `key` is the account that signed."""

    fields: TicketFields
    rand: int
    signature: bytes
    key: LocalAccount

    @property
    def ticket(self) -> tuple[str, str, int, int, int, bytes, bytes]:
        fields = self.fields
        return (
            fields.recipient, fields.sender, fields.face_value_wei, fields.win_prob, fields.nonce,
            fields.rand_hash, fields.aux_data,
        )  # fmt: skip

    @property
    def hash(self) -> bytes:
        return _ticket_hash(self.fields)


def _ticket_hash(fields: TicketFields) -> bytes:
    numbers = (fields.face_value_wei, fields.win_prob, fields.nonce)
    packed = bytes.fromhex(fields.recipient[2:]) + bytes.fromhex(fields.sender[2:])
    packed += b"".join(number.to_bytes(32, "big") for number in numbers) + fields.rand_hash + fields.aux_data
    digest: bytes = keccak_256(packed).digest()
    return digest


class BrokerStage:
    """Drives one deployment through web3. `sandbox` is None when the deployment is somebody else's."""

    def __init__(self, rpc_url: str, controller: str, funder: LocalAccount, sandbox: SandboxChain | None) -> None:
        self.w3 = Web3(Web3.HTTPProvider(rpc_url))
        self.sandbox = sandbox
        self.funder = funder
        self.controller = self.contract("Controller", controller)
        self.broker = self.contract("TicketBroker", self.registered("TicketBroker"))
        self.rounds = self.contract("RoundsManager", self.registered("RoundsManager"))
        self.bonding = self.contract("BondingManager", self.registered("BondingManager"))
        self.orchestrator: str = self.bonding.functions.getFirstTranscoderInPool().call()
        self.old_aux_data = self.current_aux_data()
        for _ in range(2):
            self.next_round()

    def contract(self, name: str, address: str) -> Contract:
        return self.w3.eth.contract(address=Web3.to_checksum_address(address), abi=contract(name).abi)

    def registered(self, name: str) -> str:
        address: str = self.controller.functions.getContract(keccak_256(name.encode()).digest()).call()
        return address

    # Accounts

    def account(self, *, with_wei: int = ETHER_WEI // 10) -> LocalAccount:
        """A new account with some ETH and nothing in the broker."""
        account: LocalAccount = Account.create()
        self.send_raw(self.funder, to=account.address, value_wei=with_wei)
        return account

    def sender(self, *, deposit_wei: int = 0, reserve_wei: int = 0) -> LocalAccount:
        account = self.account()
        call = self.broker.functions.fundDepositAndReserve(deposit_wei, reserve_wei)
        self.transact(account, call, value_wei=deposit_wei + reserve_wei)
        return account

    def sender_info(self, account: LocalAccount) -> tuple[tuple[int, int], tuple[int, int]]:
        """((deposit, withdrawRound), (fundsRemaining, claimedInCurrentRound))"""
        sender, reserve = self.broker.functions.getSenderInfo(account.address).call()
        return tuple(sender), tuple(reserve)

    def claimable_wei(self, account: LocalAccount) -> int:
        claimable: int = self.broker.functions.claimableReserve(account.address, self.orchestrator).call()
        return claimable

    def pending_fees_wei(self) -> int:
        fees: int = self.bonding.functions.pendingFees(self.orchestrator, 0).call()
        return fees

    def purse_wei(self) -> int:
        """What the Minter holds for all senders and payees."""
        return self.w3.eth.get_balance(Web3.to_checksum_address(self.registered("Minter")))

    # Transactions

    def transact(self, account: LocalAccount, call: Any, *, value_wei: int = 0) -> TxReceipt:
        """Send a contract call and see it succeed."""
        transaction = call.build_transaction({"from": account.address, "value": value_wei, "gas": 2_000_000})
        receipt = self._sent(account, transaction)
        assert receipt["status"] == 1
        return receipt

    def send_raw(self, account: LocalAccount, *, to: str, value_wei: int) -> TxReceipt:
        fees = {"maxFeePerGas": self.w3.eth.gas_price * 2, "maxPriorityFeePerGas": 0}
        return self._sent(
            account, {"to": to, "value": value_wei, "gas": 100_000, "chainId": self.w3.eth.chain_id, **fees}
        )

    def _sent(self, account: LocalAccount, transaction: dict[str, Any]) -> TxReceipt:
        transaction = {**transaction, "nonce": self.w3.eth.get_transaction_count(account.address)}
        signed = account.sign_transaction(transaction)
        sent = self.w3.eth.send_raw_transaction(signed.raw_transaction)
        return self.w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.02)

    def refusal(self, call: Any, *, sender: str | None = None, value_wei: int = 0) -> str:
        """The text of the revert; a call that succeeds fails the test."""
        try:
            call.call({"from": sender or self.funder.address, "value": value_wei})
        except (ContractLogicError, ContractPanicError, ContractCustomError) as error:
            return str(error)
        raise AssertionError("the call was not refused")

    # Rounds

    def current_aux_data(self) -> bytes:
        current: int = self.rounds.functions.lastInitializedRound().call()
        stored: bytes = self.rounds.functions.blockHashForRound(current).call()
        return current.to_bytes(32, "big") + stored

    def mine_to_next_round(self) -> None:
        start: int = self.rounds.functions.currentRoundStartBlock().call()
        length: int = self.rounds.functions.roundLength().call()
        left = start + length - self.rounds.functions.blockNum().call()
        self.w3.provider.make_request("hardhat_mine", [hex(max(1, left))])  # type: ignore[arg-type]

    def next_round(self) -> None:
        """The next round, initialised by whoever does it first."""
        self.mine_to_next_round()
        if not self.rounds.functions.currentRoundInitialized().call():
            self.transact(self.funder, self.rounds.functions.initializeRound())

    @contextmanager
    def nobody_initialises_rounds(self) -> Iterator[None]:
        """Elsewhere nobody does anyway; the sandbox's keeper is sent on leave."""
        if self.sandbox is None:
            yield
            return
        self.sandbox.keeper(rounds=False)
        try:
            yield
        finally:
            self.sandbox.keeper(rounds=True)

    # Tickets

    def ticket(
        self,
        sender: LocalAccount,
        *,
        recipient: str | None = None,
        face_value_wei: int = 1,
        win_prob: int = ALWAYS_WINS,
        nonce: int | None = None,
        rand: int | None = None,
    ) -> SignedTicket:
        """A good ticket of the current round for the active orchestrator."""
        number = next(_nonces)
        fields = TicketFields(
            recipient=recipient or self.orchestrator,
            sender=sender.address,
            face_value_wei=face_value_wei,
            win_prob=win_prob,
            nonce=number if nonce is None else nonce,
            rand_hash=bytes(32),
            aux_data=self.current_aux_data(),
        )
        return self.sealed(fields, rand or 1_000_000 + number, sender)

    def sealed(self, fields: TicketFields, rand: int, key: LocalAccount) -> SignedTicket:
        """Commit to the secret and sign."""
        fields = replace(fields, rand_hash=keccak_256(rand.to_bytes(32, "big")).digest())
        message = encode_defunct(primitive=_ticket_hash(fields))
        return SignedTicket(fields=fields, rand=rand, signature=key.sign_message(message).signature, key=key)

    def redeem_call(self, signed: SignedTicket) -> Any:
        return self.broker.functions.redeemWinningTicket(signed.ticket, signed.signature, signed.rand)

    def batch_call(self, tickets: list[SignedTicket]) -> Any:
        return self.broker.functions.batchRedeemWinningTickets(
            [signed.ticket for signed in tickets],
            [signed.signature for signed in tickets],
            [signed.rand for signed in tickets],
        )

    def redeem(self, signed: SignedTicket) -> TxReceipt:
        return self.transact(self.funder, self.redeem_call(signed))

    # Logs

    def events(self, receipt: TxReceipt) -> list[tuple[str, dict[str, Any]]]:
        """Name and arguments of the broker's logs, in their order."""
        return [self._named(log) for log in receipt["logs"] if log["address"] == self.broker.address]

    def amounts(self, receipt: TxReceipt, name: str) -> list[int]:
        return [arguments["amount"] for event, arguments in self.events(receipt) if event == name]

    def redeemed_event(self, signed: SignedTicket) -> dict[str, Any]:
        return {
            "sender": signed.fields.sender,
            "recipient": signed.fields.recipient,
            "faceValue": signed.fields.face_value_wei,
            "winProb": signed.fields.win_prob,
            "senderNonce": signed.fields.nonce,
            "recipientRand": signed.rand,
            "auxData": signed.fields.aux_data,
        }

    def _named(self, log: Any) -> tuple[str, dict[str, Any]]:
        events: Any = self.broker.events
        for event in events:
            if event.abi and _topic(event.abi) == bytes(log["topics"][0]):
                decoded = event().process_log(log)
                return decoded["event"], dict(decoded["args"])
        raise AssertionError("a log the broker's ABI does not know")

    def replayed(self, account: LocalAccount) -> tuple[tuple[int, int], tuple[int, int]]:
        """The account rebuilt from its events alone (within one round), as an indexer would."""
        deposit = reserve = claimed = withdraw_round = 0
        logs = self.w3.eth.get_logs(
            {
                "fromBlock": 0,
                "toBlock": "latest",
                "address": self.broker.address,
                "topics": [None, "0x" + account.address[2:].lower().rjust(64, "0")],
            }
        )
        from_reserve = 0
        for name, arguments in map(self._named, logs):
            match name:
                case "DepositFunded":
                    deposit += arguments["amount"]
                case "ReserveFunded":
                    reserve += arguments["amount"]
                case "ReserveClaimed":
                    from_reserve = arguments["amount"]
                    reserve -= from_reserve
                    claimed += from_reserve
                case "WinningTicketTransfer":
                    deposit -= arguments["amount"] - from_reserve
                    from_reserve = 0
                case "Unlock":
                    withdraw_round = arguments["endRound"]
        return (deposit, withdraw_round), (reserve, claimed)


def _topic(abi: Any) -> bytes:
    types = ",".join(item["type"] for item in abi["inputs"])
    digest: bytes = keccak_256(f"{abi['name']}({types})".encode()).digest()
    return digest


@contextmanager
def broker_stage(folder: Path) -> Iterator[BrokerStage]:
    """The deployment that the TICKET_BROKER_* variables name, else a sandbox chain of its own."""
    if "TICKET_BROKER_RPC_URL" in os.environ:
        funder: LocalAccount = Account.from_key(os.environ["TICKET_BROKER_KEY"])
        yield BrokerStage(os.environ["TICKET_BROKER_RPC_URL"], os.environ["TICKET_BROKER_CONTROLLER"], funder, None)
        return
    with sandbox_stage(folder) as stage:
        yield stage


@contextmanager
def sandbox_stage(folder: Path) -> Iterator[BrokerStage]:
    with running_chain(folder, round_length=ROUND_LENGTH_BLOCKS) as chain:
        funder = Account.from_key(chain.accounts["faucet"].private_key)
        yield BrokerStage(chain.rpc_url, chain.controller_address, funder, chain)
