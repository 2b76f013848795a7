"""Promotional credit beside paid money: what each is used for, in which order, and what it costs."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts.models import Customer
from billing import check_books, ledger, postings
from billing.models import Usage, WalletEntry
from billing.postings import Account, Transfer, usd
from tests import builders, size
from tests.grant_stage import (
    DOLLAR,
    LISTED,
    NOW,
    assert_books_agree,
    figures,
    grant,
    later,
    remaining,
    spend,
    time_is_over,
    usd_balance,
)


@pytest.fixture
def payer(db: None) -> Customer:
    return builders.customer()


def test_promotional_credit_is_granted_used_and_ended_without_ever_being_revenue(payer: Customer) -> None:
    """10 granted, 5 used at their list price, 5 ended: net revenue 0, and both list usage and its cost are seen."""
    grant(payer, 10, expires_at=later())
    assert (usd_balance(9200, "launch"), usd_balance(9210, str(payer.pk))) == (10 * DOLLAR, -10 * DOLLAR)
    assert usd_balance(2100, str(payer.pk)) == 0, "nothing was received, so nothing is owed"
    assert spend(payer, 5 * DOLLAR, markup_bps=1_500) is None
    assert ledger.post_usage() == 1
    cost = Usage.objects.get().cost_nano_usd
    assert cost == 4_347_826_087
    assert (usd_balance(4000), usd_balance(4900, "launch")) == (-5 * DOLLAR, 5 * DOLLAR)
    assert (usd_balance(5000), usd_balance(2300, LISTED)) == (cost, -cost)
    assert (usd_balance(9200, "launch"), usd_balance(9210, str(payer.pk))) == (5 * DOLLAR, -5 * DOLLAR)
    assert_books_agree()
    time_is_over(payer)
    assert ledger.expire_grants() == 1
    assert ledger.expire_grants() == 0, "twice ends nothing twice"
    assert (usd_balance(9200, "launch"), usd_balance(9210, str(payer.pk))) == (0, 0)
    assert (usd_balance(4000), usd_balance(4900, "launch"), usd_balance(4100)) == (-5 * DOLLAR, 5 * DOLLAR, 0)
    assert figures(payer) == (0, 0, 0, 0)
    assert_books_agree()


def test_usage_that_waits_is_drawn_before_a_grant_ends(payer: Customer) -> None:
    grant(payer, 10, expires_at=later())
    assert spend(payer, 4 * DOLLAR) is None
    time_is_over(payer)
    assert ledger.expire_grants() == 1
    assert [entry.amount_nano_usd for entry in WalletEntry.objects.filter(kind="grant_expired")] == [-6 * DOLLAR]
    assert_books_agree()


def test_a_grant_is_given_once_per_reference(payer: Customer) -> None:
    assert grant(payer, 10, reference="grant:one")
    assert grant(payer, 10, reference="grant:one") is None
    assert figures(payer) == (10 * DOLLAR, 10 * DOLLAR, 0, 0)


def test_promotional_credit_goes_first_and_never_to_who_may_not_have_it(payer: Customer) -> None:
    builders.top_up(payer, 10)
    grant(payer, 5)
    assert spend(payer, 3 * DOLLAR, promo_ok=False) is None
    assert figures(payer) == (12 * DOLLAR, 5 * DOLLAR, 0, 0)
    assert spend(payer, 6 * DOLLAR) is None
    assert figures(payer) == (6 * DOLLAR, 0, 0, 0)
    grant(payer, 5)
    assert spend(payer, 7 * DOLLAR, promo_ok=False) == "promotional_credit_only"
    assert spend(payer, 12 * DOLLAR, promo_ok=False) == "insufficient_credit"
    assert spend(payer, 6 * DOLLAR, promo_ok=False) is None
    assert figures(payer) == (5 * DOLLAR, 5 * DOLLAR, 0, 0)
    ledger.post_usage()
    assert_books_agree()


def test_grants_are_used_by_priority_then_earliest_end_then_age(payer: Customer) -> None:
    builders.top_up(payer, 10)
    grant(payer, 1, reference="last", priority=100)
    grant(payer, 1, reference="old, never ends")
    grant(payer, 1, reference="ends in a month", expires_at=later(30))
    grant(payer, 1, reference="ends in a week", expires_at=later(7))
    grant(payer, 1, reference="young, never ends")
    grant(payer, 1, reference="first", priority=0)
    used: list[set[str]] = []
    for _ in range(6):
        assert spend(payer, DOLLAR) is None
        ledger.post_usage()
        used.append({name for name, left in remaining(payer).items() if left == 0} - set().union(*used))
    assert used == [
        {"first"}, {"ends in a week"}, {"ends in a month"}, {"old, never ends"}, {"young, never ends"}, {"last"}
    ]  # fmt: skip
    assert spend(payer, DOLLAR) is None
    assert figures(payer) == (9 * DOLLAR, 0, 0, 0), "paid money comes after all of it"
    assert_books_agree()


def test_each_campaign_bears_its_own_cost(payer: Customer) -> None:
    grant(payer, 2, campaign="launch", priority=1)
    grant(payer, 3, campaign="hackathon", priority=2)
    assert spend(payer, 4 * DOLLAR) is None
    ledger.post_usage()
    assert (usd_balance(4900, "launch"), usd_balance(4900, "hackathon")) == (2 * DOLLAR, 2 * DOLLAR)
    assert (usd_balance(9200, "launch"), usd_balance(9200, "hackathon")) == (0, DOLLAR)
    assert_books_agree()


def test_a_month_of_worked_numbers_leaves_what_is_owed_to_the_cent(db: None) -> None:
    """100 + 500 - 8.9125 - 71.30 - 40 - 51.0875 - 25 = 403.70, with 19 % tax on the first and none on the rest."""
    consumer, business, sleeper = (builders.customer(name) for name in ("Consumer", "Business", "Sleeper"))
    _credit(consumer, 100, tax=[usd(Account(1100), Account(2200, "DE"), 19 * DOLLAR)])
    _credit(business, 475)
    _credit(sleeper, 25, expires_at=later())
    for _ in range(10):
        assert spend(consumer, 891_250_000, markup_bps=1_500) is None
    assert spend(business, 71_300_000_000, markup_bps=1_500) is None
    ledger.post_usage()
    assert (usd_balance(4000), usd_balance(5000)) == (-80_212_500_000, 69_750_000_000)

    refund = [usd(Account(2100, str(consumer.pk)), Account(1100), 40 * DOLLAR)]
    _take(consumer, "refund", 40 * DOLLAR, [*refund, usd(Account(2200, "DE"), Account(1100), 7_600_000_000)])
    book_opened = [
        usd(Account(1150, "dp_1"), Account(1100), 71_400_000_000),
        usd(Account(6110), Account(1100), 15 * DOLLAR),
    ]
    ledger.book(kind="dispute", reference="dispute:1", occurred_at=NOW, transfers=book_opened)
    frozen = usd(Account(2100, str(consumer.pk)), Account(2110, str(consumer.pk)), 51_087_500_000)
    _take(consumer, "dispute_hold", 51_087_500_000, [frozen])
    assert figures(consumer) == (0, 0, 0, 0)
    lost = [
        usd(Account(2110, str(consumer.pk)), Account(1150, "dp_1"), 51_087_500_000),
        usd(Account(2200, "DE"), Account(1150, "dp_1"), 11_400_000_000),
        usd(Account(6120), Account(1150, "dp_1"), 8_912_500_000),
    ]
    ledger.book(kind="dispute_lost", reference="dispute:1:lost", occurred_at=NOW, transfers=lost)
    time_is_over(sleeper)
    assert ledger.expire_grants() == 1
    assert (usd_balance(4100), usd_balance(1150, "dp_1"), usd_balance(2200, "DE")) == (-25 * DOLLAR, 0, 0)
    assert -sum(row.amount for row in ledger.balances(2100)) == 403_700_000_000
    assert_books_agree()


class BatchesAndSingles(TestCase):
    """A batch splits a customer's charges as the same charges one after the other are split."""

    @settings(max_examples=size.of(30, full=1_000))
    @given(
        paid=st.integers(0, 40),
        fresh=st.integers(0, 40),
        promo=st.integers(0, 40),
        charges=st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=8),
    )
    def test_both_paths_agree(self, paid: int, fresh: int, promo: int, charges: list[tuple[int, bool]]) -> None:
        owner = builders.customer()
        key, rate_id = builders.api_key(owner), builders.rate(10**18)
        for amount, reference, aged_at in ((paid, "paid", None), (fresh, "fresh", later())):
            if amount:
                builders.credit(owner, amount, reference=f"{reference}:{owner.pk}", aged_at=aged_at)
        if promo:
            ledger.grant_promo(
                customer_id=owner.pk, amount_nano_usd=promo, campaign="x", reference=f"g:{owner.pk}", occurred_at=NOW
            )
        single = transaction.savepoint()
        refused = [
            builders.try_debit(owner, key, rate_id, cost_wei=wei, markup_bps=0, promo_ok=promo_ok)[1]
            for wei, promo_ok in charges
        ]
        expected = (_parts(owner), figures(owner)) if not any(refused) else None
        transaction.savepoint_rollback(single)
        usage_ids = _debit_all(owner, key.pk, rate_id, charges)
        if expected is None:
            assert usage_ids == [None] * len(charges)
        else:
            assert (_parts(owner), figures(owner)) == expected
        ledger.post_usage()
        figures_now = check_books.invariants()
        figures_now.pop("top_ups_credited_but_not_paid")
        assert not any(figures_now.values())


def _parts(owner: Customer) -> list[tuple[int, int, int]]:
    rows = Usage.objects.filter(customer=owner).order_by("id")
    return list(rows.values_list("charge_nano_usd", "promo_nano_usd", "fresh_nano_usd"))


def _debit_all(owner: Customer, key: int, rate_id: int, charges: Sequence[tuple[int, bool]]) -> list[int | None]:
    many = len(charges)
    wei = [cost for cost, _ in charges]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM billing_wallet WHERE customer_id = %s FOR NO KEY UPDATE", [owner.pk])
        cursor.execute(
            "SELECT billing_debit_all(%s::bigint[], %s::bigint[], %s::uuid[], %s, %s, %s, %s::int[], 'ticket',"
            " %s::numeric[], %s::numeric[], %s::numeric[], %s::bigint[], %s::int[], %s::boolean[])",
            [
                [owner.pk] * many,
                [key] * many,
                [uuid.uuid4()] * many,
                ["app"] * many,
                ["live"] * many,
                [LISTED] * many,
                [1] * many,
                [1] * many,
                wei,
                wei,
                [rate_id] * many,
                [0] * many,
                [promo_ok for _, promo_ok in charges],
            ],
        )
        return list(cursor.fetchone()[0])


def test_what_wallets_held_before_grants_existed_becomes_grants_of_exactly_that(payer: Customer) -> None:
    other = builders.customer()
    for owner in (payer, other):
        builders.top_up(owner, 10)
        builders.top_up(owner, 20)
    spend(payer, 12 * DOLLAR)
    ledger.post_usage()
    spend(payer, 3 * DOLLAR)
    sql = (Path(check_books.__file__).parent / "sql" / "promo_and_age.sql").read_text()
    move = sql[sql.index("-- What wallets held until now") :]
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM billing_grantuse; DELETE FROM billing_grant")
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute(move)
    assert sorted(remaining(payer).values()) == [18 * DOLLAR], "the older money went first, 3 wait for the poster"
    assert sorted(remaining(other).values()) == [10 * DOLLAR, 20 * DOLLAR]
    assert_books_agree()
    ledger.post_usage()
    assert sorted(remaining(payer).values()) == [15 * DOLLAR]
    assert_books_agree()


def _credit(owner: Customer, dollars: int, *, tax: Sequence[Transfer] = (), expires_at: datetime | None = None) -> None:
    assert ledger.credit(
        customer_id=owner.pk,
        amount_nano_usd=dollars * DOLLAR,
        kind="bank_transfer",
        reference=f"bank:{uuid.uuid4()}",
        occurred_at=NOW,
        transfers=[*postings.top_up(customer_id=owner.pk, gross_nano_usd=dollars * DOLLAR), *tax],
        expires_at=expires_at,
    )


def _take(owner: Customer, kind: str, nano_usd: int, transfers: list[Transfer]) -> None:
    assert ledger.take(
        customer_id=owner.pk,
        amount_nano_usd=nano_usd,
        kind=kind,
        reference=f"{kind}:{owner.pk}",
        occurred_at=NOW,
        transfers=transfers,
    )
