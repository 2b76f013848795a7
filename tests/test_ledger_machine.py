"""Any order of money in, money out, charges, time and posting: the SQL ledger against a model that fits in the head."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from accounts.models import ApiKey, Customer
from billing import budgets, check_books, ledger, postings
from billing.models import Budget, Grant, Usage, Wallet
from billing.postings import Account, usd
from tests import builders, size

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
# A rate at which a wei is a nano-dollar.
ONE_TO_ONE = 10**18
AMOUNT = st.integers(1, 50)
WHO = st.integers(0, 1)
_FAR = 10**6


@dataclass(kw_only=True)
class Lot:
    """A grant as the model has it; days count from the start of the story."""

    reference: str
    seq: int
    is_promo: bool
    remaining: int
    priority: int = 100
    ends: int | None = None
    ages: int = 0
    is_fresh: bool = False

    def place(self, first: str) -> tuple[bool, bool, int, tuple[int, int], tuple[int, int]]:
        ends = (_FAR, 0) if self.ends is None else (self.ends, self.seq)
        return self.reference != first, self.is_fresh, self.priority, ends, (self.ages, self.seq)


@dataclass
class Held:
    """One customer of the model: every charge is drawn from the lots at once, one by one."""

    lots: list[Lot] = field(default_factory=list)
    debt: int = 0
    limits: dict[tuple[bool, str], int] = field(default_factory=dict)
    spent: dict[str, list[int]] = field(default_factory=lambda: {"day": [0, 0], "total": [0, 0]})

    def sum(self, *, is_promo: bool | None = None, is_fresh: bool | None = None) -> int:
        return sum(
            lot.remaining
            for lot in self.lots
            if is_promo in (None, lot.is_promo) and is_fresh in (None, lot.is_fresh and not lot.is_promo)
        )

    def draw(self, amount: int, *, is_promo: bool, first: str = "") -> int:
        fresh = 0
        for lot in sorted((lot for lot in self.lots if lot.is_promo == is_promo), key=lambda lot: lot.place(first)):
            part = min(lot.remaining, amount)
            lot.remaining -= part
            amount -= part
            fresh += part if lot.is_fresh else 0
        assert amount == 0
        return fresh

    def refusal(self, charge: int, promo_ok: bool, key: int) -> str | None:
        promo = min(charge, self.sum(is_promo=True)) if promo_ok else 0
        if self.debt:
            return "account_frozen"
        if self.sum() < charge:
            return "insufficient_credit"
        if self.sum(is_promo=False) < charge - promo:
            return "promotional_credit_only"
        for (of_key, period), limit in self.limits.items():
            spent = self.spent[period]
            if (not of_key or key == 0) and (spent[0] if of_key else sum(spent)) + charge > limit:
                return "key_limit_reached"
        return None

    def charge(self, charge: int, promo_ok: bool, key: int) -> tuple[int, int]:
        promo = min(charge, self.sum(is_promo=True)) if promo_ok else 0
        self.draw(promo, is_promo=True)
        for spent in self.spent.values():
            spent[key] += charge
        return promo, self.draw(charge - promo, is_promo=False)


class Money(RuleBasedStateMachine):
    """Two customers with two keys each; budgets may hold the first key and the account."""

    def __init__(self) -> None:
        super().__init__()
        self.around = transaction.atomic()
        self.around.__enter__()
        self.rate = builders.rate(ONE_TO_ONE, feed_round=9)
        self.owners: list[Customer] = [builders.customer(), builders.customer()]
        self.keys: list[list[ApiKey]] = [[builders.api_key(each), builders.api_key(each)] for each in self.owners]
        self.held = [Held(), Held()]
        self.day = 0
        self.numbers = count(1)
        self.steps = 0

    def teardown(self) -> None:
        self._check_books()
        transaction.set_rollback(True)
        self.around.__exit__(None, None, None)

    # -- Money in

    @rule(who=WHO, amount=AMOUNT, ages=st.integers(0, 3), ends=st.none() | st.integers(1, 4))
    def credit(self, who: int, amount: int, ages: int, ends: int | None) -> None:
        number, owner, held = next(self.numbers), self.owners[who], self.held[who]
        reference = f"bank:{number}"
        for _ in range(2):  # twice is once
            ledger.credit(
                customer_id=owner.pk,
                amount_nano_usd=amount,
                kind="bank_transfer",
                reference=reference,
                occurred_at=NOW,
                transfers=postings.top_up(customer_id=owner.pk, gross_nano_usd=amount),
                aged_at=_in_days(ages) if ages else None,
                expires_at=_in_days(ends) if ends else None,
            )
        repaid = min(held.debt, amount)
        held.debt -= repaid
        held.lots.append(
            Lot(
                reference=reference,
                seq=number,
                is_promo=False,
                remaining=amount - repaid,
                ends=self.day + ends if ends else None,
                ages=self.day + ages,
                is_fresh=ages > 0,
            )
        )

    @rule(who=WHO, amount=AMOUNT, priority=st.sampled_from([0, 50, 100]), ends=st.none() | st.integers(1, 4))
    def promote(self, who: int, amount: int, priority: int, ends: int | None) -> None:
        number = next(self.numbers)
        ledger.grant_promo(
            customer_id=self.owners[who].pk,
            amount_nano_usd=amount,
            campaign=f"campaign {amount % 3}",
            reference=f"grant:{number}",
            occurred_at=NOW,
            priority=priority,
            expires_at=_in_days(ends) if ends else None,
        )
        lot = Lot(reference=f"grant:{number}", seq=number, is_promo=True, remaining=amount, priority=priority)
        lot.ends, lot.ages = self.day + ends if ends else None, self.day
        self.held[who].lots.append(lot)

    # -- Money out

    @rule(who=WHO, charge=AMOUNT, promo_ok=st.booleans(), key=st.integers(0, 1))
    def debit(self, who: int, charge: int, promo_ok: bool, key: int) -> None:
        held = self.held[who]
        expected = held.refusal(charge, promo_ok, key)
        _, refused = builders.try_debit(
            self.owners[who], self.keys[who][key], self.rate, cost_wei=charge, markup_bps=0, promo_ok=promo_ok
        )
        assert refused == expected
        if expected is None:
            row = Usage.objects.latest("id")
            assert (row.promo_nano_usd, row.fresh_nano_usd) == held.charge(charge, promo_ok, key)

    @rule(
        who=WHO,
        charges=st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.integers(0, 1)), min_size=2, max_size=5),
    )
    def debit_many(self, who: int, charges: list[tuple[int, bool, int]]) -> None:
        held = self.held[who]
        before = Held(debt=held.debt, limits=held.limits)
        before.lots = [Lot(**vars(lot)) for lot in held.lots]
        before.spent = {period: list(spent) for period, spent in held.spent.items()}
        fits = True
        parts = []
        for charge in charges:
            if before.refusal(*charge) is not None:
                fits = False
                break
            parts.append(before.charge(*charge))
        usage_ids = self._debit_all(who, charges)
        assert all(usage_ids) if fits else not any(usage_ids)
        if fits:
            self.held[who] = before
            charged = [usage_id for usage_id in usage_ids if usage_id]
            rows = {row.pk: (row.promo_nano_usd, row.fresh_nano_usd) for row in Usage.objects.filter(pk__in=charged)}
            assert [rows[usage_id] for usage_id in charged] == parts

    @rule(who=WHO, amount=AMOUNT, which=st.integers(0, 9))
    def take_and_perhaps_return(self, who: int, amount: int, which: int) -> None:
        held, owner, number = self.held[who], self.owners[who], next(self.numbers)
        first = held.lots[which].reference if which < len(held.lots) else ""
        legs = [usd(Account(postings.PREPAID, str(owner.pk)), Account(postings.REFUNDS, str(owner.pk)), amount)]
        try:
            for _ in range(2):
                ledger.take(
                    customer_id=owner.pk,
                    amount_nano_usd=amount,
                    kind="refund",
                    reference=f"refund:{number}",
                    occurred_at=NOW,
                    transfers=legs,
                    from_reference=first,
                )
        except ledger.NotEnough:
            assert held.sum(is_promo=False) < amount
            return
        held.draw(amount, is_promo=False, first=first)

    @rule(who=WHO, amount=AMOUNT)
    def owe(self, who: int, amount: int) -> None:
        party = str(self.owners[who].pk)
        ledger.book(
            kind="dispute_lost",
            reference=f"dispute:{next(self.numbers)}",
            occurred_at=NOW,
            customer_id=self.owners[who].pk,
            transfers=[usd(Account(postings.RECEIVABLE, party), Account(postings.DISPUTED, "dp"), amount)],
        )
        self.held[who].debt += amount

    # -- Limits, time, posting

    @rule(who=WHO, of_key=st.booleans(), period=st.sampled_from(["day", "total"]), limit=st.integers(1, 200))
    def limit(self, who: int, of_key: bool, period: str, limit: int) -> None:
        owner = self.owners[who]
        budgets.set_limit(
            user=owner.members.get(),
            customer=owner,
            api_key=self.keys[who][0] if of_key else None,
            period=period,
            limit_nano_usd=limit,
        )
        self.held[who].limits[of_key, period] = limit

    @rule(who=WHO)
    def lift_all(self, who: int) -> None:
        owner = self.owners[who]
        for budget in Budget.objects.filter(customer=owner, lifted_at=None):
            assert budgets.lift(user=owner.members.get(), customer=owner, budget_id=budget.pk)
        self.held[who].limits.clear()

    @rule(days=st.integers(1, 3))
    def time_passes(self, days: int) -> None:
        """Everything that is dated moves back; the clock of the database cannot be moved forward."""
        self.day += days
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(
                "UPDATE billing_grant SET aged_at = aged_at - %(by)s::interval,"
                " expires_at = expires_at - %(by)s::interval",
                {"by": f"{days} days"},
            )
            cursor.execute("UPDATE billing_usage SET at = at - %s::interval", [f"{days} days"])
            # Twice, so that no day meets another on its way.
            cursor.execute("UPDATE billing_usageday SET day = day + %s", [_FAR])
            cursor.execute("UPDATE billing_usageday SET day = day - %s", [_FAR + days])
            cursor.execute("UPDATE billing_budget SET period_start = period_start - %s WHERE period = 'day'", [days])
            cursor.execute("SET session_replication_role = DEFAULT")
        for held in self.held:
            held.spent["day"] = [0, 0]

    @rule()
    def grants_end(self) -> None:
        ledger.expire_grants()
        for held in self.held:
            for lot in held.lots:
                if lot.ends is not None and lot.ends <= self.day:
                    lot.remaining = 0

    @rule()
    def money_ages(self) -> None:
        ledger.age_grants()
        for held in self.held:
            for lot in held.lots:
                lot.is_fresh = lot.is_fresh and lot.ages > self.day

    @rule(limit=st.integers(1, 5))
    def post(self, limit: int) -> None:
        assert ledger.post_usage(limit=limit) <= limit

    # -- What must hold after each step

    @invariant()
    def the_wallet_is_what_the_model_says(self) -> None:
        for owner, held in zip(self.owners, self.held, strict=True):
            wallet = Wallet.objects.filter(customer=owner).first() or Wallet()
            found = (wallet.available_nano_usd, wallet.promo_nano_usd, wallet.fresh_nano_usd, wallet.debt_nano_usd)
            assert found == (held.sum(), held.sum(is_promo=True), held.sum(is_fresh=True), held.debt)
            if not Usage.objects.filter(customer=owner, journal=None).exists():
                lots = dict(Grant.objects.filter(customer=owner).values_list("reference", "remaining_nano_usd"))
                assert lots == {lot.reference: lot.remaining for lot in held.lots}

    @invariant()
    def the_books_agree(self) -> None:
        self.steps += 1
        if self.steps % size.of(3, full=1) == 0:
            self._check_books()

    def _check_books(self) -> None:
        assert {name: figure for name, figure in check_books.invariants().items() if figure} == {}

    def _debit_all(self, who: int, charges: list[tuple[int, bool, int]]) -> list[int | None]:
        many = len(charges)
        amounts = [charge for charge, _, _ in charges]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM billing_wallet WHERE customer_id = %s FOR NO KEY UPDATE", [self.owners[who].pk]
            )
            cursor.execute(
                "SELECT billing_debit_all(%s::bigint[], %s::bigint[], %s::uuid[], %s, %s, %s, %s::int[], 'ticket',"
                " %s::numeric[], %s::numeric[], %s::numeric[], %s::bigint[], %s::int[], %s::boolean[])",
                [
                    [self.owners[who].pk] * many,
                    [self.keys[who][key].pk for _, _, key in charges],
                    [uuid.uuid4()] * many,
                    ["app"] * many,
                    ["live"] * many,
                    ["0x" + "0a" * 20] * many,
                    [1] * many,
                    [1] * many,
                    amounts,
                    amounts,
                    [self.rate] * many,
                    [0] * many,
                    [promo_ok for _, promo_ok, _ in charges],
                ],
            )
            return list(cursor.fetchone()[0])


def _in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.mark.django_db
def test_any_story_of_money_leaves_wallets_grants_and_books_as_the_model_has_them() -> None:
    run_state_machine_as_test(
        Money,
        settings=settings(
            max_examples=size.of(12, full=400),
            stateful_step_count=size.of(25, full=50),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
