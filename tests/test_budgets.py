"""Budgets: to the nano-dollar, a day and a month in UTC, never passed by many at once, alike on both paths."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, AuditEntry, Customer, Membership
from billing import budgets, check_books, ledger
from billing.models import Budget, Usage, Wallet
from tests import builders, size
from tests.signer_stage import offer, running_signer

DOLLAR = 10**9
# A rate at which a wei is a nano-dollar: what is spent is what is written.
ONE_TO_ONE = 10**18
pytestmark = pytest.mark.usefixtures("one_day")


@pytest.fixture
def payer(db: None) -> Customer:
    owner = builders.customer()
    builders.top_up(owner, 1_000)
    return owner


def limit(owner: Customer, nano_usd: int, period: str, key: ApiKey | None = None) -> int:
    return budgets.set_limit(
        user=owner.members.get(), customer=owner, api_key=key, period=period, limit_nano_usd=nano_usd
    )


def spend(owner: Customer, key: ApiKey, nano_usd: int) -> str | None:
    rate = builders.rate(ONE_TO_ONE, feed_round=9)
    return builders.try_debit(owner, key, rate, cost_wei=nano_usd, markup_bps=0)[1]


def spend_many(owner: Customer, charges: list[tuple[ApiKey, int]]) -> list[bool]:
    """By the path of batches: which were charged."""
    rate, many = builders.rate(ONE_TO_ONE, feed_round=9), len(charges)
    amounts = [amount for _, amount in charges]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM billing_wallet WHERE customer_id = %s FOR NO KEY UPDATE", [owner.pk])
        cursor.execute(
            "SELECT billing_debit_all(%s::bigint[], %s::bigint[], %s::uuid[], %s, %s, %s, %s::int[], 'ticket',"
            " %s::numeric[], %s::numeric[], %s::numeric[], %s::bigint[], %s::int[])",
            [
                [owner.pk] * many,
                [key.pk for key, _ in charges],
                [uuid.uuid4()] * many,
                ["app"] * many,
                ["live"] * many,
                ["0x" + "0a" * 20] * many,
                [1] * many,
                [1] * many,
                amounts,
                amounts,
                [rate] * many,
                [0] * many,
            ],
        )
        return [usage_id is not None for usage_id in cursor.fetchone()[0]]


def spent(budget: int) -> int:
    return Budget.objects.get(pk=budget).spent_nano_usd


def days_ago(budget: int, days: int) -> None:
    """As if the budget's counter, and what it counted, were so many days older."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE billing_budget SET period_start = period_start - %s WHERE id = %s", [days, budget])
        cursor.execute("UPDATE billing_usage SET at = at - %s::interval", [f"{days} days"])
        cursor.execute("SET session_replication_role = DEFAULT")


def assert_books_agree() -> None:
    ledger.post_usage()
    assert {name: figure for name, figure in check_books.invariants().items() if figure} == {}


@pytest.mark.parametrize("period", ["day", "month", "total"])
@pytest.mark.parametrize("of_key", [True, False], ids=["key", "account"])
def test_a_budget_lets_its_last_nano_dollar_pass_and_not_one_more(payer: Customer, period: str, of_key: bool) -> None:
    key, other = builders.api_key(payer), builders.api_key(payer)
    budget = limit(payer, 10 * DOLLAR, period, key if of_key else None)
    assert spend(payer, key, 9 * DOLLAR) is None
    assert spend(payer, key, DOLLAR + 1) == "key_limit_reached"
    assert spend_many(payer, [(key, DOLLAR), (key, 1)]) == [False, False]
    assert spend(payer, key, DOLLAR) is None
    assert spend(payer, key, 1) == "key_limit_reached"
    assert spend(payer, other, 1) == (None if of_key else "key_limit_reached")
    assert spent(budget) == 10 * DOLLAR
    assert_books_agree()


def test_a_refusal_says_which_budget_and_when_it_starts_again(payer: Customer) -> None:
    key = builders.api_key(payer)
    rate = builders.rate(ONE_TO_ONE, feed_round=9)
    said = {}
    for period, amount, of_key in (("total", 5, True), ("month", 4, True), ("day", 3, False)):
        limit(payer, amount * DOLLAR, period, key if of_key else None)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT detail FROM billing_debit(%s, %s, %s, '', 'live', '0x', 1, 'ticket', 1, 1, %s, %s, 0)",
                [payer.pk, key.pk, uuid.uuid4(), amount * DOLLAR + 1, rate],
            )
            said[period] = cursor.fetchone()[0]
        Budget.objects.filter(lifted_at=None).update(lifted_at=datetime.now(UTC))
    assert said["total"] == "the budget of this API key ($5.00 in all) leaves too little for this payment"
    assert re.fullmatch(
        r"the budget of this API key \(\$4.00 a month\) .* again on \d{4}-\d\d-01 at 00:00 UTC", said["month"]
    )
    assert said["day"].startswith("the budget of this account ($3.00 a day) leaves too little")


def test_a_day_and_a_month_begin_at_midnight_in_utc(db: None) -> None:
    with connection.cursor() as cursor:
        for period, at, start in (
            ("day", "2026-10-31T23:59:59.999999Z", "2026-10-31"),
            ("day", "2026-11-01T00:00:00Z", "2026-11-01"),
            ("day", "2026-11-01T00:30:00+02:00", "2026-10-31"),
            ("month", "2026-10-31T23:59:59.999999Z", "2026-10-01"),
            ("month", "2026-11-01T00:00:00Z", "2026-11-01"),
            ("total", "2026-11-01T00:00:00Z", "1970-01-01"),
        ):
            cursor.execute("SELECT billing_period_start(%s, %s)::text", [period, at])
            assert cursor.fetchone() == (start,)


def test_a_limit_starts_again_after_the_period_that_the_database_counts_in(payer: Customer) -> None:
    """Our clock may be behind the database's, whose counter is in the next period already."""
    first = datetime(2027, 1, 1, tzinfo=UTC)
    for period, again_at in (("day", datetime(2027, 1, 2, tzinfo=UTC)), ("month", datetime(2027, 2, 1, tzinfo=UTC))):
        budget = Budget(customer=payer, period=period, limit_nano_usd=9, period_start=first.date(), spent_nano_usd=7)
        for now in (first - timedelta(milliseconds=1), first, first + timedelta(hours=23)):
            found = budgets.standing(budget, now=now)
            assert (found.spent_nano_usd, found.again_at) == (7, again_at)
        assert budgets.standing(budget, now=again_at).spent_nano_usd == 0


@pytest.mark.parametrize(("period", "days"), [("day", 1), ("month", 31)])
@pytest.mark.parametrize("in_a_batch", [True, False], ids=["batch", "single"])
def test_a_new_period_starts_from_nothing(payer: Customer, period: str, days: int, in_a_batch: bool) -> None:
    key = builders.api_key(payer)
    budget = limit(payer, 10 * DOLLAR, period, key)
    assert spend(payer, key, 10 * DOLLAR) is None
    assert spend(payer, key, 1) == "key_limit_reached"
    days_ago(budget, days)
    assert budgets.standings(payer, now=datetime.now(UTC))[0].spent_nano_usd == 0
    if in_a_batch:
        assert spend_many(payer, [(key, 4 * DOLLAR), (key, 3 * DOLLAR)]) == [True, True]
    else:
        assert spend(payer, key, 7 * DOLLAR) is None
    assert spent(budget) == 7 * DOLLAR
    assert spend(payer, key, 3 * DOLLAR + 1) == "key_limit_reached"
    assert spend(payer, key, 3 * DOLLAR) is None
    assert_books_agree()


def test_a_budget_in_all_never_starts_again(payer: Customer) -> None:
    key = builders.api_key(payer)
    budget = limit(payer, 10 * DOLLAR, "total", key)
    assert spend(payer, key, 10 * DOLLAR) is None
    days_ago(budget, 0)
    assert spend(payer, key, 1) == "key_limit_reached"


def test_a_batch_counts_for_the_key_and_the_account_and_falls_whole(payer: Customer) -> None:
    one, two = builders.api_key(payer), builders.api_key(payer)
    of_one, of_all = limit(payer, 5 * DOLLAR, "day", one), limit(payer, 8 * DOLLAR, "month")
    assert spend_many(payer, [(one, 2 * DOLLAR), (two, 3 * DOLLAR), (one, 1 * DOLLAR)]) == [True, True, True]
    assert (spent(of_one), spent(of_all)) == (3 * DOLLAR, 6 * DOLLAR)
    assert spend_many(payer, [(two, 2 * DOLLAR), (one, 1)]) == [False, False]
    assert spend_many(payer, [(two, 1 * DOLLAR), (one, 1 * DOLLAR)]) == [True, True]
    assert (spent(of_one), spent(of_all)) == (4 * DOLLAR, 8 * DOLLAR)
    assert_books_agree()


def test_what_was_spent_before_counts_and_another_limit_takes_the_place_of_the_first(payer: Customer) -> None:
    key = builders.api_key(payer)
    assert spend(payer, key, 6 * DOLLAR) is None
    first = limit(payer, 5 * DOLLAR, "day", key)
    assert spend(payer, key, 1) == "key_limit_reached"
    second = limit(payer, 7 * DOLLAR, "day", key)
    assert spent(second) == 6 * DOLLAR
    assert spend_many(payer, [(key, DOLLAR // 2)]) == [True], "what was lifted counts in no batch either"
    assert spend(payer, key, DOLLAR // 2) is None
    assert list(Budget.objects.filter(lifted_at=None).values_list("pk", flat=True)) == [second]
    assert Budget.objects.get(pk=first).lifted_at is not None
    assert budgets.lift(user=payer.members.get(), customer=payer, budget_id=second)
    assert not budgets.lift(user=payer.members.get(), customer=payer, budget_id=second), "twice lifts nothing twice"
    assert not Wallet.objects.get(customer=payer).has_budgets
    assert spend(payer, key, 100 * DOLLAR) is None
    told = AuditEntry.objects.filter(customer=payer, action__startswith="budget").order_by("id")
    assert list(told.values_list("action", flat=True)) == ["budget.set", "budget.set", "budget.lifted"]
    assert_books_agree()


def test_a_refused_payment_counts_against_no_budget(payer: Customer) -> None:
    key = builders.api_key(payer)
    of_key, of_all = limit(payer, 5 * DOLLAR, "day", key), limit(payer, 1 * DOLLAR, "day")
    assert spend(payer, key, 2 * DOLLAR) == "key_limit_reached"
    limit(payer, 5_000 * DOLLAR, "day")
    limit(payer, 5_000 * DOLLAR, "day", key)
    assert spend(payer, key, 1_001 * DOLLAR) == "insufficient_credit"
    assert (spent(of_key), spent(of_all), Usage.objects.count()) == (0, 0, 0)
    assert_books_agree()


@pytest.mark.django_db(transaction=True)
def test_many_at_once_never_pass_a_budget() -> None:
    """One hot customer, two keys, limits of each and of both: exactly what fits is charged."""
    owner = builders.customer()
    builders.top_up(owner, 1_000)
    keys = [builders.api_key(owner), builders.api_key(owner)]
    builders.rate(ONE_TO_ONE, feed_round=9)
    of_key, of_all = limit(owner, 10 * DOLLAR, "day", keys[0]), limit(owner, 25 * DOLLAR, "month")

    def pay(number: int) -> int:
        try:
            if number % 4 == 3:
                charges = [(keys[0], DOLLAR), (keys[1], DOLLAR)]
                return sum(spend_many(owner, charges))
            return int(spend(owner, keys[number % 2], DOLLAR) is None)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        charged = sum(pool.map(pay, range(size.of(64, full=2_000))))
    assert charged == Usage.objects.count() == 25
    assert (spent(of_key) <= 10 * DOLLAR, spent(of_all)) == (True, 25 * DOLLAR)
    assert Usage.objects.filter(api_key=keys[0]).count() * DOLLAR == spent(of_key)
    assert_books_agree()


@pytest.mark.django_db(transaction=True)
def test_the_signer_answers_402_with_the_budget_in_plain_words_and_signs_the_next_day() -> None:
    """One by one and sixteen at once: what fits is signed, what does not fit is told why and never charged."""
    with running_signer() as stage:
        client, owner = stage.gateway()
        key = owner.api_keys.get()
        assert client.pay(orchestrator=offer(), type="fixed").status == 200
        price = Usage.objects.get().charge_nano_usd
        budget = limit(owner, 5 * price, "day", key)
        assert client.pay(orchestrator=offer(), type="fixed").status == 200
        answers = client.pay_all([{"orchestrator": offer(), "type": "fixed"} for _ in range(16)])
        assert sorted(answer.status for answer in answers) == [200] * 3 + [402] * 13
        refused = next(answer for answer in answers if answer.status == 402)
        assert refused.code == "key_limit_reached"
        assert "the budget of this API key" in refused.body.decode()
        assert "it starts again on" in refused.body.decode()
        assert spent(budget) == 5 * price == Usage.objects.count() * price
        days_ago(budget, 1)
        assert client.pay(orchestrator=offer(), type="fixed").status == 200


# -- The page ------------------------------------------------------------------------------------------------


def test_an_owner_sets_and_lifts_budgets_and_a_member_only_sees_them(payer: Customer, client: Client) -> None:
    key = builders.api_key(payer)
    owner = payer.members.get()
    client.force_login(owner)
    wrong = client.post(reverse("budget_set"), {"subject": key.pk, "period": "day", "amount": "1.234"})
    assert (wrong.status_code, Budget.objects.count()) == (422, 0)
    client.post(reverse("budget_set"), {"subject": key.pk, "period": "day", "amount": "$1,000.50"})
    client.post(reverse("budget_set"), {"subject": "", "period": "month", "amount": "20"})
    assert set(Budget.objects.values_list("api_key", "period", "limit_nano_usd")) == {
        (None, "month", 20 * DOLLAR),
        (key.pk, "day", 1_000_500_000_000),
    }
    page = client.get(reverse("budgets")).content.decode()
    assert key.name in page
    assert f"Lift $1,000.50 a day of {key.name}?" in page

    colleague = builders.user()
    Membership.objects.create(user=colleague, customer=payer, role=Membership.Role.MEMBER)
    client.force_login(colleague)
    assert "Lift $" not in client.get(reverse("budgets")).content.decode()
    budget = Budget.objects.get(api_key=key)
    assert client.post(reverse("budget_lift", args=[budget.pk])).status_code == 403
    assert client.post(reverse("budget_set"), {"period": "day", "amount": "1"}).status_code == 403

    stranger = builders.customer("Stranger")
    client.force_login(stranger.members.get())
    client.post(reverse("budget_lift", args=[budget.pk]))
    client.post(reverse("budget_set"), {"subject": key.pk, "period": "total", "amount": "1"})
    assert Budget.objects.filter(lifted_at=None).count() == 2

    client.force_login(owner)
    client.post(reverse("budget_lift", args=[budget.pk]))
    assert Budget.objects.get(lifted_at=None).period == "month"
