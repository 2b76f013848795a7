"""A treasury that funds a deposit in tests: open books, its key, wishes, and a worker killed at any moment."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from sandbox.chain.client import SandboxChain
from signing.chain.answers import Receipt
from signing.chain.ethereum import Chain
from signing.models import TreasuryTransaction
from signing.signer.keystore import Keystore
from signing.treasury import funding
from tests import builders, chain_cast
from tests.chain_cast import ETHER
from tests.indexer_stage import open_books


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


@pytest.fixture
def chain(sandbox: SandboxChain, settings: Settings, transactional_db: None) -> Iterator[Chain]:
    with open_books(sandbox, settings) as connected:
        yield connected


@pytest.fixture
def key(sandbox: SandboxChain) -> Keystore:
    return chain_cast.key_of(sandbox, "treasury")


def ask(sandbox: SandboxChain, *, deposit: int = 2 * ETHER, reserve: int = ETHER) -> TreasuryTransaction:
    sender = sandbox.accounts["sender"].address
    return funding.request(sender=sender, deposit_wei=deposit, reserve_wei=reserve, user=builders.user())


def funds(sandbox: SandboxChain) -> tuple[int, int]:
    (deposit, _), (reserve, _) = sandbox.read("TicketBroker", "getSenderInfo", sandbox.accounts["sender"].address)
    return deposit, reserve


def sent(sandbox: SandboxChain) -> int:
    return int(sandbox.rpc("eth_getTransactionCount", sandbox.accounts["treasury"].address, "latest"), 16)
