"""Which sender nonce comes next: a guess that is right while one process signs for an offer, judged at the commit."""

from collections import OrderedDict

_MOST_KNOWN = 20_000


class Nonces:
    """The last nonce of each sender and recipient rand hash: what was committed, and what waits for its commit.

    Payments that wait in line take rising nonces, so that all of them fit behind each other. The database
    has the last word: it takes a nonce only above the highest that a payment of theirs has in those rounds.
    """

    def __init__(self) -> None:
        self._committed: OrderedDict[bytes, int] = OrderedDict()
        # How many payments wait, and the highest of their nonces.
        self._reserved: dict[bytes, tuple[int, int]] = {}

    def last(self, rand_hash: bytes) -> int:
        """The highest nonce known to be used or reserved; 0 when none is."""
        reserved = self._reserved.get(rand_hash)
        committed = self._committed.get(rand_hash, 0)
        return max(committed, reserved[1]) if reserved else committed

    def learn(self, rand_hash: bytes, last_nonce: int) -> None:
        """Take note of a nonce that was committed, here or elsewhere."""
        known = self._committed.get(rand_hash)
        self._committed[rand_hash] = last_nonce if known is None else max(last_nonce, known)
        if known is not None:
            self._committed.move_to_end(rand_hash)
        elif len(self._committed) > _MOST_KNOWN:
            self._committed.popitem(last=False)

    def reserve(self, rand_hash: bytes, last_nonce: int) -> None:
        payments, highest = self._reserved.get(rand_hash, (0, 0))
        self._reserved[rand_hash] = payments + 1, max(highest, last_nonce)

    def release(self, rand_hash: bytes) -> None:
        """One payment is answered; when none waits any more, only what was committed counts."""
        payments, highest = self._reserved.pop(rand_hash)
        if payments > 1:
            self._reserved[rand_hash] = payments - 1, highest
