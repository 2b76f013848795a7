"""What was refused whom or charged anew, counted here and written now and then, for the customers' own page."""

import json

from signing.signer.database import Database
from signing.signer.refusals import Refused

_MOST_KINDS = 5_000
_TOLD = {402, 403, 429, 481}
CHARGED_ANEW = "charged_anew"
_CHARGED_ANEW_TEXT = (
    "not refused, but charged once more: an answer was lost, and its tickets had expired or fitted no longer when the"
    " gateway asked again"
)
_NOTE = "SELECT signing_note_refusals(%s::jsonb)"


class RefusalNotes:
    """Counts by customer and code; beyond a few thousand kinds between two writings nothing more is noted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[tuple[int, str], int] = {}
        self._messages: dict[tuple[int, str], str] = {}

    def note(self, customer_id: int, refused: Refused) -> None:
        """Remembers what the customer can do something about; a shortage of ours and a refresh are none of it."""
        if refused.status in _TOLD:
            self._count(customer_id, refused.code, refused.message)

    def charged_anew(self, customer_id: int) -> None:
        """Remembers a payment that was made again because the first one could no longer be answered with."""
        self._count(customer_id, CHARGED_ANEW, _CHARGED_ANEW_TEXT)

    def _count(self, customer_id: int, code: str, message: str) -> None:
        kind = (customer_id, code)
        if kind in self._counts or len(self._counts) < _MOST_KINDS:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._messages[kind] = message

    async def write(self) -> None:
        """Raises DatabaseUnavailable; then it is tried again with the next ones."""
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        messages, self._messages = self._messages, {}
        rows = [
            {"customer": customer, "code": code, "message": messages[customer, code], "count": count}
            for (customer, code), count in counts.items()
        ]
        try:
            await self._database.fetch(_NOTE, [json.dumps(rows)])
        except BaseException:
            for kind, count in counts.items():
                self._counts[kind] = self._counts.get(kind, 0) + count
                self._messages.setdefault(kind, messages[kind])
            raise
