"""A chain that is held still, for a signer that nobody wants to fund; no Django is needed for it."""

import itertools
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from signing.chain.answers import ChainUnavailable
from signing.chain.price_feed import Rate
from signing.chain.view import ChainView
from signing.pm.ceilings import SenderFunds
from signing.signer.keystore import Keystore

KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
ETHER = 10**18
RATE = 3_000 * 10**9
ROUND, ROUND_HASH = 3500, b"\xab" * 32
EARLIER_HASH = b"\xcd" * 32
L1_BLOCK = 20_000_000
RECIPIENT = b"\x0c" * 20
_feed_rounds = itertools.count(int(time.time() * 1000))


class HeldChain:
    """What the signer sees of the chain; `current` None means it cannot be read."""

    def __init__(self, **changes: Any) -> None:
        view = ChainView(
            sender="0x" + Keystore(KEY).address.hex(),
            funds=SenderFunds(deposit_wei=ETHER, reserve_wei=ETHER, withdraw_round=0),
            current_round=ROUND,
            last_initialized_round=ROUND,
            round_block_hashes={ROUND: ROUND_HASH, ROUND - 1: EARLIER_HASH},
            l1_block=L1_BLOCK,
            active_recipients=frozenset({RECIPIENT}),
            orchestrators=(("0x" + RECIPIENT.hex(), "https://orch.example:8935"),),
            pool_size=100,
            rate=Rate(
                feed_address="0x" + "fe" * 20,
                feed_round=next(_feed_rounds),
                nano_usd_per_eth=RATE,
                updated_at=datetime.now(UTC),
            ),
            read_at_seconds=0.0,
        )
        self.current: ChainView | None = replace(view, **changes)

    def change(self, **changes: Any) -> None:
        assert self.current
        self.current = replace(self.current, **changes)

    def view(self) -> ChainView:
        if self.current is None:
            raise ChainUnavailable("chain_stale", "the chain was last read 99 seconds ago")
        return self.current
