"""Grants in tests: given, spent, taken and dated back, and the figures of a wallet."""

import uuid
from datetime import UTC, datetime, timedelta

from django.db import connection

from accounts.models import Customer
from billing import check_books, ledger, postings
from billing.models import Grant, Wallet
from billing.postings import Account, usd
from tests import builders

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


DOLLAR = 10**9


RATE = 3_100 * DOLLAR


LISTED = "0x" + "0a" * 20


def later(days: float = 30) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def grant(
    owner: Customer,
    dollars: int,
    *,
    campaign: str = "launch",
    reference: str = "",
    priority: int = 50,
    expires_at: datetime | None = None,
) -> int | None:
    return ledger.grant_promo(
        customer_id=owner.pk,
        amount_nano_usd=dollars * DOLLAR,
        campaign=campaign,
        reference=reference or f"grant:{uuid.uuid4()}",
        occurred_at=NOW,
        priority=priority,
        expires_at=expires_at,
    )


def spend(owner: Customer, nano_usd: int, *, promo_ok: bool = True, markup_bps: int = 0) -> str | None:
    """Charges exactly so much, or tells why not."""
    # The price is rounded up to a nano-dollar, so rounding the wei down gives the amount itself.
    wei = nano_usd * 10**22 // (RATE * (10_000 + markup_bps))
    key = owner.api_keys.first() or builders.api_key(owner)
    rate_id = builders.rate(RATE, feed_round=7)
    return builders.try_debit(owner, key, rate_id, cost_wei=wei, markup_bps=markup_bps, promo_ok=promo_ok)[1]


def take(owner: Customer, nano_usd: int, *, reference: str, from_reference: str = "") -> int | None:
    return ledger.take(
        customer_id=owner.pk,
        amount_nano_usd=nano_usd,
        kind="refund",
        reference=reference,
        occurred_at=NOW,
        transfers=[usd(Account(postings.PREPAID, str(owner.pk)), Account(postings.REFUNDS, str(owner.pk)), nano_usd)],
        from_reference=from_reference,
    )


def figures(owner: Customer) -> tuple[int, int, int, int]:
    wallet = Wallet.objects.get(customer=owner)
    return wallet.available_nano_usd, wallet.promo_nano_usd, wallet.fresh_nano_usd, wallet.debt_nano_usd


def remaining(owner: Customer) -> dict[str, int]:
    return dict(Grant.objects.filter(customer=owner).values_list("reference", "remaining_nano_usd"))


def usd_balance(number: int, party: str = "") -> int:
    return ledger.balance(number, "USD", party)


def assert_books_agree() -> None:
    assert {name: figure for name, figure in check_books.invariants().items() if figure} == {}


def time_is_over(owner: Customer) -> None:
    in_the_past("UPDATE billing_grant SET expires_at = clock_timestamp() WHERE customer_id = %s", owner.pk)


def time_passes(*, days: float) -> None:
    in_the_past("UPDATE billing_grant SET aged_at = aged_at - %s::interval", f"{days} days")


def in_the_past(statement: str, parameter: int | str) -> None:
    """Changes what the triggers of the books would refuse, as if it had been so."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement, [parameter])
        cursor.execute("SET session_replication_role = DEFAULT")
