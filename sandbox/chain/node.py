"""The chain itself: takes transactions, makes blocks, answers calls at any block, forgets blocks on request."""

import time
from functools import partial
from pathlib import Path
from secrets import token_bytes

from eth.vm.execution_context import ExecutionContext
from eth_typing import Address, BlockNumber, Hash32

from sandbox.chain.accounts import ROLES, STARTING_BALANCE_WEI, DevAccount, dev_account
from sandbox.chain.blocks import (
    BLOCK_GAS_LIMIT,
    EMPTY_BLOOM,
    EMPTY_ROOT,
    NO_ADDRESS,
    TRANSACTION_GAS_LIMIT,
    Header,
    MinedTransaction,
    bloom,
    digest_of,
)
from sandbox.chain.machine import Call, Outcome, intrinsic_gas, simulate, transact
from sandbox.chain.store import Store
from sandbox.chain.transactions import SignedTransaction, decode_transaction, sign_transaction
from sandbox.chain.world import BALANCE, NONCE, Reader, Value, World

BASE_FEE_WEI = 10_000_000  # 0.01 gwei, for years the floor of Arbitrum One
CALL_GAS_LIMIT = 50_000_000
CACHED_CALLS = 4096
REPLACEMENT_BUMP_PERCENT = 10


class TransactionRefused(Exception):
    """The chain will not take this transaction; the text is the one geth gives."""


class UnknownSnapshot(Exception):
    """No such snapshot, or it was undone by an earlier revert."""


class Chain:
    """One chain in one file. Not thread-safe: everything happens on the thread that made it.

    With `automine` every transaction is mined as it arrives; without, it waits in the pool for `mine`.
    """

    def __init__(self, path: Path, *, chain_id: int, automine: bool) -> None:
        self.store = Store(path)
        self.chain_id = chain_id
        self.automine = automine
        self.base_fee_wei: int = self.store.meta("base_fee_wei") or BASE_FEE_WEI
        self.clock_offset_seconds: int = self.store.meta("clock_offset_seconds") or 0
        self._pool = {item.hash: item for item in self.store.pooled()}
        self._calls: dict[tuple[int, bool, Call], Outcome] = {}
        self._snapshots: dict[int, tuple[int, int]] = {}
        self.head = self.store.head() or self._make_genesis()

    def _make_genesis(self) -> Header:
        header = Header(
            number=0,
            parent_hash=bytes(32),
            state_root=EMPTY_ROOT,
            transactions_root=EMPTY_ROOT,
            receipts_root=EMPTY_ROOT,
            logs_bloom=EMPTY_BLOOM,
            timestamp_seconds=self.now_seconds(),
            gas_used=0,
            base_fee_wei=self.base_fee_wei,
            extra_data=b"sandbox",
        )
        balances: dict[bytes, Value] = {dev_account(role).address + BALANCE: STARTING_BALANCE_WEI for role in ROLES}
        with self.store.commit():
            self.store.set_meta("chain_id", self.chain_id)
            self.store.append(header, (), balances)
        return header

    def now_seconds(self) -> int:
        return int(time.time()) + self.clock_offset_seconds

    def increase_time(self, seconds: int) -> None:
        self.clock_offset_seconds += seconds
        self.store.set_meta("clock_offset_seconds", self.clock_offset_seconds)

    def set_base_fee(self, base_fee_wei: int) -> None:
        self.base_fee_wei = base_fee_wei
        self.store.set_meta("base_fee_wei", base_fee_wei)

    # The pool

    @property
    def pool(self) -> list[SignedTransaction]:
        return list(self._pool.values())

    def pooled(self, transaction_hash: bytes) -> SignedTransaction | None:
        return self._pool.get(transaction_hash)

    def nonce(self, address: bytes) -> int:
        nonce = self.store.latest.get(address + NONCE, 0)
        assert isinstance(nonce, int)
        return nonce

    def pending_nonce(self, address: bytes) -> int:
        nonce = self.nonce(address)
        waiting = {item.nonce for item in self._pool.values() if item.sender == address}
        while nonce in waiting:
            nonce += 1
        return nonce

    def submit(self, raw: bytes) -> SignedTransaction:
        """Raises MalformedTransaction, TransactionRefused. The transaction is on disk when this returns."""
        transaction = decode_transaction(raw)
        self._require_acceptable(transaction)
        rival = next((item for item in self._pool.values() if _same_place(item, transaction)), None)
        if rival is not None:
            _require_better_price(rival, transaction)
        with self.store.commit():
            if rival is not None:
                del self._pool[rival.hash]
                self.store.remove_from_pool([rival.hash])
            self._pool[transaction.hash] = transaction
            self.store.add_to_pool(transaction)
            if self.automine and transaction.nonce == self.nonce(transaction.sender):
                self.mine()
        return transaction

    def submit_as(
        self, account: DevAccount, *, to: bytes | None, data: bytes = b"", value_wei: int = 0, gas: int | None = None
    ) -> SignedTransaction:
        """Sign and submit for a dev account, with its next nonce."""
        signed = sign_transaction(
            private_key=account.private_key,
            chain_id=self.chain_id,
            nonce=self.pending_nonce(account.address),
            max_fee_wei=self.base_fee_wei * 2,
            gas=gas or 8_000_000,
            to=to,
            value_wei=value_wei,
            data=data,
        )
        return self.submit(signed.raw)

    def _require_acceptable(self, tx: SignedTransaction) -> None:
        if tx.hash in self._pool:
            raise TransactionRefused("already known")
        if tx.chain_id is None:
            raise TransactionRefused("only replay-protected (EIP-155) transactions allowed over RPC")
        if tx.chain_id != self.chain_id:
            raise TransactionRefused(f"invalid chain id for signer: have {tx.chain_id} want {self.chain_id}")
        sender = f"address 0x{tx.sender.hex()}"
        if tx.max_priority_fee_wei > tx.max_fee_wei:
            fees = f"maxPriorityFeePerGas: {tx.max_priority_fee_wei}, maxFeePerGas: {tx.max_fee_wei}"
            raise TransactionRefused(f"max priority fee per gas higher than max fee per gas: {sender}, {fees}")
        if tx.max_fee_wei < self.base_fee_wei:
            fees = f"maxFeePerGas: {tx.max_fee_wei}, baseFee: {self.base_fee_wei}"
            raise TransactionRefused(f"max fee per gas less than block base fee: {sender}, {fees}")
        if tx.gas > TRANSACTION_GAS_LIMIT:
            raise TransactionRefused("exceeds block gas limit")
        minimum = intrinsic_gas(_call_of(tx, self.base_fee_wei))
        if tx.gas < minimum:
            raise TransactionRefused(f"intrinsic gas too low: gas {tx.gas}, minimum needed {minimum}")
        nonce = self.nonce(tx.sender)
        if tx.nonce < nonce:
            raise TransactionRefused(f"nonce too low: next nonce {nonce}, tx nonce {tx.nonce}")
        balance = self.balance(tx.sender)
        if balance < tx.cost_wei:
            figures = f"balance {balance}, tx cost {tx.cost_wei}, overshot {tx.cost_wei - balance}"
            raise TransactionRefused(f"insufficient funds for gas * price + value: {figures}")

    # Blocks

    def mine(self, *, with_pool: bool = True, extra_data: bytes = b"", timestamp_seconds: int = 0) -> Header:
        """One block: every transaction of the pool that can run now, or none. Several may share a second."""
        parent = self.head
        number = parent.number + 1
        timestamp = max(parent.timestamp_seconds, timestamp_seconds or self.now_seconds())
        world = World(self.store.latest.get, self._context(number, timestamp, self.base_fee_wei))
        mined, dropped = self._run_pool(world) if with_pool else ([], [])
        logs = [log for item in mined for log in item.logs]
        header = Header(
            number=number,
            parent_hash=parent.hash,
            state_root=_next_state_root(parent.state_root, world.changes),
            transactions_root=digest_of(item.transaction.hash for item in mined),
            receipts_root=digest_of(
                item.transaction.hash + bytes([item.succeeded]) + item.gas_used.to_bytes(8, "big") for item in mined
            ),
            logs_bloom=bloom(logs) if logs else EMPTY_BLOOM,
            timestamp_seconds=timestamp,
            gas_used=sum(item.gas_used for item in mined),
            base_fee_wei=self.base_fee_wei,
            extra_data=extra_data,
        )
        done = [item.transaction.hash for item in mined] + dropped
        with self.store.commit():
            self.store.append(header, mined, world.changes)
            self.store.remove_from_pool(done)
        for transaction_hash in done:
            del self._pool[transaction_hash]
        self._move_head(header)
        return header

    def mine_empty(self, count: int) -> None:
        """Many empty blocks in one commit."""
        with self.store.commit():
            for _ in range(count):
                self.mine(with_pool=False)

    def _move_head(self, header: Header) -> None:
        self.head = header
        self._calls.clear()

    def _run_pool(self, world: World) -> tuple[list[MinedTransaction], list[bytes]]:
        """In order of arrival, as far as nonces allow; a sender that can no longer pay loses its transaction."""
        mined: list[MinedTransaction] = []
        dropped: list[bytes] = []
        waiting = list(self._pool.values())
        while waiting:
            later = []
            for transaction in waiting:
                sender = Address(transaction.sender)
                if transaction.nonce > world.get_nonce(sender) or transaction.max_fee_wei < self.base_fee_wei:
                    later.append(transaction)
                elif transaction.nonce < world.get_nonce(sender) or world.get_balance(sender) < transaction.cost_wei:
                    dropped.append(transaction.hash)
                else:
                    mined.append(self._run_transaction(world, transaction, mined))
            if len(later) == len(waiting):
                break
            waiting = later
        return mined, dropped

    def _run_transaction(
        self, world: World, transaction: SignedTransaction, before: list[MinedTransaction]
    ) -> MinedTransaction:
        outcome = transact(world, _call_of(transaction, self.base_fee_wei))
        last = before[-1] if before else None
        return MinedTransaction(
            transaction=transaction,
            index=len(before),
            succeeded=outcome.error is None,
            gas_used=outcome.gas_used,
            cumulative_gas_used=outcome.gas_used + (last.cumulative_gas_used if last else 0),
            gas_price_wei=self.base_fee_wei,
            created=outcome.created,
            logs=outcome.logs,
            first_log_index=last.first_log_index + len(last.logs) if last else 0,
        )

    def _context(self, number: int, timestamp_seconds: int, base_fee_wei: int) -> ExecutionContext:
        return ExecutionContext(
            coinbase=Address(NO_ADDRESS),
            timestamp=timestamp_seconds,
            block_number=BlockNumber(number),
            difficulty=0,
            mix_hash=Hash32(bytes(32)),
            gas_limit=BLOCK_GAS_LIMIT,
            prev_hashes=self.store.hashes_below(number),
            chain_id=self.chain_id,
            base_fee_per_gas=base_fee_wei,
            excess_blob_gas=0,
        )

    # Rewriting the past

    def reorg(self, depth: int) -> None:
        """Replace the last `depth` blocks by as many others at the same times, without their transactions."""
        assert 0 < depth <= self.head.number
        replaced = [self.store.header(self.head.number - back) for back in range(depth - 1, -1, -1)]
        times = [header.timestamp_seconds for header in replaced if header is not None]
        with self.store.commit():
            self._truncate(self.head.number - depth)
            for timestamp in times:
                self.mine(with_pool=False, extra_data=b"reorg" + token_bytes(8), timestamp_seconds=timestamp)

    def _truncate(self, last_block: int) -> None:
        self.store.truncate(last_block)
        header = self.store.head()
        assert header is not None
        self._move_head(header)

    def snapshot(self) -> int:
        identity = max(self._snapshots, default=0) + 1
        self._snapshots[identity] = (self.head.number, self.clock_offset_seconds)
        return identity

    def revert(self, identity: int) -> None:
        """Back to a snapshot, which is used up; waiting transactions are forgotten. Raises UnknownSnapshot."""
        if identity not in self._snapshots:
            raise UnknownSnapshot
        block, clock_offset = self._snapshots[identity]
        self._snapshots = {key: value for key, value in self._snapshots.items() if key < identity}
        with self.store.commit():
            self._truncate(block)
            self.store.remove_from_pool(list(self._pool))
            self.increase_time(clock_offset - self.clock_offset_seconds)
        self._pool.clear()

    def set_value(self, key: bytes, value: Value) -> None:
        """Change the state by hand, as of the newest block (a new one when a snapshot holds the newest)."""
        if any(block == self.head.number for block, _ in self._snapshots.values()):
            self.mine(with_pool=False)
        self.store.put_state(key, self.head.number, value)
        self._calls.clear()

    # Reading

    def reader(self, block: int) -> Reader:
        return self.store.latest.get if block >= self.head.number else partial(self._value_at, block)

    def _value_at(self, block: int, key: bytes) -> Value | None:
        return self.store.state_at(key, block)

    def balance(self, address: bytes) -> int:
        balance = self.store.latest.get(address + BALANCE, 0)
        assert isinstance(balance, int)
        return balance

    def call(self, call: Call, header: Header, *, pending: bool = False) -> Outcome:
        """Run a message on the state after a block, in that block's surroundings (the next one's if pending)."""
        key = (header.number, pending, call)
        known = self._calls.get(key)
        if known is not None:
            return known
        number = header.number + 1 if pending else header.number
        timestamp = self.now_seconds() if pending else header.timestamp_seconds
        context = self._context(number, timestamp, header.base_fee_wei)
        outcome = simulate(World(self.reader(header.number), context), call)
        if len(self._calls) >= CACHED_CALLS:
            self._calls.clear()
        self._calls[key] = outcome
        return outcome

    def close(self) -> None:
        self.store.close()


def _same_place(one: SignedTransaction, other: SignedTransaction) -> bool:
    return one.sender == other.sender and one.nonce == other.nonce


def _require_better_price(rival: SignedTransaction, transaction: SignedTransaction) -> None:
    """A replacement must raise both fees by a tenth."""
    for old, new in (
        (rival.max_fee_wei, transaction.max_fee_wei),
        (rival.max_priority_fee_wei, transaction.max_priority_fee_wei),
    ):
        if new * 100 < old * (100 + REPLACEMENT_BUMP_PERCENT):
            raise TransactionRefused("replacement transaction underpriced")


def _call_of(transaction: SignedTransaction, base_fee_wei: int) -> Call:
    return Call(
        sender=transaction.sender,
        to=transaction.to,
        data=transaction.data,
        value_wei=transaction.value_wei,
        gas=transaction.gas,
        gas_price_wei=base_fee_wei,
        access_list=transaction.access_list,
    )


def _next_state_root(parent_root: bytes, changes: dict[bytes, Value]) -> bytes:
    if not changes:
        return parent_root
    rows = (
        key + (value if isinstance(value, bytes) else value.to_bytes(32, "big"))
        for key, value in sorted(changes.items())
    )
    return digest_of((parent_root, *rows))
