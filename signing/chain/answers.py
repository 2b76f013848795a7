"""What a chain answers, and how it refuses: known to every room, without the library that asks it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


class ChainUnavailable(Exception):
    """The chain cannot be read now, or what was read is too old; `reason_code` says which."""

    def __init__(self, reason_code: str, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.message = message


class RpcRefused(ChainUnavailable):
    """Every endpoint answered this request with an error; a smaller one may succeed."""


class CallReverted(ChainUnavailable):
    """A contract refuses this call; the text is the contract's reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """`l1_number` is what contracts see as block.number: on Arbitrum the L1 block, elsewhere the number itself."""

    number: int
    hash: str
    l1_number: int
    time: datetime
    base_fee_wei: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """One decoded event. Addresses and bytes are lower-case 0x text, numbers stay int."""

    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int
    name: str
    arguments: Mapping[str, int | str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """`gas_cost_wei` is gas used (on Arbitrum the L1 part included) times the price paid."""

    tx_hash: str
    block_number: int
    sender: str
    recipient: str
    succeeded: bool
    gas_cost_wei: int
