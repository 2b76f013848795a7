"""Spending limits of an account and its keys: set, lifted, told in the audit log, and how they stand."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

from accounts import audit
from accounts.models import ApiKey, Customer, User
from billing.display import usd_text
from billing.models import Budget

Period = Budget.Period


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A limit with what counts against it now; `again_at` is None for a limit in all."""

    budget: Budget
    spent_nano_usd: int
    again_at: datetime | None

    @property
    def subject(self) -> str:
        return self.budget.api_key.name if self.budget.api_key else "Whole account"

    @property
    def heading(self) -> str:
        """The id of the heading of its dialog."""
        return f"lift-h-{self.budget.pk}"

    @property
    def question(self) -> str:
        limit = f"{usd_text(self.budget.limit_nano_usd)} {self.budget.get_period_display()}"
        return f"Lift {limit} of {self.budget.api_key.name if self.budget.api_key else 'the whole account'}?"

    @property
    def left_nano_usd(self) -> int:
        return max(0, self.budget.limit_nano_usd - self.spent_nano_usd)


def set_limit(*, user: User, customer: Customer, api_key: ApiKey | None, period: str, limit_nano_usd: int) -> int:
    """Holds from now on, in place of the one for the same period; signing waits a moment. The budget's id."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_set_budget(%s, %s, %s, %s, %s)",
            [customer.pk, api_key.pk if api_key else None, Period(period).value, limit_nano_usd, user.pk],
        )
        budget_id = int(cursor.fetchone()[0])
        after = {"key": str(api_key) if api_key else "", "period": period, "limit": usd_text(limit_nano_usd)}
        audit.write("budget.set", subject=f"budget:{budget_id}", actor=user, customer=customer, after=after)
    return budget_id


def lift(*, user: User, customer: Customer, budget_id: int) -> bool:
    """Whether this call lifted it: a second one, or one for somebody else's budget, does not."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT billing_lift_budget(%s, %s, %s)", [customer.pk, budget_id, user.pk])
        lifted = bool(cursor.fetchone()[0])
        if lifted:
            audit.write("budget.lifted", subject=f"budget:{budget_id}", actor=user, customer=customer)
    return lifted


def standings(customer: Customer, *, now: datetime) -> list[Standing]:
    """The limits that hold, the account's own first."""
    rows = Budget.objects.filter(customer=customer, lifted_at=None).select_related("api_key", "set_by")
    order = list(Period)
    found = [standing(row, now=now) for row in rows]
    return sorted(
        found,
        key=lambda each: (
            each.budget.api_key_id is not None,
            each.subject,
            each.budget.api_key_id,
            order.index(Period(each.budget.period)),
        ),
    )


def standing(budget: Budget, *, now: datetime) -> Standing:
    """One limit, with what it counts in the period of `now`."""
    today = now.astimezone(UTC).date()
    start = {Period.DAY: today, Period.MONTH: today.replace(day=1)}.get(Period(budget.period))
    is_counting = start is None or budget.period_start >= start
    next_day = None
    if start is not None:
        # The database may have begun the next period while our clock has not.
        start = max(start, budget.period_start)
        next_day = start + timedelta(days=1) if budget.period == Period.DAY else _next_month(start)
    return Standing(
        budget=budget,
        spent_nano_usd=budget.spent_nano_usd if is_counting else 0,
        again_at=datetime(next_day.year, next_day.month, next_day.day, tzinfo=UTC) if next_day else None,
    )


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
