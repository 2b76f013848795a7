"""What staff see of the pooled money: funds, forecast, redemptions, events and funding requests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.conf import settings
from django.db import connection
from django.db.models import F, QuerySet, Sum

from accounts import moments
from billing import ledger, money
from billing.models import EthUsdRate, Wallet
from billing.postings import ACCRUED_TICKETS, Account
from signing.models import ChainEvent, ChainSnapshot, Redemption, TreasuryTransaction
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
    """One reading of everything the page shows; `snapshot` is what the chain last said."""

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
        """The signer's own ceiling."""
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
    def covered(self) -> bool:
        return self.pooled.nano_usd is not None and self.pooled.nano_usd >= self.customers_nano_usd

    @property
    def unbooked_wei(self) -> int:
        """What the chain shows beyond the books: events that are not final yet."""
        pooled = self.snapshot.deposit_wei + self.snapshot.reserve_wei
        return pooled - self.booked_deposit_wei - self.booked_reserve_wei


def sender() -> str:
    """The address whose deposit this is, lower-case; empty when the settings name none."""
    return str(settings.SENDER_ADDRESS or "").lower()


def latest_snapshot() -> ChainSnapshot | None:
    return ChainSnapshot.objects.filter(sender=sender()).order_by("-read_at").first()


def latest_rate() -> EthUsdRate | None:
    return EthUsdRate.objects.filter(feed_address__iexact=settings.ETH_USD_FEED_ADDRESS).order_by("-updated_at").first()


def read(*, now: datetime) -> Overview | None:
    """None until the chain was read for the first time."""
    snapshot = latest_snapshot()
    if snapshot is None:
        return None
    signed, redeemed = _outflows(now)
    return Overview(
        now=now,
        snapshot=snapshot,
        rate=latest_rate(),
        stale=now - snapshot.read_at > timedelta(seconds=settings.CHAIN_MAX_AGE_SECONDS),
        lock=_lock(snapshot),
        signed=signed,
        redeemed=redeemed,
        runway=runway.runway(snapshot.deposit_wei, signed),
        customers_nano_usd=Wallet.objects.aggregate(total=Sum("available_nano_usd"))["total"] or 0,
        accrued_wei=-sum(row.amount for row in ledger.balances(ACCRUED_TICKETS) if row.asset == "ETH"),
        booked_deposit_wei=_booked(postings.deposit(sender())),
        booked_reserve_wei=_booked(postings.reserve(sender())),
    )


def spendable_wei(snapshot: ChainSnapshot | None) -> int:
    """What the treasury wallet can still send: its ether less unfinished requests and an allowance for gas each."""
    if snapshot is None:
        return 0
    waiting = TreasuryTransaction.objects.filter(status__in=UNFINISHED)
    planned = sum(row.deposit_wei + row.reserve_wei + GAS_ALLOWANCE_WEI for row in waiting)
    return max(0, snapshot.treasury_wei - planned - GAS_ALLOWANCE_WEI)


def requests(*, limit: int = 5) -> list[TreasuryTransaction]:
    return list(TreasuryTransaction.objects.select_related("requested_by").order_by("-requested_at")[:limit])


def events(*, limit: int = 10) -> QuerySet[ChainEvent]:
    return ChainEvent.objects.filter(sender=sender()).order_by("-block_number", "-log_index")[:limit]


def redemptions(*, limit: int = 8) -> QuerySet[Redemption]:
    found = Redemption.objects.filter(sender=sender()).select_related("event", "customer")
    return found.order_by("-event__block_number", "-event__log_index")[:limit]


def chart(view: Overview) -> dict[str, Any] | None:
    """The deposit so far and its forecast for the charts' `fan`; None while there is too little of either."""
    past = _history(view.now)
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


def _outflows(now: datetime) -> tuple[Outflow, Outflow]:
    """What was signed and what was paid from the deposit over the last week, or since the first payment."""
    first_day = (now - WINDOW).astimezone(UTC).date() + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(cost_wei), 0) FROM billing_usage_by_day WHERE day >= %s", [first_day])
        signed_wei = int(cursor.fetchone()[0])
        # The index is by customer and time: one step into it a customer instead of a walk over all charges.
        cursor.execute(
            "SELECT min(first.at) FROM accounts_customer c CROSS JOIN LATERAL"
            " (SELECT at FROM billing_usage WHERE customer_id = c.id ORDER BY at LIMIT 1) first"
        )
        begun = cursor.fetchone()[0]
    start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
    if begun is not None:
        start = max(start, begun)
    seconds = max(_LEAST_SECONDS, int((now - start).total_seconds()))
    recent = Redemption.objects.filter(sender=sender(), event__block_time__gte=start)
    paid_wei = recent.aggregate(total=Sum(F("paid_wei") - F("from_reserve_wei")))["total"]
    winners = Redemption.objects.filter(sender=sender()).order_by("-seen_at").values_list("face_value_wei", flat=True)
    return (
        Outflow(wei=signed_wei, seconds=seconds, winner_wei=runway.typical_winner_wei(list(winners[:200]))),
        Outflow(wei=int(paid_wei or 0), seconds=seconds),
    )


def _history(now: datetime) -> list[tuple[int, int]]:
    """Unix time and deposit at even steps over the last week, each from the snapshot before it."""
    with connection.cursor() as cursor:
        cursor.execute(_HISTORY, {"sender": sender(), "start": now - WINDOW, "now": now, "steps": _POINTS})
        return [(int(at), int(wei)) for at, wei in cursor.fetchall()]


# Even steps from the first snapshot of the window; each finds its own by the index on sender and time.
_HISTORY = """
SELECT extract(epoch FROM p.at)::bigint, s.deposit_wei
FROM (SELECT greatest(min(read_at), %(start)s) AS at FROM signing_chainsnapshot WHERE sender = %(sender)s) b,
     LATERAL generate_series(b.at, %(now)s, greatest((%(now)s - b.at) / %(steps)s, interval '1 second')) p(at),
     LATERAL (SELECT deposit_wei FROM signing_chainsnapshot
              WHERE sender = %(sender)s AND read_at <= p.at ORDER BY read_at DESC LIMIT 1) s
ORDER BY 1
"""
