"""What staff see of the pooled money, sender by sender: funds, forecast, redemptions, events and funding requests."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from django.conf import settings
from django.db import connection
from django.db.models import Count, F, QuerySet, Sum

from accounts import moments
from billing import ledger, money
from billing.models import EthUsdRate, Wallet
from billing.postings import ACCRUED_TICKETS, Account
from signing import sender_keys
from signing.models import ChainEvent, ChainSnapshot, Redemption, SenderPin, TreasuryTransaction
from signing.treasury import postings, runway
from signing.treasury.runway import Outflow, Runway

WINDOW = timedelta(days=7)
# One payment a second ago is no pace yet.
_LEAST_SECONDS = 300
_POINTS = 56
_YEAR_SECONDS = 365 * runway.DAY_SECONDS
_HOUR_SECONDS = 3_600
_FARTHEST_SECONDS = 21 * runway.DAY_SECONDS
# What a funding transaction may cost: far above its usual price, so that a request that was let in can be sent.
GAS_ALLOWANCE_WEI = 10**15
UNFINISHED = (
    TreasuryTransaction.Status.REQUESTED,
    TreasuryTransaction.Status.SIGNED,
    TreasuryTransaction.Status.SENT,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """Ether with its dollars at the latest recorded rate; None where no rate was recorded yet."""

    wei: int
    nano_usd: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """Whether the sender asked to withdraw: locked is the normal state."""

    word: Literal["Locked", "Unlocking", "Unlocked"]
    kind: Literal["ok", "warn", "bad"]
    withdraw_round: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """One reading of everything the page shows of one sender; `snapshot` is what the chain last said of it.

    `others_wei` is what stands behind tickets of the other senders, `customers` how many pay by this one.
    """

    now: datetime
    snapshot: ChainSnapshot
    rate: EthUsdRate | None
    stale: bool
    lock: Lock
    signed: Outflow
    redeemed: Outflow
    runway: Runway | None
    customers_nano_usd: int
    accrued_wei: int
    booked_deposit_wei: int
    booked_reserve_wei: int
    customers: int
    others_wei: int

    def worth(self, wei: int) -> Worth:
        if self.rate is None:
            return Worth(wei=wei, nano_usd=None)
        return Worth(wei=wei, nano_usd=money.value_nano_usd(wei, nano_usd_per_eth=self.rate.nano_usd_per_eth))

    @property
    def deposit(self) -> Worth:
        return self.worth(self.snapshot.deposit_wei)

    @property
    def reserve(self) -> Worth:
        return self.worth(self.snapshot.reserve_wei)

    @property
    def pooled(self) -> Worth:
        return self.worth(self.snapshot.deposit_wei + self.snapshot.reserve_wei)

    @property
    def treasury(self) -> Worth:
        return self.worth(self.snapshot.treasury_wei)

    @property
    def sender_gas(self) -> Worth:
        return self.worth(self.snapshot.sender_wei)

    @property
    def largest_by_reserve(self) -> Worth | None:
        """An orchestrator can draw its share of the reserve in one round, so it asks for no larger face value."""
        pool = self.snapshot.pool_size
        return self.worth(self.snapshot.reserve_wei // pool) if pool else None

    @property
    def largest_by_deposit(self) -> Worth:
        """What the signer lets one ticket carry by this deposit; MAX_FACE_VALUE_WEI bounds it as well."""
        return self.worth(self.snapshot.deposit_wei // settings.DEPOSIT_MULTIPLIER)

    @property
    def signed_per_day(self) -> Worth:
        return self.worth(self.signed.per_day_wei())

    @property
    def redeemed_per_day(self) -> Worth:
        return self.worth(self.redeemed.per_day_wei())

    @property
    def lasts(self) -> str:
        return _lasts(self.runway.expected_seconds) if self.runway else ""

    @property
    def lasts_between(self) -> str:
        """`9 days to 14 days`, or nothing when both ends read the same."""
        if self.runway is None:
            return ""
        ends = [_lasts(seconds) for seconds in (self.runway.earliest_seconds, self.runway.latest_seconds)]
        return " to ".join(ends) if len(set(ends)) == 2 else ""

    @property
    def empty_at(self) -> datetime | None:
        if self.runway is None or self.runway.expected_seconds > _YEAR_SECONDS:
            return None
        return self.now + timedelta(seconds=self.runway.expected_seconds)

    @property
    def pooled_of_all(self) -> Worth:
        return self.worth(self.pooled.wei + self.others_wei)

    @property
    def covered(self) -> bool:
        return self.pooled_of_all.nano_usd is not None and self.pooled_of_all.nano_usd >= self.customers_nano_usd

    @property
    def unbooked_wei(self) -> int:
        """What the chain shows beyond the books: events that are not final yet."""
        pooled = self.snapshot.deposit_wei + self.snapshot.reserve_wei
        return pooled - self.booked_deposit_wei - self.booked_reserve_wei


def senders() -> list[str]:
    """Whose deposits these are, lower-case, the configured one first: of all our keys those that are in use.

    In use is a key that takes new customers, or has customers or ether behind its tickets.
    """
    ours = sender_keys.ours()
    idle = {listed.key.address for listed in sender_keys.listed() if not (listed.key.active or listed.customers)}

    def is_used(address: str) -> bool:
        seen = latest_snapshot(address) if address in idle else None
        return address not in idle or (seen is not None and seen.deposit_wei + seen.reserve_wei > 0)

    return [address for address in ours if is_used(address)] or ours[:1]


def sender() -> str:
    """The first of them; empty when there is none."""
    return next(iter(sender_keys.ours()), "")


def latest_snapshot(address: str | None = None) -> ChainSnapshot | None:
    """Of the first sender, unless another one is named."""
    return ChainSnapshot.objects.filter(sender=address or sender()).order_by("-read_at").first()


def latest_rate() -> EthUsdRate | None:
    return EthUsdRate.objects.filter(feed_address__iexact=settings.ETH_USD_FEED_ADDRESS).order_by("-updated_at").first()


def read_all(*, now: datetime) -> list[Overview]:
    """Of each sender in use, the configured one first; those that the chain was not read for yet are left out."""
    seen = [found for address in senders() if (found := latest_snapshot(address))]
    customers = dict(SenderPin.objects.values_list("address").annotate(count=Count("pk")))
    pooled_wei = sum(each.deposit_wei + each.reserve_wei for each in seen)
    rate = latest_rate()
    held_nano_usd = Wallet.objects.aggregate(total=Sum("available_nano_usd"))["total"] or 0
    accrued_wei = -sum(row.amount for row in ledger.balances(ACCRUED_TICKETS) if row.asset == "ETH")
    views = []
    for snapshot in seen:
        signed, redeemed = _outflows(now, snapshot.sender)
        view = Overview(
            now=now,
            snapshot=snapshot,
            rate=rate,
            stale=now - snapshot.read_at > timedelta(seconds=settings.CHAIN_MAX_AGE_SECONDS),
            lock=_lock(snapshot),
            signed=signed,
            redeemed=redeemed,
            runway=runway.runway(snapshot.deposit_wei, signed),
            customers_nano_usd=held_nano_usd,
            accrued_wei=accrued_wei,
            booked_deposit_wei=_booked(postings.deposit(snapshot.sender)),
            booked_reserve_wei=_booked(postings.reserve(snapshot.sender)),
            customers=customers.get(snapshot.sender, 0),
            others_wei=pooled_wei - snapshot.deposit_wei - snapshot.reserve_wei,
        )
        views.append(view)
    return views


def read(*, now: datetime, address: str = "") -> Overview | None:
    """Of the sender named, else of the first one; None until the chain was read for the first time."""
    views = read_all(now=now)
    return next((view for view in views if view.snapshot.sender == address.lower()), views[0] if views else None)


def spendable_wei(snapshot: ChainSnapshot | None) -> int:
    """What the treasury wallet can still send: its ether less unfinished requests and an allowance for gas each."""
    if snapshot is None:
        return 0
    waiting = TreasuryTransaction.objects.filter(status__in=UNFINISHED)
    planned = sum(row.deposit_wei + row.reserve_wei + GAS_ALLOWANCE_WEI for row in waiting)
    return max(0, snapshot.treasury_wei - planned - GAS_ALLOWANCE_WEI)


def requests(*, limit: int = 5) -> list[TreasuryTransaction]:
    return list(TreasuryTransaction.objects.select_related("requested_by").order_by("-requested_at")[:limit])


def events(address: str, *, limit: int = 10) -> QuerySet[ChainEvent]:
    return ChainEvent.objects.filter(sender=address).order_by("-block_number", "-log_index")[:limit]


def redemptions(address: str, *, limit: int = 8) -> QuerySet[Redemption]:
    found = Redemption.objects.filter(sender=address).select_related("event", "customer")
    return found.order_by("-event__block_number", "-event__log_index")[:limit]


def chart(view: Overview) -> dict[str, Any] | None:
    """The deposit so far and its forecast for the charts' `fan`; None while there is too little of either."""
    past = _history(view.now, view.snapshot.sender)
    if view.runway is None or len(past) < 2:
        return None
    # Until it is empty in all but 1 of 20 cases, but no further than the past carries the eye.
    lived = past[-1][0] - past[0][0]
    ahead = min(
        max(view.runway.latest_seconds * 21 // 20, _HOUR_SECONDS), max(10 * lived, _HOUR_SECONDS), _FARTHEST_SECONDS
    )
    steps = runway.forecast(view.snapshot.deposit_wei, view.signed, until_seconds=ahead, points=_POINTS)
    today = int(view.now.timestamp())
    gap: list[int | None] = [None] * len(past)
    lines = (
        [wei for _, wei in past] + [None] * len(steps),
        gap + [step.expected_wei for step in steps],
        gap + [step.p5_wei for step in steps],
        gap + [step.p25_wei for step in steps],
        gap + [step.p75_wei for step in steps],
        gap + [step.p95_wei for step in steps],
    )
    highest = max(max(wei for _, wei in past), view.snapshot.deposit_wei)
    return {
        "x": [at for at, _ in past] + [today + step.seconds for step in steps],
        "y": [list(line) for line in lines],
        "unit": "eth",
        "read": "read-fan",
        "time": "hour" if lived + ahead < 2 * runway.DAY_SECONDS else "day",
        "max": highest * 23 // 20,
        "marks": [{"x": today, "label": "Now", "at": "start", "color": "ink-3", "dash": [2, 3]}],
    }


def _lasts(seconds: int) -> str:
    """Never more exact than a forecast is."""
    return "over a year" if seconds > _YEAR_SECONDS else moments.duration(timedelta(seconds=seconds))


def _booked(account: Account) -> int:
    return ledger.balance(account.number, "ETH", account.party)


def _lock(snapshot: ChainSnapshot) -> Lock:
    if not snapshot.withdraw_round:
        return Lock(word="Locked", kind="ok", withdraw_round=0)
    if snapshot.withdraw_round > snapshot.current_round:
        return Lock(word="Unlocking", kind="warn", withdraw_round=snapshot.withdraw_round)
    return Lock(word="Unlocked", kind="bad", withdraw_round=snapshot.withdraw_round)


def _outflows(now: datetime, address: str) -> tuple[Outflow, Outflow]:
    """What was signed and what was paid from the deposit over the last week, or since the first payment.

    Signed counts by customer, for whoever pays by this sender now: a customer that moved takes its pace along.
    """
    first_day = (now - WINDOW).astimezone(UTC).date() + timedelta(days=1)
    given: dict[str, str | date] = {"address": address, "first": sender(), "first_day": first_day}
    with connection.cursor() as cursor:
        cursor.execute(_SIGNED, given)
        signed_wei = int(cursor.fetchone()[0])
        cursor.execute(_BEGUN, given)
        begun = cursor.fetchone()[0]
    start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
    if begun is not None:
        start = max(start, begun)
    seconds = max(_LEAST_SECONDS, int((now - start).total_seconds()))
    recent = Redemption.objects.filter(sender=address, event__block_time__gte=start)
    paid_wei = recent.aggregate(total=Sum(F("paid_wei") - F("from_reserve_wei")))["total"]
    winners = Redemption.objects.filter(sender=address).order_by("-seen_at").values_list("face_value_wei", flat=True)
    return (
        Outflow(wei=signed_wei, seconds=seconds, winner_wei=runway.typical_winner_wei(list(winners[:200]))),
        Outflow(wei=int(paid_wei or 0), seconds=seconds),
    )


def _history(now: datetime, address: str) -> list[tuple[int, int]]:
    """Unix time and deposit at even steps over the last week, each from the snapshot before it."""
    with connection.cursor() as cursor:
        cursor.execute(_HISTORY, {"sender": address, "start": now - WINDOW, "now": now, "steps": _POINTS})
        return [(int(at), int(wei)) for at, wei in cursor.fetchall()]


# Whoever is pinned to no sender pays by the first one.
_SIGNED = """
SELECT coalesce(sum(d.cost_wei), 0)
FROM billing_usage_by_day d LEFT JOIN signing_senderpin p ON p.customer_id = d.customer_id
WHERE d.day >= %(first_day)s AND coalesce(p.address, %(first)s) = %(address)s
"""
# The index is by customer and time: one step into it a customer instead of a walk over all charges.
_BEGUN = """
SELECT min(first.at)
FROM accounts_customer c LEFT JOIN signing_senderpin p ON p.customer_id = c.id
CROSS JOIN LATERAL (SELECT at FROM billing_usage WHERE customer_id = c.id ORDER BY at LIMIT 1) first
WHERE coalesce(p.address, %(first)s) = %(address)s
"""

# Even steps from the first snapshot of the window; each finds its own by the index on sender and time.
_HISTORY = """
SELECT extract(epoch FROM p.at)::bigint, s.deposit_wei
FROM (SELECT greatest(min(read_at), %(start)s) AS at FROM signing_chainsnapshot WHERE sender = %(sender)s) b,
     LATERAL generate_series(b.at, %(now)s, greatest((%(now)s - b.at) / %(steps)s, interval '1 second')) p(at),
     LATERAL (SELECT deposit_wei FROM signing_chainsnapshot
              WHERE sender = %(sender)s AND read_at <= p.at ORDER BY read_at DESC LIMIT 1) s
ORDER BY 1
"""
