"""What a payment may cost and what is added to it: price ceilings and markups, each from its moment on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from signing.pm import ceilings, price_list
from signing.pm.price_list import Ceiling, PriceList, Subject
from signing.pm.wire import PaymentRequest
from signing.signer.authentication import Caller
from signing.signer.database import Database
from signing.signer.fresh import Fresh

# Both tables are append-only: while they hold as many rows as before, they hold the same.
_COUNTS = "SELECT (SELECT count(*) FROM signing_priceceiling), (SELECT count(*) FROM billing_markup)"
_CEILINGS = """
    SELECT scope, coalesce(capability, customer_id, api_key_id, 0), model, unit, limit_wei, limit_nano_usd, per_units,
           (extract(epoch FROM valid_from) * 1000000)::bigint
    FROM signing_priceceiling ORDER BY id
"""
_MARKUPS = """
    SELECT customer_id, bps, (extract(epoch FROM valid_from) * 1000000)::bigint
    FROM billing_markup ORDER BY valid_from DESC, id DESC
"""

# Of one customer, or of None for all without their own: (in force from, basis points), the newest first.
type Markups = Mapping[int | None, Sequence[tuple[int, int | None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Everything that was read, and how many rows it was."""

    counts: tuple[int, int] = (0, 0)
    prices: PriceList
    markups: Markups = field(default_factory=dict)


class PriceRules:
    """Ceilings and markups in memory. The settings' own hold while there is no row for everything."""

    def __init__(self, database: Database, *, max_price_per_unit: Fraction, markup_bps: int) -> None:
        self._database = database
        self._max_price_per_unit = max_price_per_unit
        self._markup_bps = markup_bps
        self._only_configured = ((ceilings.CONFIGURED_CEILING, max_price_per_unit or None),)
        empty = _Known(prices=PriceList(fallback=max_price_per_unit))
        self._fresh = Fresh(self._read, empty=empty)
        self.renew = self._fresh.renew
        self.is_young = self._fresh.is_young

    async def refresh(self) -> None:
        """Makes sure that what is known is a second old at most. Raises DatabaseUnavailable."""
        await self._fresh.get()

    def markup_bps(self, customer_id: int, *, now_ns: int) -> int:
        """The customer's own markup, else the default, else the setting."""
        markups = self._fresh.last.markups
        for whose in (customer_id, None) if markups else ():
            own = next((bps for since, bps in markups.get(whose, ()) if since * 1000 <= now_ns), None)
            if own is not None:
                return own
        return self._markup_bps

    def operator_ceiling(
        self, models: Iterable[tuple[int, str]], kind: str, *, now_ns: int, nano_usd_per_eth: int
    ) -> Fraction | None:
        """The most the operator lets anybody ask for a unit of such work, in wei; None for any."""
        prices = self._fresh.last.prices
        return prices.configured(models, kind, now_us=now_ns // 1000, nano_usd_per_eth=nano_usd_per_eth)

    def ceilings(
        self, caller: Caller, request: PaymentRequest, *, now_ns: int, nano_usd_per_eth: int
    ) -> tuple[tuple[str, Fraction | None], ...]:
        """The operator's, the customer's and the key's ceiling for this request, each with its name."""
        prices = self._fresh.last.prices
        if prices.is_empty:
            return self._only_configured
        given = {"now_us": now_ns // 1000, "nano_usd_per_eth": nano_usd_per_eth}
        return (
            (ceilings.CONFIGURED_CEILING, prices.configured(request.models, request.kind, **given)),
            (ceilings.CUSTOMER_CEILING, prices.of(price_list.customer(caller.customer_id), request.kind, **given)),
            (ceilings.KEY_CEILING, prices.of(price_list.api_key(caller.api_key_id), request.kind, **given)),
        )

    async def _read(self) -> _Known:
        counted = (await self._database.fetch(_COUNTS))[0]
        counts = (int(counted[0]), int(counted[1]))
        if counts == self._fresh.last.counts:
            return self._fresh.last
        rows = await self._database.fetch(_CEILINGS)
        markups: dict[int | None, list[tuple[int, int | None]]] = {}
        for customer_id, bps, since in await self._database.fetch(_MARKUPS):
            markups.setdefault(customer_id, []).append((int(since), bps))
        prices = PriceList(map(_ceiling, rows), fallback=self._max_price_per_unit)
        return _Known(counts=counts, prices=prices, markups=markups)


def _ceiling(row: tuple[Any, ...]) -> tuple[Subject, str, Ceiling]:
    scope, subject, model, unit, limit_wei, limit_nano_usd, per_units, from_us = row
    ceiling = Ceiling(
        limit_wei=None if limit_wei is None else int(limit_wei),
        limit_nano_usd=limit_nano_usd,
        per_units=per_units,
        from_us=from_us,
    )
    return (scope, subject, model), unit, ceiling
