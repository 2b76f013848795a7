"""The accounts of the chain as the EVM sees them: an overlay of changes, with undo, over a stored past."""

from collections.abc import Callable
from itertools import count
from typing import Any

from eth.typing import JournalDBCheckpoint
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun.state import CancunState
from eth_typing import Address, Hash32

from sandbox.chain.encoding import keccak

type Value = int | bytes
type Reader = Callable[[bytes], Value | None]
type Snapshot = tuple[Hash32, JournalDBCheckpoint]

BALANCE, NONCE, CODE, SLOT = b"b", b"n", b"c", b"s"
EMPTY_CODE_HASH = Hash32(keccak(b""))

_MISSING = object()
_checkpoint_ids = count(1)


def slot_key(address: bytes, slot: int) -> bytes:
    return address + SLOT + slot.to_bytes(32, "big")


class World(CancunState):
    """Reads through to `read` and keeps every write in `changes` (key -> value) until the caller stores them.

    Keys are address + kind [+ slot]; values are integers, for code bytes. The opcodes' view of the state is
    py-evm's; its trie is replaced by dictionaries, so no state root is ever computed.
    """

    def __init__(self, read: Reader, context: ExecutionContext) -> None:
        self.execution_context = context
        self.read = read
        self.changes: dict[bytes, Value] = {}
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []
        self._checkpoints: dict[int, int] = {}
        self.begin_transaction()

    def begin_transaction(self) -> None:
        """Forget what lives inside one transaction only: undo, warmth, transient slots, original slot values."""
        self._undo.clear()
        self._original: dict[bytes, int] = {}
        self._warm: dict[tuple[bytes, int], bool] = {}
        self._transient: dict[tuple[bytes, int], bytes] = {}

    # Undo: every write remembers what stood in its place.

    def _write(self, where: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((where, key, where.get(key, _MISSING)))
        where[key] = value

    def snapshot(self) -> Snapshot:
        checkpoint = next(_checkpoint_ids)
        self._checkpoints[checkpoint] = len(self._undo)
        return Hash32(b""), JournalDBCheckpoint(checkpoint)

    def revert(self, snapshot: Snapshot) -> None:
        length = self._checkpoints.pop(snapshot[1])
        while len(self._undo) > length:
            where, key, value = self._undo.pop()
            if value is _MISSING:
                del where[key]
            else:
                where[key] = value

    def commit(self, snapshot: Snapshot) -> None:
        del self._checkpoints[snapshot[1]]

    # Balances, nonces, code

    def _number(self, key: bytes) -> int:
        value = self.changes.get(key)
        if value is None:
            value = self.read(key)
        return value if isinstance(value, int) else 0

    def get_balance(self, address: Address) -> int:
        return self._number(address + BALANCE)

    def set_balance(self, address: Address, balance: int) -> None:
        self._write(self.changes, address + BALANCE, balance)

    def get_nonce(self, address: Address) -> int:
        return self._number(address + NONCE)

    def set_nonce(self, address: Address, nonce: int) -> None:
        self._write(self.changes, address + NONCE, nonce)

    def increment_nonce(self, address: Address) -> None:
        self.set_nonce(address, self.get_nonce(address) + 1)

    def get_code(self, address: Address) -> bytes:
        value = self.changes.get(address + CODE)
        if value is None:
            value = self.read(address + CODE)
        return value if isinstance(value, bytes) else b""

    def set_code(self, address: Address, code: bytes) -> None:
        self._write(self.changes, address + CODE, code)

    def delete_code(self, address: Address) -> None:
        self.set_code(address, b"")

    def get_code_hash(self, address: Address) -> Hash32:
        if self.account_is_empty(address):
            return Hash32(bytes(32))
        code = self.get_code(address)
        return Hash32(keccak(code)) if code else EMPTY_CODE_HASH

    def has_code_or_nonce(self, address: Address) -> bool:
        return bool(self.get_nonce(address) or self.get_code(address))

    def account_is_empty(self, address: Address) -> bool:
        return not (self.get_balance(address) or self.has_code_or_nonce(address))

    def account_exists(self, address: Address) -> bool:
        return not self.account_is_empty(address)

    def touch_account(self, address: Address) -> None:
        """Empty accounts are not kept, so there is nothing to touch."""

    def delete_account(self, address: Address) -> None:
        self.set_balance(address, 0)
        self.set_nonce(address, 0)
        self.delete_code(address)
        self.delete_storage(address)

    # Storage

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        key = slot_key(address, slot)
        if not from_journal and key in self._original:
            return self._original[key]
        return self._number(key)

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        key = slot_key(address, slot)
        if key not in self._original:
            self._original[key] = self._number(key)
        self._write(self.changes, key, value)

    def delete_storage(self, address: Address) -> None:
        """Since Cancun only contracts born in the same transaction lose storage, and that is all in `changes`."""
        prefix = address + SLOT
        for key in [key for key in self.changes if key.startswith(prefix)]:
            self._write(self.changes, key, 0)

    def get_transient_storage(self, address: Address, slot: int) -> bytes:
        return self._transient.get((address, slot), b"")

    def set_transient_storage(self, address: Address, slot: int, value: bytes) -> None:
        self._write(self._transient, (address, slot), value)

    # Warm and cold (EIP-2929); slot -1 stands for the account itself

    def is_storage_warm(self, address: Address, slot: int) -> bool:
        return (address, slot) in self._warm

    def mark_storage_warm(self, address: Address, slot: int) -> None:
        if (address, slot) not in self._warm:
            self._write(self._warm, (address, slot), True)

    def is_address_warm(self, address: Address) -> bool:
        return (address, -1) in self._warm or address in self.computation_class.get_precompiles()

    def mark_address_warm(self, address: Address) -> None:
        self.mark_storage_warm(address, -1)
