"""How often somebody may come: token buckets in the memory of this process, never more of them than a fixed number."""

import time
from collections import OrderedDict
from collections.abc import Hashable

_MOST_REMEMBERED = 20_000


class Buckets[Name: Hashable]:
    """One bucket a name, of `burst` tokens that come back at `per_second`; nothing is limited when that is 0.

    Of a bucket only the moment is kept at which it will be full again. When there are too many, the one that was
    touched longest ago is forgotten, which as a rule is full.
    """

    def __init__(self, *, per_second: float, burst: int, most: int = _MOST_REMEMBERED) -> None:
        self._seconds_a_token = 1 / per_second if per_second else 0.0
        self._burst = burst
        self._most = most
        self._full_at: OrderedDict[Name, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, name: Name) -> float:
        """Takes a token: 0.0; or takes none and says in how many seconds there is one."""
        if not self._seconds_a_token:
            return 0.0
        now = time.monotonic()
        full_at = max(self._full_at.get(name, now), now) + self._seconds_a_token
        too_early = full_at - now - self._burst * self._seconds_a_token
        if too_early > 1e-9:
            return too_early
        self._full_at[name] = full_at
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return 0.0

    def give_back(self, name: Name) -> None:
        """Undoes one `take`."""
        if name in self._full_at:
            self._full_at[name] -= self._seconds_a_token
