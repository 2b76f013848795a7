"""The recorded ETH/USD rates: each answer of the price feed is a row before the first charge that uses it."""

import asyncio

from signing.chain.price_feed import Rate
from signing.signer.database import Database

_RECORD = "SELECT billing_record_rate(%s, %s, %s, %s)"


class Rates:
    """The row id of the feed's newest answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recorded: tuple[Rate, int] | None = None
        self._one_at_a_time = asyncio.Lock()

    def known_row_of(self, rate: Rate) -> int | None:
        """The id of the rate's row, where it is the one that was written last."""
        recorded = self._recorded
        return recorded[1] if recorded and (recorded[0] is rate or recorded[0] == rate) else None

    async def row_of(self, rate: Rate) -> int:
        """The id of the rate's row, written when it is new. Raises DatabaseUnavailable."""
        if self._recorded and self._recorded[0] == rate:
            return self._recorded[1]
        async with self._one_at_a_time:
            if self._recorded and self._recorded[0] == rate:
                return self._recorded[1]
            rows = await self._database.fetch(
                _RECORD, [rate.feed_address, rate.feed_round, rate.nano_usd_per_eth, rate.updated_at]
            )
            row_id = int(rows[0][0])
            self._recorded = (rate, row_id)
            return row_id
