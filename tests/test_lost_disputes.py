"""A dispute that was lost flags whom its money paid, once; what staff clear stays clear."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import connection, connections

from accounts.models import AuditEntry, Customer
from billing.models import Dispute
from signing import lost_disputes, recipients
from signing.models import LostDispute, RecipientRule
from tests import builders

pytestmark = pytest.mark.django_db(transaction=True)
MUCH, LITTLE = "0x" + "71" * 20, "0x" + "72" * 20
DOLLAR_WEI = 10**18 // 3_000


def dispute(owner: Customer, provider_id: str = "dp_1", *, dollars: int = 100, stage: str = "lost") -> Dispute:
    top_up = builders.top_up(owner, dollars)
    top_up.settled_at = datetime.now(UTC)
    top_up.save(update_fields=["settled_at"])
    return Dispute.objects.create(
        provider_id=provider_id,
        customer=owner,
        top_up=top_up,
        charge_id="ch_1",
        amount_cents=dollars * 100,
        currency="usd",
        amount_nano_usd=dollars * 10**9,
        reason="fraudulent",
        provider_status="lost",
        stage=stage,
        opened_at=datetime.now(UTC),
    )


def as_worker() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE clearinghouse_worker")
    try:
        return lost_disputes.look()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


def test_a_lost_dispute_flags_whom_its_money_paid_once(one_day: None) -> None:
    owner, stranger = builders.customer(), builders.customer()
    row = dispute(owner, stage="open")
    builders.top_up(stranger, 50)
    builders.debit(owner, cost_wei=60 * DOLLAR_WEI, recipient=MUCH)
    builders.debit(owner, cost_wei=DOLLAR_WEI, recipient=LITTLE)
    builders.debit(stranger, cost_wei=20 * DOLLAR_WEI, recipient="0x" + "73" * 20)
    assert as_worker() == 0
    Dispute.objects.filter(pk=row.pk).update(stage="lost")
    assert as_worker() == 1
    flag = RecipientRule.objects.get()
    assert (flag.address, flag.standing, flag.reference) == (MUCH, "flagged", "dispute:dp_1")
    assert flag.reason == f"Paid by account {owner.pk}, which lost a dispute about $100.00"
    assert AuditEntry.objects.get(action="recipient.ruled").actor is None
    assert (LostDispute.objects.get().recipients, LostDispute.objects.get().flagged) == (2, 1)
    recipients.lift(flag, reason="It is well known", user=builders.user())
    assert as_worker() == 0
    assert not recipients.stands(MUCH, "flagged")
    dispute(owner, "dp_2", dollars=10)
    assert as_worker() == 1
    assert recipients.stands(MUCH, "flagged")
    dispute(owner, "dp_3", dollars=10)
    assert as_worker() == 1
    assert RecipientRule.objects.count() == 3


def test_two_workers_at_once_and_one_that_broke_off_flag_once(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = builders.customer()
    dispute(owner)
    builders.debit(owner, cost_wei=60 * DOLLAR_WEI, recipient=MUCH)
    with monkeypatch.context() as patch:

        def break_off(**_: object) -> None:
            raise RuntimeError

        patch.setattr(recipients, "rule", break_off)
        with pytest.raises(RuntimeError):
            lost_disputes.look()
    assert not LostDispute.objects.exists()

    def look(_: int) -> int:
        try:
            return lost_disputes.look()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as several:
        assert sum(several.map(look, range(4))) == 1
    assert RecipientRule.objects.count() == 1
