"""Which sender nonce comes next: a guess that is right while one process signs for an offer, judged at the commit."""

from collections import OrderedDict
from dataclasses import dataclass

_MOST_KNOWN = 20_000


@dataclass(slots=True)
class _Reserved:
    payments: int
    last_nonce: int


class Nonces:
    """The last nonce of each recipient rand hash: what was committed, and what waits for its commit.

    Payments that wait in line take rising nonces, so that all of them fit behind each other. The database
    has the last word: it takes a nonce only above its own counter.
    """

    def __init__(self) -> None:
        self._committed: OrderedDict[bytes, int] = OrderedDict()
        self._reserved: dict[bytes, _Reserved] = {}

    def last(self, rand_hash: bytes) -> int:
        """The highest nonce known to be used or reserved; 0 when none is."""
        reserved = self._reserved.get(rand_hash)
        committed = self._committed.get(rand_hash, 0)
        return max(committed, reserved.last_nonce) if reserved else committed

    def learn(self, rand_hash: bytes, last_nonce: int) -> None:
        """Take note of a nonce that was committed, here or elsewhere."""
        self._committed[rand_hash] = max(last_nonce, self._committed.get(rand_hash, 0))
        self._committed.move_to_end(rand_hash)
        if len(self._committed) > _MOST_KNOWN:
            self._committed.popitem(last=False)

    def reserve(self, rand_hash: bytes, last_nonce: int) -> None:
        reserved = self._reserved.setdefault(rand_hash, _Reserved(0, 0))
        reserved.payments += 1
        reserved.last_nonce = max(reserved.last_nonce, last_nonce)

    def release(self, rand_hash: bytes) -> None:
        """One payment is answered; when none waits any more, only what was committed counts."""
        reserved = self._reserved[rand_hash]
        reserved.payments -= 1
        if not reserved.payments:
            del self._reserved[rand_hash]
