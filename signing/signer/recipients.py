"""Who may be paid: the operator's policy, registered orchestrators, and addresses staff listed, blocked or stopped."""

from collections.abc import Mapping

from signing.pm.state import address_text
from signing.signer.database import Database
from signing.signer.fresh import Fresh
from signing.signer.refusals import Refused

# Of one address the later row counts: a stop comes before what staff wrote on the list.
_STANDINGS = """
    SELECT lower(address), standing FROM signing_recipient
    UNION ALL SELECT subject, 'stopped' FROM signing_stop WHERE scope = 'recipient' AND lifted_at IS NULL
"""


class Recipients:
    """The operator's list, read again once a second while payments come."""

    def __init__(self, database: Database, policy: str) -> None:
        self.policy = policy
        self._database = database
        self._fresh: Fresh[Mapping[str, str]] = Fresh(self._read, empty={})

    async def check(self, recipient: bytes, registered: frozenset[bytes]) -> None:
        """Raises Refused (403) for a recipient that may not be paid, or DatabaseUnavailable."""
        standing = (await self._fresh.get()).get(address_text(recipient))
        if standing == "stopped":
            raise Refused(403, "recipient_stopped", "the operator stopped payments to the ticket's recipient")
        if standing == "blocked":
            raise Refused(403, "recipient_blocked", "the ticket's recipient is blocked")
        if self.policy == "listed" and standing != "listed":
            raise Refused(403, "recipient_not_listed", "the ticket's recipient is not listed")
        if self.policy == "registered" and recipient not in registered:
            raise Refused(
                403, "recipient_not_registered", "the ticket's recipient is no active registered orchestrator"
            )

    async def _read(self) -> Mapping[str, str]:
        rows = await self._database.fetch(_STANDINGS)
        return {str(address): str(standing) for address, standing in rows}
