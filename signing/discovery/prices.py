"""The list of orchestrators for people: the same as gateways get, with what a customer pays for each offer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from billing.markups import markup_bps
from billing.models import EthUsdRate
from billing.money import price_nano_usd
from signing import sender_keys
from signing.discovery import document, offers
from signing.discovery.addresses import owners
from signing.discovery.document import PIXELS_PER_SECOND, SECONDS_PER_HOUR, Ceiling, Entry, Filters, Rules
from signing.discovery.offers import Capability, Runner
from signing.models import ChainSnapshot, Orchestrator, OrchestratorSource, PriceCeiling, RecipientRule, Stop
from signing.pm.ceilings import largest_face_value
from signing.pm.price_list import Ceiling as PriceLimit
from signing.pm.price_list import PriceList

LIVE_VIDEO_TO_VIDEO = 35
TRANSCODING = "transcoding"
MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One thing to buy. `price_nano_usd` is for one `unit` (hour, job or million pixels), markup included.

    `asked` is what the orchestrator says, in wei; `free` and `slots` are None where nothing is counted.
    """

    entry: Entry
    work: str
    unit: str
    price_nano_usd: int | None
    asked: str
    gpu: str
    has_room: bool
    free: int | None
    slots: int | None

    @property
    def place(self) -> str:
        return self.entry.address.removeprefix("https://")


@dataclass(frozen=True, kw_only=True, slots=True)
class Market:
    """The offers in the gateways' order; `works` are all there are, whatever was chosen."""

    offers: list[Offer]
    orchestrators: int
    works: list[str]
    markup_bps: int
    nano_usd_per_eth: int | None
    read_at: datetime | None


def market(customer_id: int, *, work: str = "") -> Market:
    """What this customer's gateways can buy now; of one kind of work, or all when `work` is empty."""
    rate = latest_rate()
    listed = entries(rate)
    bps = markup_bps(customer_id, at=timezone.now())
    chosen = document.select(listed, Filters(caps=frozenset({work} if work and work != TRANSCODING else ())))
    found = [offer for entry in chosen for offer in _offers(entry, rate, bps) if work in ("", offer.work)]
    newest = Orchestrator.objects.exclude(info_read_at=None).order_by("-info_read_at").first()
    works = {name for entry in listed for name in entry.names} | {TRANSCODING for entry in listed if entry.price}
    return Market(
        offers=found,
        orchestrators=len({offer.entry.address for offer in found}),
        works=sorted(works),
        markup_bps=bps,
        nano_usd_per_eth=rate,
        read_at=newest.info_read_at if newest else None,
    )


def entries(nano_usd_per_eth: int | None) -> list[Entry]:
    """Who is listed, by the same rows and rules as the signer's list."""
    source = OrchestratorSource.objects.filter(name=OrchestratorSource.REGISTRY).first()
    registry = tuple((owner, address) for owner, address in source.members) if source else ()
    registered_at = owners(registry)
    orchestrators = [_young(row) for row in Orchestrator.objects.order_by("address")]
    recipients = {document.recipient_of(each, registered_at) for each in orchestrators}
    rules = Rules(
        registry=registry,
        payable=_payable(recipients, {owner for owner, _ in registry}),
        ceiling=_ceiling(nano_usd_per_eth),
        max_ticket_ev_wei=settings.MAX_TICKET_EV_WEI,
        max_face_value_wei=largest_face_value(
            largest_deposit_wei(),
            deposit_multiplier=settings.DEPOSIT_MULTIPLIER,
            max_face_value_wei=settings.MAX_FACE_VALUE_WEI,
        )
        or None,
    )
    return document.entries(orchestrators, registered_at, rules)


def latest_rate() -> int | None:
    """Nano-dollars per ETH of the newest answer of the feed."""
    feed = EthUsdRate.objects.filter(feed_address__iexact=settings.ETH_USD_FEED_ADDRESS)
    row = feed.order_by("-updated_at").first()
    return row.nano_usd_per_eth if row else None


def largest_deposit_wei() -> int:
    """Of all senders, as each was read last; 0 where none was."""
    newest = (ChainSnapshot.objects.filter(sender=each).order_by("-read_at").first() for each in sender_keys.ours())
    return max((snapshot.deposit_wei for snapshot in newest if snapshot), default=0)


def _young(row: Orchestrator) -> document.Orchestrator:
    oldest = timezone.now() - timedelta(seconds=settings.DISCOVERY_KEEP_SECONDS)
    has_info = row.info is not None and row.info_read_at is not None and row.info_read_at > oldest
    has_runners = row.runners is not None and row.runners_read_at is not None and row.runners_read_at > oldest
    return document.Orchestrator(
        address=row.address,
        info=offers.info_from_row(row.info) if has_info and row.info else None,
        runners=tuple(map(offers.runner_from_row, row.runners)) if has_runners and row.runners else (),
    )


def _payable(recipients: set[str], registered: set[str]) -> frozenset[str]:
    """As signing.signer.recipients decides for each payment."""
    rules = RecipientRule.objects.filter(lifted_at=None)
    listed = set(rules.filter(standing=RecipientRule.Standing.LISTED).values_list("address", flat=True))
    shut = (RecipientRule.Standing.FROZEN, RecipientRule.Standing.SANCTIONED)
    blocked = set(rules.filter(standing__in=shut).values_list("address", flat=True))
    stopped = set(Stop.objects.filter(scope=Stop.Scope.RECIPIENT, lifted_at=None).values_list("subject", flat=True))
    allowed = {
        "any": recipients,
        "registered": recipients & registered,
        "listed": recipients & listed,
    }[settings.RECIPIENT_POLICY]
    return frozenset(allowed - blocked - stopped)


def _ceiling(nano_usd_per_eth: int | None) -> Ceiling:
    """The operator's ceilings in force; one in dollars cannot be held against anything without a rate."""
    operators = PriceCeiling.objects.filter(
        Q(scope=PriceCeiling.Scope.GLOBAL) | Q(scope=PriceCeiling.Scope.CAPABILITY)
    ).order_by("id")
    rows: list[Any] = [
        (
            (row.scope, row.capability or 0, row.model),
            row.unit,
            PriceLimit(
                limit_wei=row.limit_wei,
                limit_nano_usd=row.limit_nano_usd,
                per_units=row.per_units,
                from_us=int(row.valid_from.timestamp() * MILLION),
            ),
        )
        for row in operators
        if nano_usd_per_eth or row.limit_nano_usd is None
    ]
    prices = PriceList(rows, fallback=settings.MAX_PRICE_PER_UNIT)
    now_us, rate = int(timezone.now().timestamp() * MILLION), nano_usd_per_eth or 1
    return lambda models, kind: prices.configured(models, kind, now_us=now_us, nano_usd_per_eth=rate)


# -- Offers as people read them ----------------------------------------------------------------------------


def _offers(entry: Entry, rate: int | None, bps: int) -> list[Offer]:
    found = [_of_capability(entry, each, rate, bps) for each in entry.capabilities]
    found += [_of_runner(entry, each, rate, bps) for each in entry.runners]
    if entry.price is not None:
        price = _charge(entry.price * MILLION, rate, bps)
        found.append(_offer(entry, TRANSCODING, "million pixels", price, f"{_plain(entry.price)} wei per pixel"))
    return found


def _of_capability(entry: Entry, capability: Capability, rate: int | None, bps: int) -> Offer:
    """Live video is counted in pixels but bought by time; other work is bought by what it renders."""
    is_live = capability.number == LIVE_VIDEO_TO_VIDEO
    units = SECONDS_PER_HOUR * PIXELS_PER_SECOND if is_live else MILLION
    return _offer(
        entry,
        capability.name,
        "hour" if is_live else "million pixels",
        _charge(capability.price * units, rate, bps),
        f"{_plain(capability.price)} wei per pixel",
        has_room=capability.has_room,
    )


def _of_runner(entry: Entry, runner: Runner, rate: int | None, bps: int) -> Offer:
    hourly = document.wei_per_hour(runner)
    words = {"seconds": "second", "720p-pixel-seconds": "pixel", "fixed": "job"}
    return _offer(
        entry,
        runner.app,
        "job" if hourly is None else "hour",
        _charge(Fraction(runner.price) if hourly is None else hourly, rate, bps),
        f"{runner.price} wei per {words[runner.unit]}",
        gpu=runner.gpu.name if runner.gpu else "",
        has_room=runner.has_room,
        free=runner.capacity_available if runner.capacity else None,
        slots=runner.capacity or None,
    )


def _offer(
    entry: Entry,
    work: str,
    unit: str,
    price_nano_usd: int | None,
    asked: str,
    *,
    gpu: str = "",
    has_room: bool = True,
    free: int | None = None,
    slots: int | None = None,
) -> Offer:
    return Offer(
        entry=entry,
        work=work,
        unit=unit,
        price_nano_usd=price_nano_usd,
        asked=asked,
        gpu=gpu,
        has_room=has_room,
        free=free,
        slots=slots,
    )


def _charge(wei: Fraction, rate: int | None, bps: int) -> int | None:
    """What so much work costs a customer, rounded up to nano-dollars; None while no rate is known."""
    if rate is None:
        return None
    return price_nano_usd(-(-wei.numerator // wei.denominator), nano_usd_per_eth=rate, markup_bps=bps)


def _plain(price: Fraction) -> str:
    return str(price.numerator) if price.denominator == 1 else f"{price.numerator}/{price.denominator}"
