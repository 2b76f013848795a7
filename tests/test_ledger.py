"""The books: balanced by construction, written once, credited once per reference, exact to the nano-dollar."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import Model
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.models import Customer
from billing import check_books, ledger, money, postings
from billing.models import Journal, LedgerAccount, Transfer, Wallet, WalletEntry
from billing.postings import Account
from tests import builders, size

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RATE = 3_000 * money.NANO_USD_PER_USD


@pytest.mark.django_db
def test_a_reference_is_booked_once() -> None:
    transfers = postings.provider_fee(fee_nano_usd=590_000_000)
    first = ledger.book(kind="fee", reference="stripe:txn_1:fee", occurred_at=NOW, transfers=transfers)
    again = ledger.book(kind="fee", reference="stripe:txn_1:fee", occurred_at=NOW, transfers=transfers)
    assert first is not None
    assert again is None
    assert ledger.balance(postings.STRIPE_FEES, "USD") == 590_000_000
    assert ledger.balance(postings.STRIPE_BALANCE, "USD") == -590_000_000


@pytest.mark.django_db
def test_a_journal_without_transfers_is_refused() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ledger.book(kind="fee", reference="empty", occurred_at=NOW, transfers=[])
    assert not Journal.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Journal, Transfer, WalletEntry, LedgerAccount])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET id = id", "TRUNCATE {} CASCADE"])
def test_what_was_booked_can_not_be_changed_even_by_the_owner_of_the_tables(model: type[Model], statement: str) -> None:
    builders.top_up(builders.customer(), 100)
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            cursor.execute(statement.format(table))


@pytest.mark.django_db
def test_a_usage_row_changes_only_by_being_posted_once() -> None:
    customer = builders.customer()
    builders.top_up(customer, 100)
    usage_id = builders.debit(customer, cost_wei=10**12)
    for statement in ("UPDATE billing_usage SET charge_nano_usd = 1", "DELETE FROM billing_usage"):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert ledger.post_usage() == 1
    assert ledger.post_usage() == 0
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_usage SET journal_id = NULL WHERE id = %s", [usage_id])


@pytest.mark.django_db
def test_a_transfer_between_two_assets_can_not_be_written() -> None:
    builders.top_up(builders.customer(), 100)
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_account(9100, 'ETH', ''), billing_account(1100, 'USD', '')")
        eth, usd = cursor.fetchone()
        journal = Journal.objects.latest("id")
        with pytest.raises(IntegrityError), transaction.atomic():
            cursor.execute(
                "INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_wei) VALUES (%s, %s, %s, 5)",
                [journal.pk, eth, usd],
            )


@pytest.mark.django_db
def test_usage_becomes_revenue_cost_and_an_accrued_liability_in_both_assets() -> None:
    customer = builders.customer()
    builders.top_up(customer, 100)
    for _ in range(3):
        builders.debit(customer, cost_wei=2_500_000_000_000, recipient="0x" + "ab" * 20, markup_bps=1_500)
    assert ledger.post_usage() == 3
    # 2.5e12 wei at 3,000 USD are 7,500,000 nano-dollars; with 15 % on top 8,625,000.
    assert ledger.balance(postings.USAGE_REVENUE, "USD") == -3 * 8_625_000
    assert ledger.balance(postings.NETWORK_COST, "USD") == 3 * 7_500_000
    assert ledger.balance(postings.ACCRUED_TICKETS, "USD", "0x" + "ab" * 20) == -3 * 7_500_000
    assert ledger.balance(postings.ACCRUED_TICKETS, "ETH", "0x" + "ab" * 20) == -3 * 2_500_000_000_000
    assert ledger.balance(postings.ETH_WORLD, "ETH") == 3 * 2_500_000_000_000
    assert ledger.balance(postings.PREPAID, "USD", str(customer.pk)) == -(100 * 10**9 - 3 * 8_625_000)
    assert Wallet.objects.get(customer=customer).available_nano_usd == 100 * 10**9 - 3 * 8_625_000
    assert not any(check_books.invariants().values())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("damage", "noticed_by"),
    [
        ("UPDATE billing_usageday SET charge_nano_usd = charge_nano_usd + 1", {"day_totals_that_differ_from_usage"}),
        ("DELETE FROM billing_usageday", {"day_totals_that_differ_from_usage"}),
        (
            "INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_nano_usd)"
            " SELECT j.id, billing_account(5000, 'USD', ''), billing_account(2300, 'USD', '0x'), 1"
            " FROM billing_journal j WHERE kind = 'usage'",
            {"recipients_whose_cost_differs_from_usage"},
        ),
        (
            "INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_nano_usd)"
            " SELECT j.id, billing_account(2100, 'USD', customer_id::text), billing_account(4000, 'USD', ''), 1"
            " FROM billing_journal j WHERE kind = 'usage'",
            {"wallets_differ_from_account_2100_nano_usd", "usage_differs_from_its_journals_nano_usd"},
        ),
    ],
    ids=["more", "none", "cost", "revenue"],
)
def test_damage_to_posted_usage_is_noticed(damage: str, noticed_by: set[str]) -> None:
    customer = builders.customer()
    builders.top_up(customer, 100)
    builders.debit(customer, cost_wei=2_500_000_000_000)
    ledger.post_usage()
    assert not any(check_books.invariants().values())
    with connection.cursor() as cursor:
        cursor.execute(damage)
    assert {name for name, figure in check_books.invariants().items() if figure} == noticed_by


@pytest.mark.django_db
def test_a_wallet_is_spent_to_exactly_zero_and_not_beyond() -> None:
    customer = builders.customer()
    builders.top_up(customer, 10)
    price = money.price_nano_usd(10**15, nano_usd_per_eth=RATE, markup_bps=0)
    assert price * 3 < 10 * 10**9
    for _ in range(3):
        assert builders.debit(customer, cost_wei=10**15, markup_bps=0)
    assert builders.refusal(customer, cost_wei=10**15, markup_bps=0) == "insufficient_credit"
    left = 10 * 10**9 - 3 * price
    assert builders.debit(customer, cost_wei=left * 10**18 // RATE, markup_bps=0)
    assert Wallet.objects.get(customer=customer).available_nano_usd == 0
    assert builders.refusal(customer, cost_wei=1, markup_bps=0) == "insufficient_credit"


@pytest.mark.django_db
def test_a_frozen_customer_and_a_revoked_key_are_refused_by_the_ledger_itself() -> None:
    customer = builders.customer()
    builders.top_up(customer, 10)
    customer.status = Customer.Status.FROZEN
    customer.save()
    assert builders.refusal(customer, cost_wei=1) == "account_frozen"
    customer.status = Customer.Status.ACTIVE
    customer.save()
    customer.api_keys.update(revoked_at=NOW)
    assert builders.refusal(customer, cost_wei=1) == "key_revoked"
    assert Wallet.objects.get(customer=customer).available_nano_usd == 10 * 10**9


@pytest.mark.django_db(transaction=True)
def test_many_at_once_never_overspend_and_never_credit_twice() -> None:
    customer = builders.customer()
    key = builders.api_key(customer)
    rate = builders.rate()
    price = money.price_nano_usd(10**15, nano_usd_per_eth=RATE, markup_bps=1_500)

    def credit(_: int) -> int | None:
        try:
            return builders.credit(customer, 10 * price, reference="stripe:pi_once")
        finally:
            connections.close_all()

    def debit(_: int) -> bool:
        try:
            return builders.try_debit(customer, key, rate, cost_wei=10**15, markup_bps=1_500)[1] is None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(journal is not None for journal in pool.map(credit, range(16))) == 1
        assert sum(pool.map(debit, range(size.of(64, full=20_000)))) == 10
    assert Wallet.objects.get(customer=customer).available_nano_usd == 0
    with ThreadPoolExecutor(4) as pool:
        posted = list(pool.map(lambda _: _posting(), range(4)))
    assert sum(posted) == 10
    figures = check_books.invariants()
    # This credit came without a top-up row, which the books rightly remark.
    assert figures.pop("top_ups_credited_but_not_paid") == 1
    assert not any(figures.values())


def _posting() -> int:
    try:
        return ledger.post_usage()
    finally:
        connections.close_all()


@pytest.mark.django_db
@settings(max_examples=size.of(200, full=10_000))
@given(wei=st.integers(1, 10**30), rate=st.integers(1, 10**14), bps=st.integers(0, 100_000))
def test_python_and_sql_price_alike_and_round_up_once(wei: int, rate: int, bps: int) -> None:
    price = money.price_nano_usd(wei, nano_usd_per_eth=rate, markup_bps=bps)
    exact_times = wei * rate * (10_000 + bps)
    assert (price - 1) * 10**22 < exact_times <= price * 10**22
    if price < 2**63:
        with connection.cursor() as cursor:
            cursor.execute("SELECT billing_price_nano_usd(%s, %s, %s)", [wei, rate, bps])
            assert cursor.fetchone()[0] == price


def test_value_that_leaves_with_a_part_never_exceeds_the_whole() -> None:
    assert money.share_rounded_down(1_000, part=1, whole=3) == 333
    assert money.share_rounded_down(1_000, part=3, whole=3) == 1_000
    assert money.value_nano_usd(10**18 - 1, nano_usd_per_eth=RATE) == RATE - 1


def test_an_account_outside_the_chart_can_not_be_named() -> None:
    with pytest.raises(AssertionError, match="not in the chart"):
        Account(1234)
