"""A typed client of the sandbox chain for its users: start one, read where things are, play its owner."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from clearinghouse.embedded import die_with_parent
from sandbox.chain.contracts import contract

PROJECT_FOLDER = Path(__file__).resolve().parents[2]
START_DEADLINE_SECONDS = 60.0
RECEIPT_DEADLINE_SECONDS = 30.0
FEED_DECIMALS = 8
ETHER_WEI = 10**18

ADDRESS_NAMES = {
    "Controller": "controller_address",
    "Minter": "minter_address",
    "RoundsManager": "rounds_manager_address",
    "BondingManager": "bonding_manager_address",
    "TicketBroker": "ticket_broker_address",
    "ServiceRegistry": "service_registry_address",
    "PriceFeed": "eth_usd_feed_address",
}


class RpcFailed(Exception):
    """The chain answered with an error; `code`, `message` and `data` as it gave them."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: str | None = error.get("data")


class ChainDidNotStart(Exception):
    """The process ended, or was not ready in time; the text is what it said."""


class TransactionFailed(Exception):
    """Mined with status 0, or not mined in time."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """A dev account with a worthless key; both fields are 0x-hex."""

    address: str
    private_key: str


class SandboxChain:
    """A running chain, seen from another process. `send` and what builds on it use the chain's own dev keys."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.rpc_url: str = facts["rpc_url"]
        self.chain_id: int = facts["chain_id"]
        self.controller_address: str = facts["controller_address"]
        self.minter_address: str = facts["minter_address"]
        self.rounds_manager_address: str = facts["rounds_manager_address"]
        self.bonding_manager_address: str = facts["bonding_manager_address"]
        self.ticket_broker_address: str = facts["ticket_broker_address"]
        self.service_registry_address: str = facts["service_registry_address"]
        self.eth_usd_feed_address: str = facts["eth_usd_feed_address"]
        self.accounts = {
            role: Account(address=keys["address"], private_key=keys["private_key"])
            for role, keys in facts["accounts"].items()
        }

    @classmethod
    def from_folder(cls, folder: Path) -> "SandboxChain":
        """The chain whose DIR this is; FileNotFoundError when it does not run."""
        return cls(json.loads((folder / "chain.json").read_text()))

    def rpc(self, method: str, *params: Any) -> Any:
        """Raises RpcFailed."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.rpc_url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        if "error" in answer:
            raise RpcFailed(answer["error"])
        return answer["result"]

    # Contracts

    def read(self, name: str, function: str, *arguments: Any, block: str = "latest") -> Any:
        """Call a view of a contract by name; a single return value comes bare, several as a tuple."""
        call = {"to": self.address_of(name), "data": "0x" + contract(name).call(function, *arguments).hex()}
        output = bytes.fromhex(self.rpc("eth_call", call, block)[2:])
        values = contract(name).result(function, output)
        return values[0] if len(values) == 1 else values

    def send(self, role: str, name: str, function: str, *arguments: Any, value_wei: int = 0) -> dict[str, Any]:
        """Send from a dev account and wait; returns the receipt. Raises RpcFailed, TransactionFailed."""
        return self._sent(role, self.address_of(name), contract(name).call(function, *arguments), value_wei)

    def address_of(self, name: str) -> str:
        address: str = getattr(self, ADDRESS_NAMES[name])
        return address

    def _sent(self, role: str, to: str, data: bytes, value_wei: int) -> dict[str, Any]:
        transaction = {
            "from": self.accounts[role].address,
            "to": to,
            "data": "0x" + data.hex(),
            "value": hex(value_wei),
        }
        return self.wait_for(self.rpc("eth_sendTransaction", transaction))

    def wait_for(self, transaction_hash: str) -> dict[str, Any]:
        """The receipt of a successful transaction. Raises TransactionFailed."""
        deadline = time.monotonic() + RECEIPT_DEADLINE_SECONDS
        while time.monotonic() < deadline:
            receipt: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", transaction_hash)
            if receipt is None:
                time.sleep(0.02)
            elif receipt["status"] == "0x1":
                return receipt
            else:
                raise TransactionFailed(f"{transaction_hash} reverted")
        raise TransactionFailed(f"{transaction_hash} was not mined in time")

    # Time

    def block_number(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def mine(self, blocks: int = 1) -> None:
        self.rpc("hardhat_mine", hex(blocks))

    def current_round(self) -> int:
        current: int = self.read("RoundsManager", "currentRound")
        return current

    def next_round(self) -> int:
        """Mine up to the next round and, unless the keeper is off duty, wait until it is initialised."""
        start = self.read("RoundsManager", "currentRoundStartBlock")
        self.mine(max(1, start + self.read("RoundsManager", "roundLength") - self.block_number()))
        deadline = time.monotonic() + RECEIPT_DEADLINE_SECONDS
        while self.keeper()["rounds"] and not self.read("RoundsManager", "currentRoundInitialized"):
            assert time.monotonic() < deadline, "the keeper did not initialise the round"
            time.sleep(0.02)
        return self.current_round()

    def keeper(self, **duties: bool) -> dict[str, bool]:
        """Switch `rounds` (initialisation) and `feed` (fresh price times) on or off; answers both."""
        switches: dict[str, bool] = self.rpc("sandbox_keeper", duties)
        return switches

    def reorg(self, depth: int) -> None:
        """Replace the last blocks by others without their transactions."""
        self.rpc("sandbox_reorg", depth)

    # Money and prices

    def give(self, address: str, amount_wei: int) -> None:
        """ETH from the faucet account."""
        self._sent("faucet", address, b"", amount_wei)

    def set_price(self, usd_per_eth: Decimal | int | str, *, updated_at_seconds: int = 0) -> None:
        """Publish a price. One with a time of its own keeps it: the keeper then stops refreshing the feed."""
        if updated_at_seconds:
            self.keeper(feed=False)
        answer = int(Decimal(usd_per_eth).scaleb(FEED_DECIMALS))
        self.send("deployer", "PriceFeed", "sandboxSetAnswer", answer, updated_at_seconds)

    # Orchestrators

    def register(
        self,
        address: str,
        *,
        stake_wei: int = 1_000 * ETHER_WEI,
        active_from_round: int | None = None,
    ) -> None:
        """Register an orchestrator; with a round it joins the pool now and is active from that round on."""
        self.send("deployer", "BondingManager", "sandboxSetStake", address, stake_wei)
        if active_from_round is not None:
            self.send("deployer", "BondingManager", "sandboxActivate", address, active_from_round)

    def deactivate(self, address: str, *, from_round: int) -> None:
        """Leave the pool now, be inactive from a round on."""
        self.send("deployer", "BondingManager", "sandboxDeactivate", address, from_round)

    def unregister(self, address: str) -> None:
        """Unbond completely."""
        self.send("deployer", "BondingManager", "sandboxSetStake", address, 0)

    def set_pool_size(self, size: int) -> None:
        """Report this pool size; 0 goes back to the number of members."""
        self.send("deployer", "BondingManager", "sandboxSetPoolSize", size)


@contextmanager
def running_chain(folder: Path, *, block_seconds: float | None = None, **options: int) -> Iterator[SandboxChain]:
    """A chain in its own process, stopped at the end; the same folder goes on with the same chain.

    `block_seconds` None means a block per transaction and none without. `options` are the command line's, for
    example round_length=20, safe_depth=2, max_log_range=1000. Raises ChainDidNotStart.
    """
    process = start_chain(folder, block_seconds=block_seconds, **options)
    try:
        yield wait_until_ready(process, folder)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def start_chain(folder: Path, *, block_seconds: float | None = None, **options: int) -> subprocess.Popen[str]:
    """Start the process and return at once."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    folder = folder.resolve()
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox.chain", f"--dir={folder}", f"--block-seconds={block_seconds or 0}", *flags],
        cwd=PROJECT_FOLDER,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )


def wait_until_ready(process: subprocess.Popen[str], folder: Path) -> SandboxChain:
    """Raises ChainDidNotStart."""
    deadline = time.monotonic() + START_DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        # A file left behind by a killed process is removed before the new one gets ready.
        if (folder / "chain.json").exists() and _owner(folder) == process.pid:
            return SandboxChain.from_folder(folder)
        time.sleep(0.02)
    process.kill()
    _, errors = process.communicate()
    raise ChainDidNotStart(errors.strip() or "the chain was not ready in time")


def _owner(folder: Path) -> int:
    pid: int = json.loads((folder / "chain.json").read_text())["pid"]
    return pid
