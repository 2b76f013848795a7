"""Builders of small facts for tests, each through the product's own doors where there is one."""

import hashlib
import itertools
import uuid
from datetime import UTC, datetime

from django.contrib.auth.models import Group
from django.db import connection, transaction

from accounts import customers
from accounts.models import ApiKey, Customer, User
from billing import documents, ledger, postings
from billing.models import TopUp

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
_numbers = itertools.count(1)


def user(email: str | None = None) -> User:
    return User.objects.create_user(email or f"person{next(_numbers)}@example.com", "correct horse battery")


def staff(*roles: str) -> User:
    """A member of staff with these roles."""
    person = user()
    person.is_staff = True
    person.save()
    person.groups.set([Group.objects.get_or_create(name=role)[0] for role in roles])
    return person


def customer(name: str = "Acme") -> Customer:
    """An active customer with one owner and an empty wallet."""
    return customers.open_for(user(), name=name)


def api_key(owner: Customer, secret: str | None = None) -> ApiKey:
    text = secret or f"ch_live_test{next(_numbers):04}_{uuid.uuid4().hex}"
    return ApiKey.objects.create(
        customer=owner,
        name=f"test-key-{next(_numbers)}",
        prefix=text.split("_")[2][:16],
        secret_sha256=hashlib.sha256(text.encode()).digest(),
    )


def rate(nano_usd_per_eth: int = 3_000 * 10**9, feed_round: int = 1) -> int:
    return ledger.record_rate(
        feed_address="0x" + "fe" * 20, feed_round=feed_round, nano_usd_per_eth=nano_usd_per_eth, updated_at=NOW
    )


def credit(owner: Customer, amount_nano_usd: int, *, reference: str, aged_at: datetime | None = None) -> int | None:
    return ledger.credit(
        customer_id=owner.pk,
        amount_nano_usd=amount_nano_usd,
        kind="top_up",
        reference=reference,
        occurred_at=NOW,
        transfers=postings.top_up(customer_id=owner.pk, gross_nano_usd=amount_nano_usd),
        aged_at=aged_at,
    )


def top_up(owner: Customer, dollars: int, *, aged_at: datetime | None = None) -> TopUp:
    """A paid top-up with its journal and credit, as the settling task leaves it."""
    intent = f"pi_{uuid.uuid4().hex}"
    row = TopUp.objects.create(
        customer=owner,
        created_by=owner.members.get(),
        amount_cents=dollars * 100,
        net_cents=dollars * 100,
        total_cents=dollars * 100,
        credit_nano_usd=dollars * 10**9,
        status=TopUp.Status.PAID,
        payment_intent_id=intent,
        settled_at=NOW,
    )
    assert credit(owner, dollars * 10**9, reference=f"stripe:{intent}", aged_at=aged_at)
    with transaction.atomic():
        documents.issue_receipt(row)
    return row


def debit(owner: Customer, *, cost_wei: int, recipient: str = "0x" + "0a" * 20, markup_bps: int = 1_500) -> int:
    """The id of a usage row that was charged."""
    key = owner.api_keys.first() or api_key(owner)
    usage_id, refused = try_debit(owner, key, rate(), cost_wei=cost_wei, recipient=recipient, markup_bps=markup_bps)
    assert refused is None, refused
    assert usage_id is not None
    return usage_id


def refusal(owner: Customer, *, cost_wei: int, markup_bps: int = 1_500, promo_ok: bool = True) -> str | None:
    key = owner.api_keys.first() or api_key(owner)
    return try_debit(owner, key, rate(), cost_wei=cost_wei, markup_bps=markup_bps, promo_ok=promo_ok)[1]


def try_debit(
    owner: Customer,
    key: ApiKey,
    rate_id: int,
    *,
    cost_wei: int,
    recipient: str = "0x" + "0a" * 20,
    markup_bps: int = 1_500,
    promo_ok: bool = True,
) -> tuple[int | None, str | None]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_id, refusal FROM billing_debit"
            "(%s, %s, %s, 'app', 'live', %s, 1, 'ticket', 10, %s, %s, %s, %s, %s)",
            [owner.pk, key.pk, uuid.uuid4(), recipient, cost_wei, cost_wei, rate_id, markup_bps, promo_ok],
        )
        row = cursor.fetchone()
    return row[0], row[1]
