"""What about the pooled money needs a person, in words: what it is, what follows from it, and since when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from django.conf import settings
from django.db.models import F, Sum

from accounts import moments
from billing import display
from billing.models import Journal
from signing import stops
from signing.models import Redemption, Stop, TreasuryTransaction
from signing.treasury.overview import Overview

RUNWAY_FLOOR = timedelta(days=7)
REMEMBERED = timedelta(days=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """`bad` stops payments or loses money; `warn` will."""

    kind: Literal["warn", "bad"]
    title: str
    text: str
    since: datetime | None = None


def of(views: Sequence[Overview]) -> list[Alert]:
    """Of all senders, the worst first; where there are several, each alert of one begins with its address."""
    found = [*_stops(), *_rate(views[0]), *_departures(views[0]), *_requests(views[0])]
    for view in views:
        name = f"{'…'.join(display.short_address(view.snapshot.sender))}: " if len(views) > 1 else ""
        own = [*_reading(view), *_lock(view), *_funds(view), *_redemptions(view)]
        found += [replace(alert, title=name + alert.title) for alert in own]
    return sorted(found, key=lambda alert: alert.kind != "bad")


def _stops() -> Iterator[Alert]:
    for stop in stops.standing().filter(scope__in=[Stop.Scope.ALL, Stop.Scope.SENDER]):
        what = "All signing is" if stop.scope == Stop.Scope.ALL else f"Signing with {stop.subject} is"
        by = stop.set_by.get_short_name()
        yield Alert(kind="bad", title=f"{what} stopped", text=f"By {by}: {stop.reason}", since=stop.set_at)


def _reading(view: Overview) -> Iterator[Alert]:
    if view.stale:
        yield Alert(
            kind="bad",
            title=f"The chain was last read {moments.ago(view.snapshot.read_at, now=view.now)}",
            text="The figures on this page are of that time. Look at the worker and its RPC endpoints.",
            since=view.snapshot.read_at,
        )


def _rate(view: Overview) -> Iterator[Alert]:
    limit = timedelta(seconds=settings.ETH_USD_MAX_AGE_SECONDS)
    if view.rate is None:
        yield Alert(kind="bad", title="No ETH price was recorded yet", text="Without a price no payment is signed.")
    elif view.now - view.rate.updated_at > limit:
        yield Alert(
            kind="bad",
            title=f"The last recorded ETH price is older than {moments.duration(limit)}",
            text="A price that old is refused: payments wait until the feed answers again.",
            since=view.rate.updated_at,
        )


def _lock(view: Overview) -> Iterator[Alert]:
    round_number = f"{view.snapshot.withdraw_round:,}"
    if view.lock.word == "Unlocking":
        yield Alert(
            kind="bad",
            title=f"Unlock in progress: the deposit can be withdrawn from round {round_number}",
            text=f"Now is round {view.snapshot.current_round:,}, and orchestrators may refuse tickets already."
            " If nobody here asked for it, the sender's key is in other hands: cancel the unlock and change the key.",
        )
    elif view.lock.word == "Unlocked":
        yield Alert(
            kind="bad",
            title=f"The deposit is unlocked since round {round_number}",
            text="Every redemption fails now, and the whole deposit and reserve can be withdrawn.",
        )


def _funds(view: Overview) -> Iterator[Alert]:
    for name, wei in (("deposit", view.snapshot.deposit_wei), ("reserve", view.snapshot.reserve_wei)):
        if not wei:
            yield Alert(kind="bad", title=f"The {name} is empty", text="Orchestrators take tickets only with both.")
    if view.runway and view.snapshot.deposit_wei and view.runway.earliest_seconds < RUNWAY_FLOOR.total_seconds():
        lasts = moments.duration(timedelta(seconds=view.runway.earliest_seconds))
        yield Alert(
            kind="warn",
            title=f"In the worst 1 of 20 cases the deposit is empty in {lasts}",
            text=f"That is under the floor of {RUNWAY_FLOOR.days} days, at the present pace.",
        )


def _redemptions(view: Overview) -> Iterator[Alert]:
    recent = Redemption.objects.filter(
        sender=view.snapshot.sender, event__block_time__gte=view.now - REMEMBERED
    ).order_by("-event__block_time")
    foreign = recent.filter(payment=None)
    if count := foreign.count():
        yield Alert(
            kind="bad",
            title=f"Unmatched: {_redemptions_in_words(count)} of tickets that were not issued here",
            text=f"In the last {REMEMBERED.days} days. Somebody else may hold the sender's key: compare the tickets"
            " before more is funded.",
            since=foreign.values_list("event__block_time", flat=True)[0],
        )
    short = recent.filter(paid_wei__lt=F("face_value_wei"))
    if count := short.count():
        unpaid_wei = int(short.aggregate(total=Sum(F("face_value_wei") - F("paid_wei")))["total"])
        yield Alert(
            kind="warn",
            title=f"Shortfall: {_redemptions_in_words(count)} paid less than face value",
            text=f"In the last {REMEMBERED.days} days {display.eth_text(unpaid_wei)} went unpaid and can never be"
            " claimed. Orchestrators that lost money stop serving us: keep deposit and reserve full.",
            since=short.values_list("event__block_time", flat=True)[0],
        )


def _departures(view: Overview) -> Iterator[Alert]:
    """Ether that left a wallet of ours in no transaction we know: the books follow the chain, a person has to ask."""
    left = Journal.objects.filter(kind="wallet_departure", occurred_at__gte=view.now - REMEMBERED)
    for journal in left.order_by("-occurred_at")[:3]:
        wei = sum(transfer.amount_wei or 0 for transfer in journal.transfers.all())
        yield Alert(
            kind="bad",
            title=f"{display.eth_text(wei)} left a wallet of ours without being asked to",
            text="No funding of ours explains it. If nobody here sent it, the wallet's key is in other hands: move"
            " what is left and change the key.",
            since=journal.occurred_at,
        )


def _requests(view: Overview) -> Iterator[Alert]:
    failed = TreasuryTransaction.objects.filter(
        status=TreasuryTransaction.Status.FAILED, updated_at__gte=view.now - timedelta(days=1)
    ).order_by("-updated_at")
    for row in failed[:3]:
        yield Alert(
            kind="warn",
            title=f"Funding of {display.eth_text(row.deposit_wei + row.reserve_wei)} failed",
            text=row.error or "The transaction was reverted.",
            since=row.updated_at,
        )


def _redemptions_in_words(count: int) -> str:
    return "1 redemption" if count == 1 else f"{count:,} redemptions"
