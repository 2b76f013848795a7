"""A month on paper and in a file: every sum is exact, and the books, the wallet and the statement agree."""

import csv
import hashlib
import io
import json
import uuid
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from accounts.models import ApiKey, Customer
from billing import ledger, postings, statements
from billing.documents import statement_pdf
from billing.exports import books_bundle, general_ledger, month_bundle, statement_csv, usage_csv
from billing.models import ProviderCursor, Wallet
from billing.statements import Statement
from signing.models import ChainCursor
from tests import builders, size
from tests.acting import acting_as

SEPTEMBER, OCTOBER, NOVEMBER = date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def payer() -> Customer:
    return opened_in_september(builders.customer("Payer & Söhne"))


def opened_in_september(customer: Customer) -> Customer:
    Customer.objects.filter(pk=customer.pk).update(created_at=FIRST)
    customer.refresh_from_db()
    return customer


def paid_in(payer: Customer, nano_usd: int, at: datetime) -> None:
    """A credit as it was booked at a moment of the past."""
    reference = f"stripe:pi_{uuid.uuid4().hex}"
    ledger.credit(
        customer_id=payer.pk,
        amount_nano_usd=nano_usd,
        kind="top_up",
        reference=reference,
        occurred_at=at,
        transfers=postings.top_up(customer_id=payer.pk, gross_nano_usd=nano_usd),
        description="Top-up Visa 4242",
    )
    _in_the_past("UPDATE billing_walletentry SET created_at = %s WHERE reference = %s", [at, reference])


def used(payer: Customer, key: ApiKey, cost_wei: int, at: datetime, *, label: str = "app", to: str = "0a") -> int:
    """A charge as it was made at a moment of the past; returns its nano-dollars, 0 when the wallet was too empty."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_id, charged_nano_usd FROM billing_debit"
            "(%s, %s, %s, %s, 'live', %s, 2, 'ticket', 10, %s, %s, %s, 1500)",
            [payer.pk, key.pk, uuid.uuid4(), label, "0x" + to * 20, cost_wei, cost_wei, builders.rate()],
        )
        usage_id, charged = cursor.fetchone()
    if usage_id is None:
        return 0
    _in_the_past("UPDATE billing_usage SET at = %s WHERE id = %s", [at, usage_id])
    return int(charged)


def _in_the_past(statement: str, parameters: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # what was booked is dated back for the story alone
        cursor.execute(statement, parameters)
        cursor.execute("SET session_replication_role = DEFAULT")


def rows_of(statement: Statement) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(statement_csv.lines(statement)))))


def nano(text: str) -> int:
    return int(Decimal(text or "0") * 10**9)


moments = st.integers(0, 75 * 24 * 3600 - 1).map(lambda seconds: FIRST + timedelta(seconds=seconds))
credits = st.tuples(st.just("in"), st.integers(1, 10**13), moments)
debits = st.tuples(st.just("out"), st.integers(1, 10**16), moments)
histories = st.lists(st.one_of(credits, debits, debits, st.just(("post", 0, FIRST))), min_size=1, max_size=25)


@settings(max_examples=size.of(25, full=1_000), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
def test_any_history_adds_up_to_the_nano_dollar_in_every_month(history: list[tuple[str, int, datetime]]) -> None:
    payer = opened_in_september(builders.customer())
    key = builders.api_key(payer)
    expected: dict[date, list[int]] = {month: [0, 0] for month in (SEPTEMBER, OCTOBER, NOVEMBER)}
    for what, amount, at in history:
        month = at.date().replace(day=1)
        if what == "post":
            ledger.post_usage()
        elif what == "in":
            paid_in(payer, amount, at)
            expected[month][0] += amount
        else:
            expected[month][1] += used(payer, key, amount, at, label=f"app {amount % 3}", to=f"0{amount % 2}")

    opening = 0
    for month, (credited, charged) in expected.items():
        statement = statements.of_month(payer, month, now=NOW)
        assert (statement.opening_nano_usd, statement.top_ups_nano_usd) == (opening, credited)
        assert statement.charge_nano_usd == charged
        opening += credited - charged
        assert statement.closing_nano_usd == opening
        assert statement.difference_nano_usd == 0
        rows = rows_of(statement)
        assert nano(rows[0]["balance_usd"]) + sum(nano(row["amount_usd"]) for row in rows) == opening
        assert nano(rows[-1]["balance_usd"]) == opening
        assert [day.balance_nano_usd for day in statements.days(statement)][-1:] in ([], [opening])
        assert sum(group.charge_nano_usd for group in statements.groups(statement)) == charged
    listed = {line.month: line.closing_nano_usd for line in statements.list_months(payer, now=NOW)}
    assert listed[NOVEMBER] == opening
    assert sum(Wallet.objects.filter(customer=payer).values_list("available_nano_usd", flat=True)) == opening


def test_usage_is_grouped_by_day_key_label_and_counterparty_posted_or_not(payer: Customer) -> None:
    paid_in(payer, 100 * 10**9, FIRST)
    one, two = builders.api_key(payer), builders.api_key(payer)
    noon = datetime(2026, 10, 3, 12, tzinfo=UTC)
    charges = [used(payer, one, 10**13 + n, noon) for n in range(3)]
    ledger.post_usage()
    charges += [used(payer, one, 10**13, noon), used(payer, two, 10**13, noon), used(payer, one, 10**13, noon, to="0b")]
    charges += [used(payer, one, 10**13, noon, label="other"), used(payer, one, 10**13, noon + timedelta(days=1))]
    statement = statements.of_month(payer, OCTOBER, now=NOW)
    assert len(statement.usage) == 5
    biggest = max(statement.usage, key=lambda line: line.payments)
    assert (biggest.payments, biggest.quantity) == (4, 8)
    assert biggest.cost_wei == 4 * 10**13 + 3
    assert statement.charge_nano_usd == sum(charges)
    ledger.post_usage()
    assert statements.of_month(payer, OCTOBER, now=NOW) == statement
    ledger.post_usage()
    assert statements.of_month(payer, OCTOBER, now=NOW) == statement, "posting twice counts nothing twice"


def test_the_last_instant_of_a_month_belongs_to_it_and_the_next_to_the_next(payer: Customer) -> None:
    key = builders.api_key(payer)
    midnight = datetime(2026, 10, 1, tzinfo=UTC)
    last = midnight - timedelta(microseconds=1)
    paid_in(payer, 10 * 10**9, last)
    paid_in(payer, 20 * 10**9, midnight)
    before = used(payer, key, 10**14, last)
    after = used(payer, key, 2 * 10**14, midnight)
    september = statements.of_month(payer, SEPTEMBER, now=NOW)
    october = statements.of_month(payer, OCTOBER, now=NOW)
    assert (september.top_ups_nano_usd, september.charge_nano_usd) == (10 * 10**9, before)
    assert (october.top_ups_nano_usd, october.charge_nano_usd) == (20 * 10**9, after)
    assert october.opening_nano_usd == september.closing_nano_usd


def test_a_statement_speaks_of_its_own_customer_alone(payer: Customer) -> None:
    other = opened_in_september(builders.customer("Other"))
    paid_in(other, 5 * 10**9, FIRST)
    used(other, builders.api_key(other), 10**14, FIRST)
    statement = statements.of_month(payer, SEPTEMBER, now=NOW)
    assert (statement.entries, statement.usage, statement.closing_nano_usd) == ((), (), 0)


def test_the_pdf_opens_and_says_what_the_statement_says(payer: Customer) -> None:
    paid_in(payer, 100 * 10**9, FIRST)
    key = builders.api_key(payer)
    for day in range(9):
        used(payer, key, 123_456_789_012_345, FIRST + timedelta(days=day), label="daydream #[x] $y$ *z* \\n")
    used(payer, key, 123_456_789_012_345, FIRST, label="")
    statement = statements.of_month(payer, SEPTEMBER, now=NOW)
    content = statement_pdf.render(statement)
    assert content.startswith(b"%PDF-")
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)
    assert statement.number in text
    assert "Payer & Söhne" in text
    assert "daydream #[x] $y$ *z* \\n Live session" in text, "a label is text and never markup"
    assert "Live session · key" in text, "work without a label is called by its kind"
    assert "Live session, 1 payment to 0x" in rows_of(statement)[2]["description"]
    assert "$100.00" in text
    assert f"${Decimal(statement.charge_nano_usd) / 10**9:.9f}" in text
    assert statement_pdf.render(statement) == content, "the same month is the same file"


def test_a_cell_that_looks_like_a_formula_reaches_no_spreadsheet_as_one(payer: Customer) -> None:
    paid_in(payer, 100 * 10**9, FIRST)
    used(payer, builders.api_key(payer), 10**14, FIRST, label='=HYPERLINK("http://x")')
    statement = statements.of_month(payer, SEPTEMBER, now=NOW)
    [line] = [row for row in rows_of(statement) if row["type"] == "usage"]
    assert line["description"].startswith("'=")
    [charge] = csv.DictReader(io.StringIO("".join(usage_csv.lines(payer.usage.select_related("api_key", "rate")))))
    assert charge["label"].startswith("'=")
    assert nano(charge["charge_usd"]) == int(charge["charge_nano_usd"]) == statement.charge_nano_usd


def test_the_general_ledger_balances_in_both_assets_and_names_every_account(payer: Customer) -> None:
    paid_in(payer, 100 * 10**9, FIRST)
    used(payer, builders.api_key(payer), 123_456_789_012_345, FIRST)
    ledger.post_usage()
    rows = list(csv.DictReader(io.StringIO("".join(general_ledger.lines(start=FIRST, end=NOW)))))
    for asset, unit in (("USD", 10**9), ("ETH", 10**18)):
        lines = [row for row in rows if row["asset"] == asset]
        debit = sum(Decimal(row["debit"] or 0) for row in lines)
        assert debit == sum(Decimal(row["credit"] or 0) for row in lines) > 0
        assert debit * unit == sum(int(row["debit_nano_usd_or_wei"] or 0) for row in lines)
    prepaid = [row for row in rows if row["account_no"] == "2100"]
    owed = sum(Decimal(row["credit"] or 0) - Decimal(row["debit"] or 0) for row in prepaid)
    assert owed * 10**9 == statements.of_month(payer, NOVEMBER, now=NOW).closing_nano_usd
    assert {row["party"] for row in prepaid} == {str(payer.pk)}
    assert all(row["account_name"] for row in rows)
    assert not list(general_ledger.lines(start=NOW, end=NOW))[1:]


def test_the_bundle_of_a_month_holds_every_customer_once_and_its_sums_agree(payer: Customer) -> None:
    other = opened_in_september(builders.customer("Other"))
    opened_in_september(builders.customer("Never paid in"))
    for customer in (payer, other):
        paid_in(customer, 70 * 10**9, FIRST)
        used(customer, builders.api_key(customer), 10**15, FIRST + timedelta(days=2))

    def bundle() -> tuple[bytes, dict[str, Any]]:
        target = io.BytesIO()
        manifest = month_bundle.write(target, SEPTEMBER, now=NOW)
        return target.getvalue(), manifest

    content, manifest = bundle()
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert json.loads(archive.read("manifest.json")) == manifest
    assert (manifest["statements"], manifest["final"]) == (2, True)
    for file in manifest["files"]:
        assert hashlib.sha256(archive.read(file["name"])).hexdigest() == file["sha256"]
    closing = sum(statements.of_month(customer, SEPTEMBER, now=NOW).closing_nano_usd for customer in (payer, other))
    assert nano(manifest["totals_usd"]["closing"]) == closing
    assert bundle()[0] == content, "a closed month is the same archive, byte for byte"


def test_a_month_is_closed_once_what_was_under_way_at_its_end_is_booked(payer: Customer) -> None:
    """A payment that began before midnight commits after it: nothing of the month is final until an hour later."""
    key, midnight = builders.api_key(payer), datetime(2026, 10, 1, tzinfo=UTC)
    paid_in(payer, 10 * 10**9, FIRST)
    early = statements.of_month(payer, SEPTEMBER, now=midnight + timedelta(milliseconds=1))
    late = used(payer, key, 10**14, midnight - timedelta(milliseconds=1))
    closed = statements.of_month(payer, SEPTEMBER, now=midnight + timedelta(hours=1))
    assert early.closing_nano_usd - closed.closing_nano_usd == late > 0

    def says(now: datetime) -> list[tuple[bool, bool]]:
        found = statements.of_month(payer, SEPTEMBER, now=now)
        listed = next(line for line in statements.list_months(payer, now=now) if line.month == SEPTEMBER)
        bundles = [bundle.write(io.BytesIO(), SEPTEMBER, now=now)["final"] for bundle in (month_bundle, books_bundle)]
        assert set(bundles) == {found.final}
        return [(found.over, found.final), (listed.over, listed.final)]

    books_alone = books_bundle.write(io.BytesIO(), SEPTEMBER, now=NOW)
    assert books_alone["final"] is False, "what is not posted yet changes the books of the month"
    ledger.post_usage()
    assert says(midnight - timedelta(microseconds=1)) == [(False, False)] * 2
    for now in (midnight, midnight + timedelta(minutes=59, seconds=59)):
        assert says(now) == [(True, False)] * 2
    assert says(midnight + timedelta(hours=1)) == [(True, True)] * 2


def test_the_books_of_a_month_are_final_once_the_chain_is_booked_beyond_it(payer: Customer) -> None:
    paid_in(payer, 10 * 10**9, FIRST)
    closes_at = statements.closes_at(SEPTEMBER)

    def booked(name: str, at: datetime) -> None:
        given = {"block_number": 7, "block_hash": "0x07", "updated_at": at}
        ChainCursor.objects.update_or_create(name=name, defaults=given)

    def is_final() -> bool:
        with acting_as("web"):
            return bool(books_bundle.write(io.BytesIO(), SEPTEMBER, now=NOW)["final"])

    assert is_final(), "who follows no chain waits for none"
    booked("booked:31337:0xa", closes_at - timedelta(seconds=1))
    assert not is_final(), "the chain was not read since: what happened on it may still come"
    booked("booked:42161:0xa", closes_at)
    assert is_final(), "another chain was followed before"
    booked("booked:42161:0xb", closes_at - timedelta(seconds=1))
    booked("latest:42161:0xb", closes_at)
    assert not is_final()
    booked("booked:42161:0xb", NOW)
    assert is_final()


def test_the_books_of_a_month_are_final_once_the_provider_was_read_beyond_it(payer: Customer, settings: Any) -> None:
    paid_in(payer, 10 * 10**9, FIRST)
    closes_at = statements.closes_at(SEPTEMBER)
    cursors = ProviderCursor.objects
    cursors.bulk_create(
        ProviderCursor(name=name, since=FIRST, read_at=closes_at) for name in ProviderCursor.Name.values
    )

    def is_final() -> bool:
        with acting_as("web"):
            return bool(books_bundle.write(io.BytesIO(), SEPTEMBER, now=NOW)["final"])

    settings.STRIPE_SECRET_KEY = "sk_test_1"
    assert is_final()
    for unread in (None, closes_at - timedelta(seconds=1)):
        cursors.filter(name=ProviderCursor.Name.EVENTS).update(read_at=unread)
        assert not is_final(), "what it did before the end of the month may still come"
    settings.STRIPE_SECRET_KEY = ""
    assert is_final(), "who asks no provider waits for none"


def test_day_totals_and_single_charges_say_the_same(payer: Customer) -> None:
    paid_in(payer, 100 * 10**9, FIRST)
    key = builders.api_key(payer)
    for n in range(20):
        used(payer, key, 10**12 + n, FIRST + timedelta(hours=7 * n), label=f"app {n % 2}")
        if n == 11:
            ledger.post_usage(limit=5)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(payments), sum(charge_nano_usd), sum(cost_wei) FROM billing_usage_by_day"
            " UNION ALL SELECT count(*), sum(charge_nano_usd), sum(cost_wei) FROM billing_usage"
        )
        totals, single = cursor.fetchall()
    assert totals == single


def test_the_month_after_december_is_january() -> None:
    assert statements.next_month(date(2026, 12, 1)) == date(2027, 1, 1)
    assert statements.next_month(date(2026, 1, 1)) == date(2026, 2, 1)


def test_promotional_credit_stands_apart_from_paid_money(payer: Customer) -> None:
    paid_in(payer, 10 * 10**9, FIRST)
    key = builders.api_key(payer)
    reference = f"grant:{uuid.uuid4()}"
    ledger.grant_promo(
        customer_id=payer.pk, amount_nano_usd=5 * 10**9, campaign="launch", reference=reference, occurred_at=FIRST
    )
    _in_the_past("UPDATE billing_walletentry SET created_at = %s WHERE reference = %s", [FIRST, reference])
    charge = used(payer, key, 10**15, FIRST + timedelta(days=3))
    later = used(payer, key, 10**15, FIRST + timedelta(days=40))
    for _ in range(2):  # before and after it is posted
        september, october = (statements.of_month(payer, month, now=NOW) for month in (SEPTEMBER, OCTOBER))
        assert (september.promo_given_nano_usd, september.promo_used_nano_usd) == (5 * 10**9, charge)
        assert september.promo_closing_nano_usd == october.promo_opening_nano_usd == 5 * 10**9 - charge
        assert september.closing_nano_usd == 15 * 10**9 - charge
        assert september.other_paid_nano_usd == 0
        assert october.promo_used_nano_usd == 5 * 10**9 - charge < later, "the rest came from paid money"
        assert september.difference_nano_usd == october.difference_nano_usd == 0
        ledger.post_usage()
    rows = rows_of(september)
    assert nano(rows[0]["of_which_promotional_usd"]) + sum(
        nano(row["of_which_promotional_usd"]) for row in rows[1:-1]
    ) == nano(rows[-1]["of_which_promotional_usd"])
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(statement_pdf.render(september))).pages)
    assert "Promotional credit" in text
    assert f"${Decimal(charge) / 10**9:.9f}" in text
    _in_the_past("UPDATE billing_wallet SET promo_nano_usd = 1 WHERE customer_id = %s", [payer.pk])
    assert statements.of_month(payer, SEPTEMBER, now=NOW).difference_nano_usd == 1
