"""Payments race whatever else moves a wallet: refunds, disputes, expiry, ageing, posting, money that comes in."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections, transaction

from accounts.models import ApiKey, Customer
from billing import check_books, ledger, postings
from billing.models import Grant, Usage, Wallet, WalletEntry
from billing.postings import Account, usd
from tests import builders, size

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DOLLAR = 10**9
ONE_TO_ONE = 10**18
PAID_IN = 100


def together(jobs: list[Callable[[], object]]) -> list[object]:
    """All at once, each over a connection of its own; an error of any is the test's."""
    gate = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> object:
        gate.wait()
        try:
            return job()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [each.result() for each in [pool.submit(run, job) for job in jobs]]


def take_all(owner: Customer, kind: str, reference: str, number: int) -> int:
    """A full refund, or the hold of a dispute: what is paid at that moment goes, in one transaction."""
    with transaction.atomic():
        held = ledger.lock_wallet(owner.pk)
        if not held.paid:
            return 0
        legs = [usd(Account(postings.PREPAID, str(owner.pk)), Account(number, str(owner.pk)), held.paid)]
        assert ledger.take(
            customer_id=owner.pk,
            amount_nano_usd=held.paid,
            kind=kind,
            reference=reference,
            occurred_at=NOW,
            transfers=legs,
        )
        return held.paid


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(size.of(3, full=100)))
def test_payments_race_a_full_refund_a_dispute_and_an_expiry_and_no_dollar_is_spent_twice(seed: int) -> None:
    """64 payments of $3, $100 paid in, $50 promotional credit that ends: refunded + held + signed <= paid in."""
    chance = random.Random(seed)
    owner = builders.customer()
    keys = [builders.api_key(owner) for _ in range(4)]
    rate = builders.rate(ONE_TO_ONE, feed_round=9)
    builders.top_up(owner, PAID_IN // 2)
    builders.top_up(owner, PAID_IN // 2, aged_at=datetime.now(UTC) + timedelta(milliseconds=50))
    ledger.grant_promo(
        customer_id=owner.pk,
        amount_nano_usd=50 * DOLLAR,
        campaign="launch",
        reference="grant:race",
        occurred_at=NOW,
        expires_at=datetime.now(UTC) + timedelta(milliseconds=chance.randint(0, 60)),
    )

    def pay(key: ApiKey, promo_ok: bool) -> bool:
        return builders.try_debit(owner, key, rate, cost_wei=3 * DOLLAR, markup_bps=0, promo_ok=promo_ok)[1] is None

    def pays(number: int) -> Callable[[], object]:
        return lambda: [pay(keys[number % 4], chance.random() < 0.7) for _ in range(8)]

    refunded = f"refund:{seed}"
    jobs: list[Callable[[], object]] = [pays(number) for number in range(8)]
    jobs += [lambda: take_all(owner, "refund", refunded, postings.REFUNDS)] * 2
    jobs += [lambda: take_all(owner, "dispute_hold", f"dispute:{seed}", postings.FROZEN)]
    jobs += [ledger.expire_grants, ledger.expire_grants, ledger.age_grants, ledger.post_usage, ledger.post_usage]
    chance.shuffle(jobs)
    together(jobs)

    left = Wallet.objects.get(customer=owner)
    signed = sum(Usage.objects.values_list("charge_nano_usd", flat=True))
    of_promo = sum(Usage.objects.values_list("promo_nano_usd", flat=True))
    taken = -sum(
        WalletEntry.objects.filter(kind__in=["refund", "dispute_hold"]).values_list("amount_nano_usd", flat=True)
    )
    paid = left.available_nano_usd - left.promo_nano_usd
    assert taken + (signed - of_promo) + paid == PAID_IN * DOLLAR, "every dollar is in one place"
    ended = -sum(WalletEntry.objects.filter(kind="grant_expired").values_list("amount_nano_usd", flat=True))
    assert of_promo + ended + left.promo_nano_usd == 50 * DOLLAR
    assert ledger.expire_grants() <= 1
    ledger.age_grants()
    ledger.post_usage()
    assert Grant.objects.get(kind="promo").remaining_nano_usd == 0
    assert ledger.balance(postings.PROMO_OUTSTANDING, "USD", str(owner.pk)) == 0
    assert not any(check_books.invariants().values())


@pytest.mark.django_db(transaction=True)
def test_one_reference_by_many_at_once_is_taken_and_granted_once() -> None:
    owner = builders.customer()
    builders.top_up(owner, 100)

    def take() -> int | None:
        legs = [usd(Account(postings.PREPAID, str(owner.pk)), Account(postings.REFUNDS, str(owner.pk)), DOLLAR)]
        return ledger.take(
            customer_id=owner.pk,
            amount_nano_usd=DOLLAR,
            kind="refund",
            reference="refund:once",
            occurred_at=NOW,
            transfers=legs,
        )

    def promote() -> int | None:
        return ledger.grant_promo(
            customer_id=owner.pk, amount_nano_usd=DOLLAR, campaign="x", reference="grant:once", occurred_at=NOW
        )

    done = together([take, promote] * 6)
    assert sum(journal is not None for journal in done) == 2
    wallet = Wallet.objects.get(customer=owner)
    assert (wallet.available_nano_usd, wallet.promo_nano_usd) == (100 * DOLLAR, DOLLAR)
    assert not any(check_books.invariants().values())


@pytest.mark.django_db(transaction=True)
def test_what_broke_half_way_changed_nothing() -> None:
    """A taker that dies before its commit leaves the wallet, the grants and the books as they were."""
    owner = builders.customer()
    builders.top_up(owner, 100)
    builders.debit(owner, cost_wei=10**12)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    ended = threading.Event()

    def end_it() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
        finally:
            connections.close_all()
            ended.set()

    before = Wallet.objects.get(customer=owner).available_nano_usd

    def break_off() -> None:
        with transaction.atomic():
            assert take_all(owner, "refund", "refund:broken", postings.REFUNDS) == before
            threading.Thread(target=end_it).start()
            ended.wait(10)
            Wallet.objects.get(customer=owner)

    with pytest.raises(Exception, match=r"terminat|closed|lost"):
        break_off()
    connections.close_all()
    assert Wallet.objects.get(customer=owner).available_nano_usd == before
    assert not WalletEntry.objects.filter(kind="refund").exists()
    assert take_all(owner, "refund", "refund:broken", postings.REFUNDS) == before
    assert not any(check_books.invariants().values())
