"""Reading what a customer's gateways did: sessions, their payments, and which tickets were redeemed."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet

from billing import usage
from billing.models import Usage
from billing.usage import SourceSum
from signing import sender_keys
from signing.models import ChainSnapshot, Payment, Redemption, Refusal, SignerSession
from signing.newest_sessions import newest_sessions

# A gateway of live video pays every few seconds; one that was silent for this long is not called live.
LIVE = timedelta(seconds=60)
# TicketBroker.ticketValidityPeriod: a ticket can be redeemed while creationRound + 2 > current round.
TICKET_VALIDITY_ROUNDS = 2

# Among what signers noted, what they call a payment made again because its first answer was lost.
CHARGED_ANEW = "charged_anew"

# A job of this kind is paid once and then over.
PAID_AT_ONCE = "fixed"


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionLine:
    """A session with its sums; `last_minute_nano_usd` is what it cost in the last minute, 0 when it is over."""

    session: SignerSession
    total: SourceSum
    last_minute_nano_usd: int = 0

    @property
    def label(self) -> str:
        """What the customer calls the work, its app or its model; empty for plain transcoding."""
        return self.total.label or self.session.app

    @property
    def live(self) -> bool:
        return self.last_minute_nano_usd > 0 and self.session.kind != PAID_AT_ONCE

    @property
    def running(self) -> timedelta:
        return self.session.last_update - self.session.opened_at


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentLine:
    """One payment: its charge, its tickets, and the redemptions of them that the chain has shown so far."""

    charge: Usage
    payment: Payment
    redemptions: tuple[Redemption, ...]

    @property
    def last_round(self) -> int:
        """The last round in which one of its tickets can be redeemed."""
        return self.payment.creation_round + TICKET_VALIDITY_ROUNDS - 1

    @property
    def markup_nano_usd(self) -> int:
        """What the charge has beyond the expected value, with the rounding up of both."""
        return self.charge.charge_nano_usd - self.charge.cost_nano_usd


@dataclass(frozen=True, kw_only=True, slots=True)
class RedeemedLine:
    """A redeemed ticket and the payment that held it, with its session."""

    redemption: Redemption
    payment: Payment | None

    @property
    def shortfall_wei(self) -> int:
        return self.redemption.face_value_wei - self.redemption.paid_wei


def live_sessions(customer_id: int, *, now: datetime, limit: int = 8) -> list[SessionLine]:
    """Sessions that paid within the last minute, the newest payment first."""
    recent = usage.lately(customer_id, since=now - LIVE, limit=limit)
    found = _sessions(customer_id).filter(id__in=list(recent)).exclude(kind=PAID_AT_ONCE).in_bulk()
    sums = usage.by_source(customer_id, list(found))
    return [
        SessionLine(
            session=found[source],
            total=sums.get(source, SourceSum()),
            last_minute_nano_usd=spent.charge_nano_usd,
        )
        for source, spent in recent.items()
        if source in found
    ]


def sessions(
    customer_id: int,
    *,
    now: datetime,
    since: datetime | None,
    api_key_id: int | None,
    before: tuple[datetime, uuid.UUID] | None,
    limit: int,
) -> list[SessionLine]:
    """Sessions opened from `since` on, newest first, after the one named by `before`."""
    rows = newest_sessions(customer_id, limit=limit, now=now, since=since, api_key_id=api_key_id, before=before)
    sums = usage.by_source(customer_id, [row.id for row in rows])
    recent = usage.lately(customer_id, since=now - LIVE, limit=1_000)
    return [
        SessionLine(
            session=row,
            total=sums.get(row.id, SourceSum()),
            last_minute_nano_usd=recent[row.id].charge_nano_usd if row.id in recent else 0,
        )
        for row in rows
    ]


def session(customer_id: int, session_id: uuid.UUID, *, now: datetime) -> SessionLine | None:
    row = _sessions(customer_id).filter(id=session_id).first()
    if row is None:
        return None
    sums = usage.by_source(customer_id, [row.id])
    minute = usage.charges(customer_id, since=now - LIVE, source=row.id)
    return SessionLine(
        session=row,
        total=sums.get(row.id, SourceSum()),
        last_minute_nano_usd=sum(minute.values_list("charge_nano_usd", flat=True)),
    )


def payments(
    customer_id: int, session_id: uuid.UUID, *, before_id: int | None = None, limit: int = 50
) -> list[PaymentLine]:
    """The payments of a session, newest first."""
    charges = list(usage.charges(customer_id, source=session_id, before_id=before_id)[:limit])
    return _with_tickets(customer_id, charges)


def payment(customer_id: int, session_id: uuid.UUID, charge_id: int) -> PaymentLine | None:
    lines = _with_tickets(customer_id, list(usage.charges(customer_id, source=session_id).filter(id=charge_id)))
    return lines[0] if lines else None


def redemptions(customer_id: int, *, limit: int = 5) -> list[RedeemedLine]:
    """The newest redeemed tickets that this customer's payments held."""
    found = Redemption.objects.filter(customer_id=customer_id).select_related("event").order_by("-seen_at", "-id")
    return _traced(customer_id, found[:limit])


def redemptions_of(customer_id: int, session_id: uuid.UUID) -> list[RedeemedLine]:
    """The redeemed tickets of one session."""
    won = Redemption.objects.filter(customer_id=customer_id)
    # Winners are few: each one's payment is looked up, rather than all payments of the session.
    issued = Payment.objects.filter(customer_id=customer_id, session_id=session_id, id__in=won.values("payment_id"))
    found = won.filter(payment_id__in=issued.values("id")).select_related("event")
    return _traced(customer_id, found.order_by("-seen_at", "-id"))


def refusals(customer_id: int, *, since: datetime) -> list[Refusal]:
    """What signers refused, one row a kind, the last first."""
    return list(Refusal.objects.filter(customer_id=customer_id, last_at__gte=since).order_by("-last_at", "code"))


def current_round() -> int | None:
    """The round of the newest look at the chain; None before the first."""
    snapshot = ChainSnapshot.objects.filter(sender__in=sender_keys.ours()).order_by("-read_at").first()
    return snapshot.current_round if snapshot else None


def _sessions(customer_id: int) -> QuerySet[SignerSession]:
    return SignerSession.objects.filter(customer_id=customer_id).select_related("api_key")


def _traced(customer_id: int, found: QuerySet[Redemption]) -> list[RedeemedLine]:
    rows = list(found)
    # By the table's own key, customer first: payments are too many to be joined by their number alone.
    ids = [row.payment_id for row in rows if row.payment_id is not None]
    issued = Payment.objects.filter(customer_id=customer_id, id__in=ids).in_bulk()
    return [RedeemedLine(redemption=row, payment=issued.get(row.payment_id or 0)) for row in rows]


def _with_tickets(customer_id: int, charges: list[Usage]) -> list[PaymentLine]:
    ids = [charge.id for charge in charges]
    # A payment has its charge's number; those of before have one of their own, and an index of theirs.
    of_charges = Q(id__in=ids, usage_id=F("id")) | Q(Q(usage_id__in=ids), ~Q(usage_id=F("id")))
    issued = {row.usage_id: row for row in Payment.objects.filter(of_charges, customer_id=customer_id)}
    won: dict[int, list[Redemption]] = {}
    for row in Redemption.objects.filter(payment_id__in=[row.id for row in issued.values()]).select_related("event"):
        assert row.payment_id is not None
        won.setdefault(row.payment_id, []).append(row)
    return [
        PaymentLine(
            charge=charge,
            payment=issued[charge.id],
            redemptions=tuple(won.get(issued[charge.id].id, ())),
        )
        for charge in charges
        if charge.id in issued
    ]
