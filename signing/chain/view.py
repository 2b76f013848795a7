"""What the chain says that a payment depends on: the sender's funds, rounds, the active set and the rate."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.chain.price_feed import Rate, read_rate
from signing.chain.roster import Roster
from signing.pm.ceilings import SenderFunds
from signing.pm.tickets import ZERO_HASH

__all__ = ["ChainView", "Rate", "read_funds", "read_round_hashes", "read_view"]

# An endpoint that no longer follows the chain goes on answering with its last block.
_NEWEST_BLOCK_MAX_AGE = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainView:
    """The chain at one block. Addresses are lower-case 0x text, recipients 20 bytes, amounts wei.

    `funds` are the sender's, `other_funds` those of further senders by their address.
    `round_block_hashes` has the last two initialised rounds, less those without a hash: no ticket of such
    a round can be redeemed. `orchestrators` are (address, service URI) of the active set in stake order.
    `roster_is_old` says that whoever is missing from `active_recipients` may be active all the same; a worthless
    roster is old, and nobody is in it. `read_at_seconds` is on the monotonic clock.
    """

    sender: str
    funds: SenderFunds
    current_round: int
    last_initialized_round: int
    round_block_hashes: Mapping[int, bytes]
    l1_block: int
    active_recipients: frozenset[bytes]
    orchestrators: tuple[tuple[str, str], ...]
    pool_size: int
    rate: Rate
    read_at_seconds: float
    other_funds: Mapping[str, SenderFunds] = field(default_factory=dict)
    roster_is_old: bool = False

    @property
    def largest_deposit_wei(self) -> int:
        """Of all senders of ours."""
        return max(funds.deposit_wei for funds in (self.funds, *self.other_funds.values()))

    def funds_of(self, sender: bytes) -> SenderFunds:
        """What a sender of ours holds. Raises ChainUnavailable for one that is not read."""
        address = "0x" + sender.hex()
        if address == self.sender:
            return self.funds
        if address not in self.other_funds:
            raise ChainUnavailable("sender_unread", "the sender's funds were not read yet")
        return self.other_funds[address]


def read_view(
    chain: Chain,
    *,
    sender: str,
    feed_address: str,
    roster: Roster,
    before: ChainView | None = None,
    other_senders: Sequence[str] = (),
) -> ChainView:
    """The view at the newest block, with the roster given; `before` spares reading the same rounds' hashes again.

    Raises ChainUnavailable, also where the newest block is old; the next endpoint is asked then.
    """
    started = time.monotonic()
    header = chain.header("latest")
    if datetime.now(UTC) - header.time > _NEWEST_BLOCK_MAX_AGE:
        chain.pass_over()
        raise ChainUnavailable("chain_behind", f"the newest block is from {header.time:%Y-%m-%d %H:%M:%S} UTC")
    last_round = chain.call("RoundsManager", "lastInitializedRound", block=header.number)
    current_round = chain.call("RoundsManager", "currentRound", block=header.number)
    is_worthless = roster.is_worthless(current_round=current_round, at_seconds=started)
    same_round = before is not None and before.last_initialized_round == last_round
    return ChainView(
        sender=sender.lower(),
        funds=read_funds(chain, sender, block=header.number),
        current_round=current_round,
        last_initialized_round=last_round,
        round_block_hashes=before.round_block_hashes
        if before is not None and same_round
        else read_round_hashes(chain, last_round, block=header.number),
        l1_block=header.l1_number,
        active_recipients=frozenset() if is_worthless else roster.active_recipients,
        orchestrators=roster.orchestrators,
        pool_size=roster.pool_size,
        rate=read_rate(chain, feed_address, block=header.number),
        read_at_seconds=started,
        other_funds={other.lower(): read_funds(chain, other, block=header.number) for other in other_senders},
        roster_is_old=roster.is_old(current_round=current_round, at_seconds=started),
    )


def read_round_hashes(chain: Chain, last_initialized_round: int, *, block: int) -> Mapping[int, bytes]:
    """The block hashes of the last two initialised rounds, less those that are zero. Raises ChainUnavailable."""
    hashes = {
        number: chain.call("RoundsManager", "blockHashForRound", number, block=block)
        for number in (last_initialized_round, last_initialized_round - 1)
        if number > 0
    }
    return {number: value for number, value in hashes.items() if value != ZERO_HASH}


def read_funds(chain: Chain, sender: str, *, block: int) -> SenderFunds:
    """Deposit, remaining reserve and withdraw round of a sender at a block. Raises ChainUnavailable."""
    (deposit, withdraw_round), (reserve, _) = chain.call("TicketBroker", "getSenderInfo", sender, block=block)
    return SenderFunds(deposit_wei=deposit, reserve_wei=reserve, withdraw_round=withdraw_round)
