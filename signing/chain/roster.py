"""Who may be paid now: the pool of orchestrators, and those who left it but stay active until their round ends."""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Block, Chain

__all__ = ["Roster", "read_roster"]

_NOBODY = "0x" + "00" * 20
_LARGEST_POOL = 1_000
_AT_ONCE = 8
_OLD_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Roster:
    """The slow part of what a payment depends on; it changes with the rounds and with bonds.

    `active_recipients`, 20 bytes each, are whom the contract calls active. `orchestrators` are (address, service
    URI) of those in the pool, in stake order: whoever is leaving is still paid, and no longer offered. `pool_size`
    is the contract's own figure, as reserve limits use it. `current_round` is the round in which it was read.
    """

    active_recipients: frozenset[bytes]
    orchestrators: tuple[tuple[str, str], ...]
    pool_size: int
    current_round: int
    read_at_seconds: float

    def is_due(self, *, current_round: int, max_age_seconds: float) -> bool:
        """Whether another round began or the roster is older than that."""
        return self.current_round != current_round or time.monotonic() - self.read_at_seconds > max_age_seconds

    def is_old(self, *, current_round: int, at_seconds: float) -> bool:
        """Whether somebody may have become active since: a round began, or five minutes of readings failed.

        Whom it lacks may then be payable, so nobody can be told that he is not. Whom it has may have left, and is
        paid on: an orchestrator whose round ended still redeems tickets from the deposit.
        """
        return self.current_round < current_round or at_seconds - self.read_at_seconds > _OLD_SECONDS

    def is_worthless(self, *, current_round: int, at_seconds: float) -> bool:
        """Whether a whole round passed unread besides: those who have left are no longer the few of one round."""
        is_old = at_seconds - self.read_at_seconds > _OLD_SECONDS
        return is_old and self.current_round + 1 < current_round


def read_roster(chain: Chain, before: Roster | None = None) -> Roster:
    """The roster at the newest block: a walk through the pool in stake order, two calls a member, some at once.

    Who leaves the pool stays active until the round ends, so whoever was active in the roster `before` is asked for
    too. All is read at one block, for the list is reordered by every reward; where the endpoint does not keep the
    state of one block for so long, each call asks the newest. Raises ChainUnavailable: `roster_torn` when the walk did
    not meet as many members as the contract counts.
    """
    try:
        return _read(chain, chain.header("latest").number, before)
    except ChainUnavailable:
        return _read(chain, "latest", before)


def _read(chain: Chain, block: Block, before: Roster | None) -> Roster:
    started = time.monotonic()
    current_round = chain.call("RoundsManager", "currentRound", block=block)
    members = _pool_members(chain, block)
    pool_size = chain.call("BondingManager", "getTranscoderPoolSize", block=block)
    if len(members) != pool_size:
        raise ChainUnavailable("roster_torn", f"{len(members)} orchestrators were met in a pool of {pool_size}")
    known = set(members)
    gone = [address for address in _addresses(before) if address not in known]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="roster") as several:

        def those(function: str, asked: list[str]) -> list[str]:
            answers = several.map(lambda address: chain.call("BondingManager", function, address, block=block), asked)
            return [address for address, is_so in zip(asked, answers, strict=True) if is_so]

        active = those("isActiveTranscoder", members)
        # Whoever has unbonded all stake is in no pool, and the broker pays nobody unregistered.
        leaving = those("isRegisteredTranscoder", those("isActiveTranscoder", gone))
        service_uris = several.map(
            lambda address: chain.call("ServiceRegistry", "getServiceURI", address, block=block), active
        )
        orchestrators = tuple(zip(active, service_uris, strict=True))
    return Roster(
        active_recipients=frozenset(bytes.fromhex(address[2:]) for address in (*active, *leaving)),
        orchestrators=orchestrators,
        pool_size=pool_size,
        current_round=current_round,
        read_at_seconds=started,
    )


def _addresses(roster: Roster | None) -> Iterable[str]:
    return sorted("0x" + recipient.hex() for recipient in roster.active_recipients) if roster else ()


def _pool_members(chain: Chain, block: Block) -> list[str]:
    """Each once: along the newest blocks a member that moves down is met twice."""
    members: dict[str, None] = {}
    address = chain.call("BondingManager", "getFirstTranscoderInPool", block=block)
    for _ in range(_LARGEST_POOL):
        if address == _NOBODY:
            return list(members)
        members[address.lower()] = None
        address = chain.call("BondingManager", "getNextTranscoderInPool", address, block=block)
    raise ChainUnavailable("rpc_nonsense", "the pool of orchestrators has no end")
