"""Movements at the provider and the journals that tell of them: found quickly however many come at once."""

import time

import pytest
from django.utils import timezone

from billing import ledger, postings
from billing.models import BalanceTransaction
from billing.reconciliation import mirror

pytestmark = pytest.mark.django_db(transaction=True)


def test_hundreds_of_movements_that_come_at_once_are_explained_in_a_moment() -> None:
    """No statistics tell of them yet: each must be found by its key, not by looking at all for each."""
    now, cents = timezone.now(), 100
    for number in range(400):
        ledger.book(
            kind="provider_fee",
            reference=f"stripe:txn_{number}",
            occurred_at=now,
            transfers=postings.provider_fee(fee_nano_usd=cents * 10**7),
        )
    BalanceTransaction.objects.bulk_create(
        BalanceTransaction(
            id=f"txn_{number}",
            amount_cents=-cents,
            fee_cents=0,
            net_cents=-cents,
            currency="usd",
            type="adjustment",
            reporting_category="fee",
            subject=f"txn_{number}",
            created_at=now,
            available_at=now,
            value_nano_usd=-cents * 10**7,
        )
        for number in range(400)
    )
    begun = time.monotonic()
    assert mirror.explain() == 400
    assert time.monotonic() - begun < 5
