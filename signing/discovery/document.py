"""The list of orchestrators: who may stand on it, in which order, filtered, and as the JSON gateways read."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from urllib.parse import parse_qsl

from signing.discovery.offers import Capability, Info, Runner, runner_to_row

PIXELS_PER_SECOND = 1280 * 720 * 30  # what 720p-pixel-seconds are counted in
SECONDS_PER_HOUR = 3600
type Ceiling = Callable[[Sequence[tuple[int, str]], str], Fraction | None]
"""The most that may be asked for a unit of work, in wei, None for any: by (capability, model) pairs and job type."""

_JOB_TYPES = {"seconds": "live", "720p-pixel-seconds": "lv2v", "fixed": "fixed"}
_MOST_FILTER_VALUES = 64
_UNRANKED = 1_000_000


class BadFilter(ValueError):
    """The query has more values than anybody needs, or cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestrator:
    """What is known of one address; `info` is None and `runners` empty where nothing young enough is known."""

    address: str
    info: Info | None
    runners: tuple[Runner, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is sold through us.

    `registry` has (address, service URI) of the active set in stake order. `payable` are the recipients that the
    policy lets be paid, "" standing for one we do not know. `max_face_value_wei` is what the deposit covers, None
    while there is none: then nobody can be paid, whoever is listed.
    """

    registry: tuple[tuple[str, str], ...]
    payable: frozenset[str]
    ceiling: Ceiling
    max_ticket_ev_wei: Fraction
    max_face_value_wei: int | None

    def allow_tickets(self, info: Info) -> bool:
        """Whether a ticket as it is offered would be signed; one worth nothing is not held against the deposit."""
        if info.ticket_ev_wei > self.max_ticket_ev_wei:
            return False
        return (
            not info.ticket_ev_wei or self.max_face_value_wei is None or info.face_value_wei <= self.max_face_value_wei
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An orchestrator on the list, with what of its offers may be bought; `rank` is 0 for the largest stake."""

    address: str
    recipient: str
    rank: int
    price: Fraction | None
    capabilities: tuple[Capability, ...]
    runners: tuple[Runner, ...]

    @property
    def names(self) -> list[str]:
        """What it can do: capabilities, and the apps of its runners."""
        return sorted({each.name for each in self.capabilities} | {runner.app for runner in self.runners})


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """A gateway's wishes: OR within one, AND across them; empty ones wish nothing."""

    caps: frozenset[str] = frozenset()
    app: frozenset[str] = frozenset()
    gpu: frozenset[str] = frozenset()


def recipient_of(orchestrator: Orchestrator, registered_at: Mapping[str, str]) -> str:
    """Who is paid there: as it said itself, else whoever registered the address, else ""."""
    if orchestrator.info:
        return orchestrator.info.recipient
    return registered_at.get(orchestrator.address, "")


def entries(orchestrators: Sequence[Orchestrator], registered_at: Mapping[str, str], rules: Rules) -> list[Entry]:
    """Those that can be paid and have something to sell; `registered_at` gives the owner of an address."""
    ranks = {owner: rank for rank, (owner, _) in enumerate(rules.registry)}
    found = []
    for orchestrator in orchestrators:
        recipient, info = recipient_of(orchestrator, registered_at), orchestrator.info
        if recipient not in rules.payable or (info and not rules.allow_tickets(info)):
            continue
        entry = Entry(
            address=orchestrator.address,
            recipient=recipient,
            rank=ranks.get(recipient, _UNRANKED),
            price=info.price if info and info.price and _is_allowed(info.price, rules.ceiling((), "")) else None,
            capabilities=_affordable(info.capabilities, rules.ceiling) if info else (),
            runners=tuple(each for each in orchestrator.runners if _is_affordable(each, rules.ceiling)),
        )
        if entry.capabilities or entry.runners:
            found.append(entry)
    return found


def read_filters(query: bytes) -> Filters:
    """caps, app and gpu, each as often as one likes; empty values say nothing. Raises BadFilter."""
    try:
        pairs = parse_qsl(query.decode(), max_num_fields=_MOST_FILTER_VALUES, separator="&")
    except ValueError as error:
        raise BadFilter(f"at most {_MOST_FILTER_VALUES} filters, in UTF-8") from error
    values: dict[str, set[str]] = {}
    for name, value in pairs:
        if value.strip():
            values.setdefault(name, set()).add(value.strip())
    return Filters(**{name: frozenset(values.get(name, ())) for name in Filters.__slots__})


def select(listed: Sequence[Entry], filters: Filters) -> list[Entry]:
    """What fits, in order: whoever does more of what was asked and has room for it, then price, then stake.

    An entry keeps only the runners that `app` and `gpu` ask for; `caps` decides about whole entries.
    """
    fitting = []
    for entry in listed:
        if filters.caps and filters.caps.isdisjoint(entry.names):
            continue
        if filters.app or filters.gpu:
            runners = tuple(runner for runner in entry.runners if _fits(runner, filters))
            if not runners:
                continue
            entry = replace(entry, runners=runners)
        fitting.append(entry)
    return sorted(fitting, key=lambda entry: _order(entry, filters))


def to_json(selected: Sequence[Entry]) -> bytes:
    """The list as gateways read it: empty members left out, nothing in it that we do not know."""
    return ("[" + ",".join(_entry_json(entry) for entry in selected) + "]").encode()


def wei_per_hour(runner: Runner) -> Fraction | None:
    """None for work paid by the job."""
    if runner.unit == "fixed":
        return None
    return Fraction(runner.price) * SECONDS_PER_HOUR * (1 if runner.unit == "seconds" else PIXELS_PER_SECOND)


def _affordable(capabilities: Sequence[Capability], ceiling: Ceiling) -> tuple[Capability, ...]:
    return tuple(
        each for each in capabilities if _is_allowed(each.price, ceiling(((each.number, each.model),), "lv2v"))
    )


def _is_affordable(runner: Runner, ceiling: Ceiling) -> bool:
    """A capability's own ceiling is not for runners, which are paid without naming one."""
    return _is_allowed(Fraction(runner.price), ceiling((), _JOB_TYPES[runner.unit]))


def _is_allowed(price: Fraction, most: Fraction | None) -> bool:
    return most is None or price <= most


def _fits(runner: Runner, filters: Filters) -> bool:
    if filters.app and runner.app not in filters.app:
        return False
    return not filters.gpu or (runner.gpu is not None and runner.gpu.name in filters.gpu)


def _order(entry: Entry, filters: Filters) -> tuple[int, bool, bool, Fraction, int, str]:
    """Smaller is better. Prices by the hour come before those by the job, with which they cannot be compared."""
    wanted = filters.caps
    capabilities = [each for each in entry.capabilities if not wanted or each.name in wanted]
    runners = [each for each in entry.runners if not wanted or each.app in wanted]
    hourly = [each.price * SECONDS_PER_HOUR * PIXELS_PER_SECOND for each in capabilities]
    hourly += [price for runner in runners if (price := wei_per_hour(runner)) is not None]
    jobs = [Fraction(runner.price) for runner in runners if runner.unit == "fixed"]
    served = len(wanted.intersection(entry.names))
    has_room = any(each.has_room for each in capabilities) or any(each.has_room for each in runners)
    return (-served, not has_room, not hourly, min(hourly or jobs, default=Fraction(0)), entry.rank, entry.address)


def _entry_json(entry: Entry) -> str:
    members = [f'"address":{_text(entry.address)}', '"score":1']
    if names := entry.names:
        members.append(f'"capabilities":{_text(names)}')
    if entry.runners:
        members.append(f'"runners":[{",".join(_runner_json(runner) for runner in entry.runners)}]')
    return "{" + ",".join(members) + "}"


def _runner_json(runner: Runner) -> str:
    """Prices are written as the decimals they are: they may have more digits than a float holds."""
    row = runner_to_row(runner)
    counts = {name: getattr(runner, name) for name in ("capacity", "capacity_used", "capacity_available")}
    texts: dict[str, object] = {
        name: row[name] for name in ("url", "gpu", "app", "version", "metadata", "mode") if name in row
    }
    price = f'"price_info":{{"price":{runner.price},"currency":"wei","unit":{_text(runner.unit)}}}'
    return f"{_text({**texts, **counts})[:-1]},{price}}}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
