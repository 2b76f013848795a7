"""The indexer in tests: books that are open at what stands on the chain, a payer, and all that must add up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Customer
from billing import check_books as billing_books
from billing import ledger
from billing.models import Journal
from sandbox.chain.client import SandboxChain
from signing.chain import indexer
from signing.chain.ethereum import Chain
from signing.models import ChainEvent, Redemption
from signing.treasury import check_books
from tests import builders, chain_cast
from tests.chain_cast import ETHER

MILLI = ETHER // 1_000


@contextmanager
def open_books(sandbox: SandboxChain, settings: Settings) -> Iterator[Chain]:
    """Our door to the chain, with books that are opened at what stands there now."""
    chain_cast.point_at(settings, sandbox)
    sandbox.set_price(3_000)
    chain_cast.finalise(sandbox)
    connected = chain_cast.connected(sandbox)
    assert indexer.index(connected).opened
    yield connected
    connected.close()


@pytest.fixture
def chain(sandbox: SandboxChain, settings: Settings) -> Iterator[Chain]:
    """Books that are open, and a sender that has a deposit and a reserve."""
    chain_cast.fund(sandbox, deposit=ETHER, reserve=ETHER)
    with open_books(sandbox, settings) as connected:
        yield connected


@pytest.fixture
def payer() -> Customer:
    owner = builders.customer()
    builders.top_up(owner, dollars=1_000)
    return owner


def settle(sandbox: SandboxChain, chain: Chain) -> None:
    """Makes what happened final, books it, and checks every invariant of money and chain."""
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    assert_sound()


def assert_sound(**expected: int) -> None:
    figures = {**billing_books.invariants(), **check_books.invariants()}
    assert {name: figure for name, figure in figures.items() if figure} == expected


def party(sandbox: SandboxChain, role: str) -> str:
    return sandbox.accounts[role].address.lower()


def wei(number: int, of: str) -> int:
    return ledger.balance(number, "ETH", of)


def usd(number: int, of: str = "") -> int:
    return ledger.balance(number, "USD", of)


def journals() -> list[str]:
    return list(Journal.objects.order_by("pk").values_list("reference", flat=True))


def everything() -> dict[str, Any]:
    """Books and rows, less the ids: what must not differ after a repetition."""
    return {
        "journals": journals(),
        "balances": ledger.balances(),
        "events": list(
            ChainEvent.objects.order_by("block_number", "log_index").values_list(
                "tx_hash", "log_index", "block_hash", "name", "journal__reference"
            )
        ),
        "redemptions": list(
            Redemption.objects.order_by("ticket_hash").values_list("ticket_hash", "paid_wei", "customer_id")
        ),
    }
