"""The daily tie-out: every movement of our balance at the provider against account 1100, to nothing.

What differs is listed in plain words with its age, asked about again, and told once a day as an error in the log.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from accounts import claims
from billing import display, inbox, stripe_gateway
from billing.inbox import Subject
from billing.models import BalanceTransaction, Journal, TieOut
from billing.reconciliation import mirror, poller

log = logging.getLogger(__name__)

# Events, fees and polls take a moment; what is younger is on its way and no difference.
ON_ITS_WAY = timedelta(hours=1)
EVERY = timedelta(days=1)
_SHOWN = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Unexplained:
    """A movement that our books do not tell of, or tell otherwise."""

    movement: BalanceTransaction
    booked_nano_usd: int
    words: str
    young: bool

    @property
    def difference_nano_usd(self) -> int | None:
        """What the books lack; None while the worth of another currency is not known."""
        worth = self.movement.value_nano_usd
        return None if worth is None else worth - self.booked_nano_usd


@dataclass(frozen=True, kw_only=True, slots=True)
class Unmatched:
    """A journal that moves account 1100 and that nothing at the provider answers to."""

    journal: Journal
    moved_nano_usd: int
    words: str
    young: bool


def refresh() -> dict[str, int]:
    """One round of the clock: reads the provider's lists, explains what can be, asks again about what cannot."""
    found = poller.poll()
    found["explained"] = mirror.explain()
    if ask_again():
        found["explained"] += mirror.explain()
    return found


def run() -> list[TieOut]:
    """Compares now, currency by currency, keeps the result and says aloud what differs."""
    refresh()
    standing = _standing()
    rows = _compare(standing)
    if any(row.provider_cents not in (None, row.net_cents) for row in rows):
        # Something may have moved between the list and the sum: read once more before saying that they differ.
        refresh()
        rows = _compare(_standing())
    TieOut.objects.bulk_create(rows)
    for row in rows:
        if not row.agrees:
            log.error(
                "tie-out of account 1100 in %s differs by %s: %s movements unexplained, %s journals unmatched",
                row.currency,
                display.usd_exact(row.difference_nano_usd),
                row.unexplained,
                row.unmatched_journals,
            )
    return rows


def run_when_due() -> bool:
    """The daily one; True when it was due. Two clocks at once make two rows and nothing else."""
    last = TieOut.objects.order_by("-at").values_list("at", flat=True).first()
    if last is not None and timezone.now() - last < EVERY:
        return False
    run()
    return True


def ask_again(*, limit: int = 50) -> int:
    """Syncs the objects of unexplained movements, so that even a lost event heals; returns how many were asked for.

    Each is asked for after pauses that grow with its age.
    """
    asked = 0
    for movement in _due(limit):
        asked += 1
        try:
            inbox.sync(_subject(movement))
        except stripe_gateway.Unavailable:
            break
        except Exception as error:  # one that cannot be synced must not hide the others; it stays listed
            log.warning("movement %s stays unexplained: %s", movement.id, type(error).__name__)
    return asked


def unexplained(*, limit: int = _SHOWN) -> list[Unexplained]:
    """What finance has to look at, the oldest first."""
    movements = list(BalanceTransaction.objects.filter(explained_at=None).order_by("created_at", "id")[:limit])
    booked = _booked({movement.subject for movement in movements})
    return [
        Unexplained(
            movement=movement,
            booked_nano_usd=booked.get(movement.subject, 0),
            words=_words(movement, booked.get(movement.subject)),
            young=_young(movement.created_at),
        )
        for movement in movements
    ]


def unmatched(*, limit: int = _SHOWN) -> list[Unmatched]:
    """Journals on account 1100 without a movement, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT journal_id, sum(moved_nano_usd) FROM billing_loosemove"
            " GROUP BY journal_id, booked_at ORDER BY booked_at, journal_id LIMIT %s",
            [limit],
        )
        moved = {row[0]: int(row[1]) for row in cursor.fetchall()}
    journals = Journal.objects.in_bulk(list(moved))
    return [
        Unmatched(
            journal=journals[id],
            moved_nano_usd=amount,
            words=_words_of_journal(journals[id]),
            young=_young(journals[id].booked_at),
        )
        for id, amount in moved.items()
    ]


def _standing() -> dict[str, int] | None:
    """What the provider says stands there; None when it does not answer now."""
    try:
        return stripe_gateway.balances()
    except (stripe_gateway.Unavailable, stripe_gateway.Refused) as error:
        log.warning("the provider does not tell our balance: %s", error)
        return None


def _compare(standing: dict[str, int] | None) -> list[TieOut]:
    """All figures of one moment of our database."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute(
            """
            WITH movements AS (
                SELECT currency, count(*) AS movements, sum(net_cents) AS net,
                       coalesce(sum(value_nano_usd), 0) AS value,
                       count(*) FILTER (WHERE explained_at IS NULL) AS unexplained,
                       min(created_at) FILTER (WHERE explained_at IS NULL) AS oldest
                FROM billing_balancetransaction GROUP BY currency
            ), books AS (
                SELECT coalesce(nullif(party, ''), 'usd') AS currency, sum(balance) AS balance
                FROM billing_account_balance WHERE number = 1100 AND asset = 'USD' GROUP BY 1
            ), loose AS (
                SELECT currency, count(*) AS journals, min(booked_at) AS oldest FROM billing_loosemove GROUP BY 1
            )
            SELECT currency, coalesce(movements, 0), coalesce(net, 0), coalesce(value, 0), coalesce(balance, 0),
                   coalesce(unexplained, 0), coalesce(journals, 0), least(movements.oldest, loose.oldest)
            FROM movements FULL JOIN books USING (currency) FULL JOIN loose USING (currency) ORDER BY currency"""
        )
        figures = cursor.fetchall()
    return [
        TieOut(
            currency=currency,
            movements=count,
            net_cents=int(net),
            provider_cents=None if standing is None else standing.get(currency, 0),
            value_nano_usd=int(value),
            books_nano_usd=int(balance),
            unexplained=open_movements,
            unmatched_journals=loose,
            oldest_at=oldest,
        )
        for currency, count, net, value, balance, open_movements, loose, oldest in figures
    ]


def _booked(subjects: set[str]) -> dict[str, int]:
    """By subject, what the journals that name it move account 1100 by; without an entry nobody booked anything."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.subject, sum(m.moved_nano_usd) FROM billing_balancetransaction b"
            " JOIN billing_providerjournal p ON p.movement_id = b.id"
            " JOIN billing_providermove m ON m.journal_id = p.journal_id"
            " WHERE b.subject = ANY (%s) GROUP BY b.subject",
            [sorted(subjects)],
        )
        return {subject: int(moved) for subject, moved in cursor.fetchall()}


def _words(movement: BalanceTransaction, booked_nano_usd: int | None) -> str:
    """Why it is here and what to do, for somebody who reads no code."""
    what = {
        "charge": "A payment",
        "refund": "A refund",
        "refund_failure": "A refund that came back",
        "dispute": "A disputed payment",
        "dispute_reversal": "A dispute that was won",
        "payout": "A payout",
        "payout_reversal": "A payout that came back",
        "fee": "A fee of the account",
    }.get(movement.reporting_category, "A movement")
    amount = display.cents_text(movement.net_cents, movement.currency)
    if booked_nano_usd is not None and movement.value_nano_usd is not None:
        booked = display.nano_text(booked_nano_usd, trim=True)
        return f"{what} of {amount} net, but our journals for {movement.subject} come to {booked}."
    if movement.value_nano_usd is None:
        return f"{what} of {amount} net whose worth in dollars is not known yet: what it belongs to has no rate here."
    match movement.reporting_category:
        case "charge":
            return f"{what} of {amount} net that belongs to no paid top-up of ours."
        case "payout" | "payout_reversal":
            return f"{what} of {amount} that is not booked yet."
    return f"{what} of {amount} net that nobody booked."


def _words_of_journal(journal: Journal) -> str:
    if not journal.reference.startswith("stripe:"):
        return "Booked on the provider's balance without naming anything at the provider."
    return f"Names {journal.reference.split(':')[1]}, of which the provider shows no movement."


def _young(moment: datetime) -> bool:
    return timezone.now() - moment < ON_ITS_WAY


def _subject(movement: BalanceTransaction) -> Subject:
    kind = {
        "charge": "charge",
        "refund": "refund",
        "refund_failure": "refund",
        "dispute": "dispute",
        "dispute_reversal": "dispute",
        "payout": "payout",
        "payout_reversal": "payout",
    }.get(movement.reporting_category, "")
    hint = {"payment_intent": movement.payment_intent_id, "charge": movement.charge_id}
    return Subject(kind=kind, id=movement.subject, hint=hint)


def _due(limit: int) -> Iterator[BalanceTransaction]:
    """Claims one after the other, so that two clocks at once share the work."""
    due = claims.ids(
        """
        UPDATE billing_balancetransaction SET asked_at = clock_timestamp() WHERE id = (
            SELECT id FROM billing_balancetransaction
            WHERE explained_at IS NULL AND source_id <> ''
              AND coalesce(asked_at, '-infinity') < clock_timestamp()
                  - greatest(interval '4 minutes', (clock_timestamp() - created_at) / 8)
            ORDER BY asked_at NULLS FIRST, created_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING id
        """,
        limit,
    )
    return (BalanceTransaction.objects.get(id=movement_id) for movement_id in due)
