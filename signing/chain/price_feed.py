"""The ETH/USD price feed: its newest answer, checked, in nano-dollars."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Block, Chain

NANO = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One answer of the feed; `feed_round` is composed of a phase and a number and may need 80 bits."""

    feed_address: str
    feed_round: int
    nano_usd_per_eth: int
    updated_at: datetime


def read_rate(chain: Chain, feed_address: str, *, block: Block) -> Rate:
    """The feed's answer at a block, whatever its age. Raises ChainUnavailable."""
    decimals = chain.call("AggregatorV3", "decimals", block=block, at=feed_address)
    feed_round, answer, _, updated_at, _ = chain.call("AggregatorV3", "latestRoundData", block=block, at=feed_address)
    if answer <= 0 or updated_at == 0:
        raise ChainUnavailable("rate_invalid", "the price feed gives no price")
    nano_usd_per_eth = answer * NANO // 10**decimals
    if nano_usd_per_eth == 0:
        raise ChainUnavailable("rate_invalid", "the price feed gives no price")
    return Rate(
        feed_address=feed_address.lower(),
        feed_round=feed_round,
        nano_usd_per_eth=nano_usd_per_eth,
        updated_at=datetime.fromtimestamp(updated_at, UTC),
    )


def check_age(rate: Rate, *, at: datetime, max_age_seconds: int) -> None:
    """Raises ChainUnavailable for an answer that was too old at that time: no old price is ever used."""
    if at - rate.updated_at > timedelta(seconds=max_age_seconds):
        raise ChainUnavailable("rate_stale", f"the price feed's answer is from {rate.updated_at:%Y-%m-%d %H:%M:%S} UTC")
