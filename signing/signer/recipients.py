"""Who may be paid: the operator's policy, registered orchestrators, and what staff ruled or stopped."""

from collections.abc import Mapping

from signing.chain.view import ChainView
from signing.pm.state import address_text
from signing.signer.database import Database
from signing.signer.fresh import Fresh
from signing.signer.refusals import Refused, Unavailable

_STANDINGS = """
    SELECT address, standing FROM signing_recipientrule WHERE lifted_at IS NULL
    UNION ALL SELECT subject, 'stopped' FROM signing_stop WHERE scope = 'recipient' AND lifted_at IS NULL
"""
# Lists of sanctions are long. Rows are only added, and lifted once: while these numbers stand, so does the rest.
_COUNTS = """
    SELECT count(*), count(lifted_at), (SELECT count(*) FROM signing_stop), (SELECT count(lifted_at) FROM signing_stop)
    FROM signing_recipientrule
"""
# The strictest first: of several that hold for one address it is told.
_REFUSALS = (
    ("stopped", "recipient_stopped", "the operator stopped payments to the ticket's recipient"),
    ("sanctioned", "recipient_sanctioned", "the ticket's recipient is on a list of sanctions, nobody may pay it"),
    ("frozen", "recipient_frozen", "the operator froze payments to the ticket's recipient"),
)

_NONE: frozenset[str] = frozenset()

type Standings = Mapping[str, frozenset[str]]


class Recipients:
    """The operator's rules, read again once a second while payments come."""

    def __init__(self, database: Database, policy: str) -> None:
        self.policy = policy
        self._database = database
        self._counts: tuple[int, ...] = ()
        self._fresh: Fresh[Standings] = Fresh(self._read, empty={})
        self.keep = self._fresh.keep
        self.is_young = self._fresh.is_young

    async def refresh(self) -> None:
        """Makes sure that what is known is a second old at most. Raises DatabaseUnavailable."""
        await self._fresh.get()

    def check(self, recipient: bytes, view: ChainView) -> None:
        """Raises Refused for a recipient that may not be paid, as far as is known.

        403, or 503 (`roster_stale`) where the roster is too old to tell that nobody registered it.
        """
        known = self._fresh.last
        standings = known.get(address_text(recipient), _NONE) if known else _NONE
        for standing, code, message in _REFUSALS if standings else ():
            if standing in standings:
                raise Refused(403, code, message)
        if self.policy == "listed" and "listed" not in standings:
            raise Refused(403, "recipient_not_listed", "the ticket's recipient is not listed")
        if self.policy == "registered" and recipient not in view.active_recipients:
            if view.roster_is_old:
                raise Unavailable(
                    "roster_stale", "the roster is too old to tell whether the ticket's recipient is active"
                )
            raise Refused(
                403, "recipient_not_registered", "the ticket's recipient is no active registered orchestrator"
            )

    def check_roster(self, view: ChainView) -> None:
        """Raises Unavailable when the roster is so old that nobody could be paid."""
        if self.policy == "registered" and view.roster_is_old and not view.active_recipients:
            raise Unavailable("roster_stale", "nobody knows any more which orchestrators are active")

    def standings(self, address: str) -> frozenset[str]:
        """What was ruled about a lower-case address, as last read."""
        return self._fresh.last.get(address, frozenset())

    async def _read(self) -> Standings:
        counts = (await self._database.fetch(_COUNTS))[0]
        if counts == self._counts:
            return self._fresh.last
        found: dict[str, set[str]] = {}
        for address, standing in await self._database.fetch(_STANDINGS):
            found.setdefault(str(address), set()).add(str(standing))
        self._counts = counts
        return {address: frozenset(standings) for address, standings in found.items()}
