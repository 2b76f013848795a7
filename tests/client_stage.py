"""A real signer and a sandbox orchestrator that see the same chain, and what must add up between them."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from accounts.models import Customer
from sandbox.orchestrator.node import Node
from sandbox.orchestrator.terms import Terms, offers
from signing.pm.tickets import expected_value
from tests.held_chain import HeldChain
from tests.signer_stage import Stage, price_of, rows, running_signer, signed_wei, wallet
from tests.standin_orchestrator import RECIPIENT, ChainInMemory, served_node


@dataclass(frozen=True)
class Town:
    """Who a gateway talks to; `terms` are the orchestrator's first ones."""

    node: Node
    terms: Terms
    signer: Stage
    chain: ChainInMemory
    _first_block: int

    def signer_goes_ahead(self) -> None:
        """What the orchestrator offered so far is too old for the signer."""
        self.signer.chain.change(l1_block=self._first_block + self.terms.expiry_blocks)

    def orchestrator_follows(self) -> None:
        """What it offers from now on is not; what it offered before is good enough for itself."""
        self.chain.now = replace(self.chain.now, l1_block=self._first_block + self.terms.expiry_blocks // 2)

    def change_price(self, factor: Fraction) -> None:
        """From now on everything costs so many times what it cost at first; a session of before keeps its price."""
        priced = ("live_price_wei", "pixel_price_wei", "job_price_wei")
        self.node.terms = replace(self.terms, **{name: int(getattr(self.terms, name) * factor) for name in priced})
        self.node.offers = offers(self.node.terms)

    def status(self) -> dict[str, Any]:
        """What the orchestrator counted, from its own page."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        url = self.node.service_uri + "/sandbox/status"
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def running_town(directory: Path, **terms: int) -> Iterator[Town]:
    """Both on free ports; `terms` are those of sandbox.orchestrator.terms.Terms."""
    chain = ChainInMemory()
    now = chain.now
    seen = HeldChain(
        current_round=now.last_initialized_round,
        last_initialized_round=now.last_initialized_round,
        round_block_hashes={now.creation_round: now.creation_round_block_hash},
        l1_block=now.l1_block,
        active_recipients=frozenset({RECIPIENT}),
    )
    with served_node(chain, directory, Terms(**terms)) as node, running_signer(seen) as signer:
        yield Town(node, node.terms, signer, chain, now.l1_block)


def tickets_of(row: dict[str, Any]) -> set[tuple[bytes, int]]:
    """A booked payment's tickets: rand hash and nonce."""
    first = row["first_nonce"]
    return {(bytes(row["recipient_rand_hash"]), nonce) for nonce in range(first, first + row["tickets"])}


def worth_wei(row: dict[str, Any]) -> Fraction:
    """The exact expected value of a booked payment's tickets."""
    one = expected_value(int(row["face_value_wei"]), int(row["win_prob"]))
    return Fraction(int(row["tickets"]) * one)


def check_charges(owner: Customer, credit_nano_usd: int) -> set[tuple[bytes, int]]:
    """Every charge is the expected value of its tickets, no ticket was sold twice; all tickets sold."""
    sold: set[tuple[bytes, int]] = set()
    spent = 0
    for row in rows(owner):
        tickets = tickets_of(row)
        assert not tickets & sold
        sold |= tickets
        assert row["cost_wei"] == signed_wei(row)
        assert row["charge_nano_usd"] == price_of(signed_wei(row))
        spent += row["charge_nano_usd"]
    assert wallet(owner) == credit_nano_usd - spent
    return sold
