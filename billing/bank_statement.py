"""Lines of our bank's statement: entered by hand or from a CSV file, each once; then what each of them is.

The file has a heading and the columns date, amount, currency, reference, counterparty, in any order, divided by commas
or semicolons: dates as 2026-11-21, amounts as 1234.50 or -1234.50. A line is known by all that it says and by how many
of its kind stood before it in the file, so a file read twice, or one that overlaps another by whole days, adds nothing.
"""

import csv
import hashlib
import io
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from billing import ledger, postings
from billing.models import BankLine, Payout

COLUMNS = ("date", "amount", "currency", "reference", "counterparty")
MOST_LINES = 5_000
CURRENCIES = ("usd", "eur", "gbp")
_AMOUNT = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,2}))?", re.ASCII)
_LATEST = timedelta(days=3)


class WrongFile(Exception):
    """The file, or one line of it, cannot be read; the text says which and why. Nothing was taken over."""


class NotThatPayout(Exception):
    """The line cannot be this payout; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line as it was read; negative cents left our account."""

    booked_on: date
    amount_cents: int
    currency: str
    reference: str
    counterparty: str


def read(text: str) -> list[Entry]:
    """The lines of a file. Raises WrongFile at the first one that is wrong."""
    heading = text.lstrip("\N{ZERO WIDTH NO-BREAK SPACE}").partition("\n")[0]
    delimiter = ";" if heading.count(";") > heading.count(",") else ","
    reader = csv.DictReader(io.StringIO(text.lstrip("\N{ZERO WIDTH NO-BREAK SPACE}")), delimiter=delimiter)
    names = [(name or "").strip().lower() for name in reader.fieldnames or []]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise WrongFile(f"The heading lacks {', '.join(missing)}. It must name {', '.join(COLUMNS)}.")
    reader.fieldnames = names
    entries = []
    try:
        for cells in reader:
            if any((value or "").strip() for name, value in cells.items() if name in COLUMNS):
                entries.append(entry({name: (cells[name] or "").strip() for name in COLUMNS}, reader.line_num))
            if len(entries) > MOST_LINES:
                raise WrongFile(f"More than {MOST_LINES:,} lines: divide the file.")
    except csv.Error as error:
        raise WrongFile(f"Line {reader.line_num}: {error}.") from None
    if not entries:
        raise WrongFile("The file has no lines below its heading.")
    return entries


def enter(entries: list[Entry], *, user: User, file_name: str = "") -> int:
    """Takes lines over, all or none; returns how many were new."""
    seen: Counter[Entry] = Counter()
    rows = []
    for entry in entries:
        seen[entry] += 1
        rows.append(
            BankLine(
                booked_on=entry.booked_on,
                amount_cents=entry.amount_cents,
                currency=entry.currency,
                reference=entry.reference,
                counterparty=entry.counterparty,
                fingerprint=_fingerprint(entry, seen[entry]),
                file_name=file_name[:120],
                entered_by=user,
            )
        )
    with transaction.atomic():
        before = BankLine.objects.filter(fingerprint__in=[row.fingerprint for row in rows]).count()
        BankLine.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows) - before


def may_be(line: BankLine) -> list[Payout]:
    """Payouts that this line can be: the same amount, and still on the way in the line's direction."""
    came_back = [Payout.Status.FAILED, Payout.Status.CANCELED]
    same = Payout.objects.filter(currency=line.currency, amount_cents=abs(line.amount_cents)).order_by("arrives_at")
    if line.amount_cents > 0:
        return [each for each in same if _shown_cents(each) == 0]
    return [each for each in same.filter(status__in=came_back) if _shown_cents(each) > 0]


def match_payout(line_id: int, payout_id: str, *, user: User | None) -> None:
    """Says which payout a line is; the worker books it. Raises NotThatPayout; twice the same is fine."""
    with transaction.atomic():
        line = BankLine.objects.select_for_update(of=("self",)).get(pk=line_id)
        if line.payout_id == payout_id:
            return
        if line.payout_id or line.top_up_id or line.ignored_because:
            raise NotThatPayout("This line was matched meanwhile.")
        _lock(payout_id)
        if payout_id not in [each.id for each in may_be(line)]:
            raise NotThatPayout("This line cannot be that payout: the amount differs, or another line is it.")
        values = {"payout_id": payout_id, "matched_by": user, "matched_at": timezone.now()}
        BankLine.objects.filter(pk=line_id, payout=None, top_up=None, ignored_because="").update(**values)


def ignore(line_id: int, because: str, *, user: User) -> bool:
    """Puts a line aside that is neither a payout nor a customer's transfer; False when it is matched already."""
    open_line = BankLine.objects.filter(pk=line_id, payout=None, top_up=None, journal=None, ignored_because="")
    return bool(open_line.update(ignored_because=because.strip()[:200], matched_by=user, matched_at=timezone.now()))


def match_alone(*, limit: int = 500) -> int:
    """Matches lines that name the provider or the payout and can be exactly one payout; returns how many."""
    matched = 0
    for line in BankLine.objects.filter(payout=None, top_up=None, ignored_because="").order_by("id")[:limit]:
        text = f"{line.reference} {line.counterparty}".lower()
        candidates = may_be(line)
        named = [each for each in candidates if each.id.lower() in text or (each.trace and each.trace.lower() in text)]
        sure = named or (candidates if "stripe" in text else [])
        if len(sure) == 1:
            match_payout(line.pk, sure[0].id, user=None)
            matched += 1
    return matched


def book_matched(*, limit: int = 500) -> int:
    """Clears account 1120 for lines that were matched to a payout; returns how many were booked."""
    booked = 0
    waiting = BankLine.objects.filter(payout__value_nano_usd__isnull=False, journal=None).order_by("id")
    for line_id in list(waiting.values_list("pk", flat=True)[:limit]):
        booked += _book(line_id)
    return booked


def payouts_on_their_way() -> list[Payout]:
    """Payouts whose account 1120 does not stand at nothing, the oldest first."""
    standing = [row.party for row in ledger.balances(postings.PAYOUTS) if row.amount]
    return list(Payout.objects.filter(id__in=standing).order_by("created_at"))


def _book(line_id: int) -> bool:
    with transaction.atomic(durable=True):
        line = BankLine.objects.select_for_update(of=("self",)).select_related("payout").get(pk=line_id)
        payout = line.payout
        if line.journal_id or payout is None or payout.value_nano_usd is None:
            return False
        came = line.amount_cents > 0
        rule = postings.payout_arrived if came else postings.payout_left_bank
        journal_id = ledger.book(
            kind="payout_arrived" if came else "payout_sent_back",
            reference=f"bank:{line.pk}",
            occurred_at=timezone.now(),
            transfers=rule(payout_id=payout.id, value_nano_usd=payout.value_nano_usd, currency=payout.currency),
            description=f"Bank line of {line.booked_on}, payout {payout.id}",
        )
        assert journal_id is not None, "a line is booked in the transaction that says so"
        BankLine.objects.filter(pk=line_id).update(journal=journal_id)
        return True


def _shown_cents(payout: Payout) -> int:
    """What the bank shows of a payout so far: lines that came less lines that left."""
    return sum(payout.bank_lines.values_list("amount_cents", flat=True))


def _lock(payout_id: str) -> None:
    """One line at a time is matched to a payout."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('billing_bank_payout'), hashtext(%s))", [payout_id])


def entry(cells: dict[str, str], number: int) -> Entry:
    """One line; `number` is where it stands, for the words of WrongFile."""
    try:
        booked_on = date.fromisoformat(cells["date"])
    except ValueError:
        raise WrongFile(f"Line {number}: the date {cells['date']!r} is not like 2026-11-21.") from None
    if booked_on > timezone.now().date() + _LATEST:
        raise WrongFile(f"Line {number}: {booked_on} has not come yet.")
    found = _AMOUNT.fullmatch(cells["amount"])
    if not found:
        raise WrongFile(f"Line {number}: the amount {cells['amount']!r} is not like 1234.50 or -1234.50.")
    cents = int(found[2]) * 100 + int((found[3] or "").ljust(2, "0"))
    if not cents:
        raise WrongFile(f"Line {number}: the amount is nothing.")
    currency = cells["currency"].lower()
    if currency not in CURRENCIES:
        raise WrongFile(f"Line {number}: the currency {cells['currency']!r} is none of USD, EUR, GBP.")
    return Entry(
        booked_on=booked_on,
        amount_cents=-cents if found[1] else cents,
        currency=currency,
        reference=_text(cells["reference"], "reference", number),
        counterparty=_text(cells["counterparty"], "counterparty", number),
    )


def _text(value: str, name: str, number: int) -> str:
    if len(value) > 200 or "\x00" in value:
        raise WrongFile(f"Line {number}: the {name} is longer than 200 characters.")
    return " ".join(value.split())


def _fingerprint(entry: Entry, place: int) -> str:
    parts = (str(entry.booked_on), str(entry.amount_cents), entry.currency, entry.reference, entry.counterparty)
    return hashlib.sha256("\x1f".join([*parts, str(place)]).encode()).hexdigest()
