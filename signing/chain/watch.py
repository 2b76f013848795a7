"""Two threads that keep the newest view of the chain, so that no payment waits for an RPC."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from django.conf import settings

from signing.chain import ethereum, price_feed
from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.chain.roster import Roster, read_roster
from signing.chain.view import ChainView, read_view

log = logging.getLogger(__name__)

ROSTER_SECONDS = 60.0
# After a reading that failed: an endpoint that throttles bursts must not get the next one at once.
_ROSTER_PAUSES_IN_PERIOD = 6


class ChainWatch:
    """Reads the chain every few seconds between `start` and `stop`; `view` never blocks.

    The roster of orchestrators, hundreds of calls, has a thread of its own: it must not make the view old.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        sender: str,
        feed_address: str,
        refresh_seconds: float,
        max_age_seconds: float,
        rate_max_age_seconds: int,
        roster_seconds: float = ROSTER_SECONDS,
        other_senders: Sequence[str] = (),
    ) -> None:
        self._chain = chain
        self._sender = sender
        self._other_senders = other_senders
        self._feed_address = feed_address
        self._refresh_seconds = refresh_seconds
        self._max_age_seconds = max_age_seconds
        self._rate_max_age_seconds = rate_max_age_seconds
        self._roster_seconds = roster_seconds
        self._view: ChainView | None = None
        self._roster: Roster | None = None
        self._troubles = {"chain": "chain_unread", "roster of orchestrators": ""}
        self._stopped = threading.Event()
        self._roster_due = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="chain-watch", daemon=True),
            threading.Thread(target=self._run_roster, name="chain-roster", daemon=True),
        ]

    @classmethod
    def from_settings(cls, *, sender: str, other_senders: Sequence[str] = ()) -> "ChainWatch":
        """Raises ChainUnavailable when no RPC endpoint is configured."""
        return cls(
            ethereum.connect(),
            sender=sender,
            feed_address=settings.ETH_USD_FEED_ADDRESS,
            refresh_seconds=settings.CHAIN_REFRESH_SECONDS,
            max_age_seconds=settings.CHAIN_MAX_AGE_SECONDS,
            rate_max_age_seconds=settings.ETH_USD_MAX_AGE_SECONDS,
            other_senders=other_senders,
        )

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns once the threads have ended, which a slow endpoint can delay by its timeout."""
        self._stopped.set()
        self._roster_due.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._chain.close()

    def view(self) -> ChainView:
        """The newest view. Raises ChainUnavailable when there is none yet, or it or its rate is too old."""
        view = self._view
        if view is None:
            raise ChainUnavailable("chain_unread", f"the chain was not read yet ({self._troubles['chain']})")
        age = time.monotonic() - view.read_at_seconds
        if age > self._max_age_seconds:
            raise ChainUnavailable("chain_stale", f"the chain was last read {age:.0f} seconds ago")
        price_feed.check_age(view.rate, at=datetime.now(UTC), max_age_seconds=self._rate_max_age_seconds)
        return view

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._refresh()
            self._stopped.wait(self._refresh_seconds)

    def _run_roster(self) -> None:
        """Once the first roster stands, a newer one is read whenever the view says that one is due."""
        while not self._stopped.is_set():
            self._roster_due.wait()
            self._roster_due.clear()
            if self._roster is not None and not self._stopped.is_set():
                trouble = self._trouble_with(self._refresh_roster)
                self._report("roster of orchestrators", trouble)
                if trouble:
                    self._stopped.wait(self._roster_seconds / _ROSTER_PAUSES_IN_PERIOD)

    def _refresh(self) -> None:
        self._report("chain", self._trouble_with(self._refresh_view))

    def _refresh_roster(self) -> None:
        self._roster = read_roster(self._chain, self._roster)

    def _refresh_view(self) -> None:
        roster = self._roster
        if roster is None:
            roster = self._roster = read_roster(self._chain)
        self._view = view = read_view(
            self._chain,
            sender=self._sender,
            feed_address=self._feed_address,
            roster=roster,
            before=self._view,
            other_senders=self._other_senders,
        )
        if roster.is_due(current_round=view.current_round, max_age_seconds=self._roster_seconds):
            self._roster_due.set()

    def _trouble_with(self, read: Callable[[], None]) -> str:
        """A code, empty when it could be read. The threads must outlive whatever an endpoint invents."""
        try:
            read()
        except ChainUnavailable as error:
            return error.reason_code
        except Exception:
            log.exception("the chain could not be read")
            return "unexpected"
        return ""

    def _report(self, what: str, trouble: str) -> None:
        """One line when the trouble changes, not one every two seconds."""
        if trouble == self._troubles[what]:
            return
        if trouble:
            log.warning("the %s cannot be read: %s", what, trouble)
        else:
            log.info("the %s is being read", what)
        self._troubles[what] = trouble
