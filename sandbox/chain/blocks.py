"""What a block consists of: headers, mined transactions with their receipts, logs and the bloom over them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sandbox.chain.encoding import Encodable, keccak, rlp_encode
from sandbox.chain.machine import Log
from sandbox.chain.transactions import SignedTransaction

# As on Arbitrum a block has practically no gas limit; one transaction does.
BLOCK_GAS_LIMIT = 1 << 50
TRANSACTION_GAS_LIMIT = 32_000_000
EMPTY_ROOT = keccak(rlp_encode(b""))
EMPTY_UNCLES_HASH = keccak(rlp_encode([]))
EMPTY_BLOOM = bytes(256)
NO_ADDRESS = bytes(20)


@dataclass(frozen=True, kw_only=True)
class Header:
    """`state_root`, `transactions_root` and `receipts_root` are digests of the contents, not Merkle tries."""

    number: int
    parent_hash: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    logs_bloom: bytes
    timestamp_seconds: int
    gas_used: int
    base_fee_wei: int
    extra_data: bytes

    @cached_property
    def hash(self) -> bytes:
        """keccak256 of the London header's RLP, so that a client that hashes headers by itself agrees."""
        fields: list[Encodable] = [
            self.parent_hash, EMPTY_UNCLES_HASH, NO_ADDRESS, self.state_root, self.transactions_root,
            self.receipts_root, self.logs_bloom, 0, self.number, BLOCK_GAS_LIMIT, self.gas_used,
            self.timestamp_seconds, self.extra_data, bytes(32), bytes(8), self.base_fee_wei,
        ]  # fmt: skip
        return keccak(rlp_encode(fields))


@dataclass(frozen=True, kw_only=True)
class MinedTransaction:
    """A transaction with what its receipt needs; block hash and number stand in the header."""

    transaction: SignedTransaction
    index: int
    succeeded: bool
    gas_used: int
    cumulative_gas_used: int
    gas_price_wei: int
    created: bytes | None
    logs: tuple[Log, ...]
    first_log_index: int


@dataclass(frozen=True, kw_only=True)
class StoredLog:
    log: Log
    block_number: int
    block_hash: bytes
    block_timestamp_seconds: int
    transaction_hash: bytes
    transaction_index: int
    index: int


def bloom(logs: Iterable[Log]) -> bytes:
    """The 2,048-bit filter of the yellow paper: three bits for every address and topic."""
    bits = 0
    for log in logs:
        for item in (log.address, *log.topics):
            digest = keccak(item)
            for at in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits.to_bytes(256, "big")


def digest_of(parts: Iterable[bytes]) -> bytes:
    """EMPTY_ROOT for nothing, as clients expect of a block without transactions."""
    joined = b"".join(parts)
    return keccak(joined) if joined else EMPTY_ROOT
