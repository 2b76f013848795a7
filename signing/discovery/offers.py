"""What an orchestrator offers, read from its two untrusted answers: known members only, everything bounded."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError

from signing.discovery.addresses import BadAddress, normalise
from signing.pm import livepeer_pb2 as pb
from signing.pm.orchestrator_info import window
from signing.pm.tickets import MAX_UINT256

MOST_RUNNERS = 64
MOST_CAPABILITIES = 128
LONGEST_METADATA_BYTES = 1024
UNITS = ("seconds", "720p-pixel-seconds", "fixed")

_MOST_ENTRIES = 1000
_LONGEST_URL = 500
_LONGEST_TEXT = 200
_LONGEST_PRICE = 60
_LARGEST_COUNT = 2**31 - 1
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")

# The network's numbers of the kinds of work that are sold by model.
PIPELINES = {
    27: "text-to-image",
    28: "image-to-image",
    29: "image-to-video",
    30: "upscale",
    31: "audio-to-text",
    32: "segment-anything-2",
    33: "llm",
    34: "image-to-text",
    35: "live-video-to-video",
    36: "text-to-speech",
}


class Nonsense(ValueError):
    """An answer that is none: not of the form the network agreed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """A kind of work with a model; `price` is wei per pixel, and `has_room` whether more work is taken now."""

    number: int
    model: str
    price: Fraction
    has_room: bool

    @property
    def name(self) -> str:
        return f"{PIPELINES[self.number]}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What GetOrchestrator said: who is paid, the worth of a ticket rounded up to wei, prices in wei per pixel.

    `service_uri` is where the orchestrator says it is, empty where that is no address. `price` is the one for
    everything without a price of its own, None where it has none. `face_value_wei` is 0 where nobody asked for it.
    """

    recipient: str
    service_uri: str
    ticket_ev_wei: int
    price: Fraction | None
    capabilities: tuple[Capability, ...]
    face_value_wei: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    id: str = ""
    name: str = ""
    vram_mb: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """An app at a URL; `price` is wei per unit, a plain decimal as exact as it was given. Empty means absent."""

    url: str
    app: str
    price: str
    unit: str
    version: str = ""
    metadata: str = ""
    mode: str = ""
    gpu: Gpu | None = None
    capacity: int = 0
    capacity_used: int = 0
    capacity_available: int = 0

    @property
    def has_room(self) -> bool:
        """Those that do not count their capacity take what comes."""
        return self.capacity_available > 0 or self.capacity == 0


# -- GetOrchestrator ---------------------------------------------------------------------------------------


def read_info(raw: bytes) -> Info:
    """Reads an OrchestratorInfo. Raises Nonsense."""
    try:
        message = pb.OrchestratorInfo.FromString(raw)
    except DecodeError as error:
        raise Nonsense("no OrchestratorInfo") from error
    params = message.ticket_params
    face_value_wei = int.from_bytes(params.face_value[-32:])
    worth = Fraction(face_value_wei * int.from_bytes(params.win_prob[-32:]), MAX_UINT256)
    return Info(
        recipient="0x" + window(params.recipient, 20).hex(),
        service_uri=_address_or_nothing(message.transcoder),
        ticket_ev_wei=math.ceil(worth),
        price=_price(message.price_info),
        capabilities=_capabilities(message),
        face_value_wei=face_value_wei,
    )


def _capabilities(message: pb.OrchestratorInfo) -> tuple[Capability, ...]:
    """Those with a price: one of their own for exactly this model, else the general one."""
    general = _price(message.price_info)
    own: dict[tuple[int, str], Fraction | None] = {}
    for info in message.capabilities_prices:
        own.setdefault((info.capability, info.constraint), _price(info))
    found = []
    for number, constraints in message.capabilities.constraints.per_capability.items():
        for model, constraint in constraints.models.items():
            price = own.get((number, model)) or general
            if number in PIPELINES and price is not None and _is_line(model):
                room = constraint.capacity > constraint.capacity_in_use or constraint.capacity == 0
                found.append(Capability(number=number, model=model, price=price, has_room=room))
    return tuple(sorted(found, key=lambda capability: capability.name)[:MOST_CAPABILITIES])


def _price(info: pb.PriceInfo) -> Fraction | None:
    """Nothing is sold for nothing: a price of zero is what an orchestrator says that sells no such work."""
    if info.price_per_unit <= 0 or info.pixels_per_unit <= 0:
        return None
    return Fraction(info.price_per_unit, info.pixels_per_unit)


# -- GET /discovery ----------------------------------------------------------------------------------------


class _Number(str):
    """The text of a JSON number."""

    __slots__ = ()


def read_runners(raw: bytes, own_addresses: frozenset[str]) -> tuple[Runner, ...]:
    """The sound runners of a discovery document, the first of each URL. Raises Nonsense when it is no list.

    What an orchestrator says of others than itself is not heard.
    """
    try:
        document = json.loads(
            raw.decode(errors="replace"), parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
    except (ValueError, RecursionError) as error:
        raise Nonsense("no JSON") from error
    if not isinstance(document, list):
        raise Nonsense("no list")
    found: dict[str, Runner] = {}
    for entry in document[:_MOST_ENTRIES]:
        if not isinstance(entry, dict) or _address_or_nothing(entry.get("address")) not in own_addresses:
            continue
        runners = entry.get("runners")
        for given in runners[:_MOST_ENTRIES] if isinstance(runners, list) else ():
            runner = _runner(given)
            if runner and len(found) < MOST_RUNNERS:
                found.setdefault(runner.url, runner)
    return tuple(found.values())


def _runner(given: Any) -> Runner | None:
    """None for one that breaks a rule; a gateway could not use it."""
    price = given.get("price_info") if isinstance(given, dict) else None
    if not isinstance(price, dict):
        return None
    try:
        return Runner(
            url=_url(given.get("url")),
            app=_line(given.get("app"), required=True),
            price=_wei(price),
            unit=_one_of(price.get("unit"), UNITS),
            version=_line(given.get("version")),
            metadata=_metadata(given.get("metadata")),
            mode=_line(given.get("mode")),
            gpu=_gpu(given.get("gpu")),
            capacity=_count(given.get("capacity")),
            capacity_used=_count(given.get("capacity_used")),
            capacity_available=_count(given.get("capacity_available")),
        )
    except Nonsense:
        return None


def _wei(price: Mapping[str, Any]) -> str:
    """A positive number, or a string that holds one, as a plain decimal."""
    _one_of(price.get("currency"), ("wei",))
    text = price.get("price")
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise Nonsense("price")
    value = Decimal(text)
    if value <= 0:
        raise Nonsense("price")
    plain = f"{value:f}"
    if len(plain) > _LONGEST_PRICE:
        raise Nonsense("price")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _gpu(given: Any) -> Gpu | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise Nonsense("gpu")
    gpu = Gpu(id=_line(given.get("id")), name=_line(given.get("name")), vram_mb=_count(given.get("vram_mb")))
    return gpu if gpu != Gpu() else None


def _metadata(given: Any) -> str:
    text = _text(given)
    if len(text.encode()) > LONGEST_METADATA_BYTES or "\0" in text or "\ufffd" in text:
        raise Nonsense("metadata")
    return text


def _line(given: Any, *, required: bool = False) -> str:
    text = _text(given).strip()
    if (required and not text) or (text and not _is_line(text)):
        raise Nonsense("text")
    return text


def _text(given: Any) -> str:
    """A string that can be written as UTF-8; empty when absent."""
    if given is None:
        return ""
    if not isinstance(given, str) or isinstance(given, _Number) or any("\ud800" <= sign <= "\udfff" for sign in given):
        raise Nonsense("text")
    return given


def _is_line(text: str) -> bool:
    return bool(text.strip()) and len(text) <= _LONGEST_TEXT and text.isprintable() and "\ufffd" not in text


def _one_of(given: Any, allowed: tuple[str, ...]) -> str:
    text = _text(given).strip().lower()
    if text not in allowed:
        raise Nonsense("word")
    return text


def _count(given: Any) -> int:
    if given is None:
        return 0
    if not isinstance(given, _Number) or not re.fullmatch(r"[0-9]{1,10}", given) or int(given) > _LARGEST_COUNT:
        raise Nonsense("count")
    return int(given)


def _url(given: Any) -> str:
    """What a gateway sends there is work and money, so never in the clear."""
    text = _text(given).strip()
    if len(text) > _LONGEST_URL or not all("!" <= sign <= "~" for sign in text):
        raise Nonsense("url")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Nonsense("url") from None
    host = parts.netloc.removesuffix(f":{port}") if port else parts.netloc
    if parts.scheme != "https" or not _HOST.fullmatch(host):
        raise Nonsense("url")
    return text


def _address_or_nothing(given: Any) -> str:
    try:
        return normalise(given) if isinstance(given, str) else ""
    except BadAddress:
        return ""


# -- Rows: what is kept of an answer, as JSON --------------------------------------------------------------


def info_to_row(info: Info) -> dict[str, Any]:
    return {
        "recipient": info.recipient,
        "service_uri": info.service_uri,
        "ticket_ev_wei": str(info.ticket_ev_wei),
        "face_value_wei": str(info.face_value_wei),
        "price": None if info.price is None else str(info.price),
        "capabilities": [[each.number, each.model, str(each.price), each.has_room] for each in info.capabilities],
    }


def info_from_row(row: Mapping[str, Any]) -> Info:
    return Info(
        recipient=row["recipient"],
        service_uri=row["service_uri"],
        ticket_ev_wei=int(row["ticket_ev_wei"]),
        price=None if row["price"] is None else Fraction(row["price"]),
        capabilities=tuple(
            Capability(number=number, model=model, price=Fraction(price), has_room=room)
            for number, model, price, room in row["capabilities"]
        ),
        face_value_wei=int(row.get("face_value_wei", 0)),
    )


def runner_to_row(runner: Runner) -> dict[str, Any]:
    """The members a gateway is given; those that are empty, and the counts when 0, are left out."""
    row = {name: getattr(runner, name) for name in Runner.__slots__ if name != "gpu"}
    if runner.gpu:
        row["gpu"] = {name: value for name in Gpu.__slots__ if (value := getattr(runner.gpu, name))}
    return {name: value for name, value in row.items() if value}


def runner_from_row(row: Mapping[str, Any]) -> Runner:
    gpu = Gpu(**row["gpu"]) if "gpu" in row else None
    return Runner(**{**row, "gpu": gpu})
