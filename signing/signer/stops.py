"""The kill switches: what staff stopped is not signed, in every process within a second."""

from signing.pm.state import address_text
from signing.signer.authentication import Caller
from signing.signer.database import Database
from signing.signer.fresh import Fresh
from signing.signer.refusals import Refused, Unavailable

# Stopped recipients are the list of recipients' business: nobody should be shown them either.
_STANDING = "SELECT scope, subject FROM signing_stop WHERE lifted_at IS NULL AND scope <> 'recipient'"

type Stopped = frozenset[tuple[str, str]]


class Stops:
    """What stands stopped, as of a second ago at most."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fresh: Fresh[Stopped] = Fresh(self._read, empty=frozenset())
        self.keep = self._fresh.keep
        self.is_young = self._fresh.is_young

    async def refresh(self) -> None:
        """Makes sure that what is known is a second old at most. Raises DatabaseUnavailable."""
        await self._fresh.get()

    def check(self, caller: Caller, *, sender: bytes) -> None:
        """Raises Refused where somebody stopped a part of this payment, as far as is known.

        What is ours to repair is 503: sessions live through it. Those of customers and keys end on purpose.
        """
        stopped = self._fresh.last
        if not stopped:
            return
        if ("all", "") in stopped:
            raise Unavailable("signing_stopped", "the operator stopped all signing for now, try again later")
        if ("customer", str(caller.customer_id)) in stopped:
            raise Refused(402, "account_frozen", "the operator stopped payments of this account")
        if ("api_key", str(caller.api_key_id)) in stopped:
            raise Refused(402, "account_frozen", "the operator stopped payments with this API key")
        if ("sender", address_text(sender)) in stopped:
            raise Unavailable("signing_stopped", "the operator stopped the account's sender for now, try again later")

    async def _read(self) -> Stopped:
        rows = await self._database.fetch(_STANDING)
        return frozenset((str(scope), str(subject)) for scope, subject in rows)
