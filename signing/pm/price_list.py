"""The operator's, customers' and keys' highest prices: which of them holds for a request, in wei per unit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

WEI_PER_ETH = 10**18

type Subject = tuple[str, int, str]

GLOBAL: Subject = ("global", 0, "")
_UNITS = {"": "pixel", "lv2v": "pixel", "live": "second", "fixed": "job"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """A highest price for `per_units` units, in wei or in nano-dollars; in neither it is none.

    `from_us` is when it came into force, in Unix microseconds.
    """

    limit_wei: int | None
    limit_nano_usd: int | None
    per_units: int
    from_us: int

    def wei_per_unit(self, nano_usd_per_eth: int) -> Fraction | None:
        """Exact, dollars at the given rate; None where there is no limit."""
        if self.limit_wei is not None:
            return Fraction(self.limit_wei, self.per_units)
        if self.limit_nano_usd is not None:
            return Fraction(self.limit_nano_usd * WEI_PER_ETH, nano_usd_per_eth * self.per_units)
        return None


def capability(number: int, model: str = "") -> Subject:
    """A model of a capability; without a model, all of its models that have no price of their own."""
    return ("capability", number, model)


def customer(number: int) -> Subject:
    return ("customer", number, "")


def api_key(number: int) -> Subject:
    return ("api_key", number, "")


class PriceList:
    """Ceilings by subject and unit ('pixel', 'second', 'job'), each with those that it followed.

    `fallback` is wei for one unit of any kind, where nothing else holds for everything; 0 for any price.
    """

    def __init__(self, rows: Iterable[tuple[Subject, str, Ceiling]] = (), *, fallback: Fraction = Fraction(0)) -> None:
        """`rows` in the order they were written: of two that come into force together the later one counts."""
        self._fallback = fallback or None
        histories: dict[tuple[Subject, str], list[Ceiling]] = {}
        for subject, unit, ceiling in rows:
            histories.setdefault((subject, unit), []).insert(0, ceiling)
        for history in histories.values():
            history.sort(key=lambda ceiling: -ceiling.from_us)
        self._histories: Mapping[tuple[Subject, str], Sequence[Ceiling]] = histories

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the fallback is in it."""
        return not self._histories

    def of(self, subject: Subject, kind: str, *, now_us: int, nano_usd_per_eth: int) -> Fraction | None:
        """The subject's own ceiling for work of this kind, in wei per unit; None without one."""
        if not self._histories:
            return None
        history = self._histories.get((subject, _UNITS.get(kind, "")), ())
        ceiling = next((each for each in history if each.from_us <= now_us), None)
        return ceiling.wei_per_unit(nano_usd_per_eth) if ceiling else None

    def configured(
        self, models: Iterable[tuple[int, str]], kind: str, *, now_us: int, nano_usd_per_eth: int
    ) -> Fraction | None:
        """The operator's ceiling: the sum over the request's (capability, model) pairs, or else that for everything.

        A model without a ceiling of its own counts with its capability's, and with 0 without either. Where the
        sum is not 0 it stands in place of the one for everything, also above it.
        """
        if not self._histories:
            return self._fallback
        given = {"now_us": now_us, "nano_usd_per_eth": nano_usd_per_eth}
        sum_wei = Fraction(0)
        for number, model in models:
            own = self.of(capability(number, model), kind, **given)
            sum_wei += own or self.of(capability(number), kind, **given) or 0
        if sum_wei:
            return sum_wei
        of_all = self.of(GLOBAL, kind, **given)
        return self._fallback if of_all is None else of_all
