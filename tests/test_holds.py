"""Holds: an account is frozen exactly while one stands, whoever places and lifts them in whatever order."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, connections, transaction

from accounts import customers, holds
from accounts.models import AuditEntry, Customer, Hold
from tests import builders, size


def status(customer: Customer) -> str:
    customer.refresh_from_db()
    return customer.status


@pytest.mark.django_db
def test_an_account_is_frozen_from_its_first_hold_to_the_end_of_its_last() -> None:
    customer, staff = builders.customer(), builders.user()
    first = holds.place(customer=customer, code=holds.Code.DISPUTE, reference="dispute:du_1", reason="Disputed")
    second = holds.place(customer=customer, code=holds.Code.STAFF, reference="staff:1", reason="Looks odd", user=staff)
    assert first
    assert second
    again = holds.place(customer=customer, code=holds.Code.DISPUTE, reference="dispute:du_1", reason="Once more")
    assert again is None
    assert list(holds.standing(customer)) == [second, first]
    assert status(customer) == "frozen"
    assert holds.lift_reference("dispute:du_1", reason="Won")
    assert not holds.lift_reference("dispute:du_1", reason="Won")
    assert status(customer) == "frozen"
    assert holds.lift(second, reason="Called them", user=staff)
    assert not holds.lift(second, reason="Called them", user=staff)
    assert status(customer) == "active"
    late = holds.place(customer=customer, code=holds.Code.DISPUTE, reference="dispute:du_1", reason="A late event")
    assert late is None
    assert status(customer) == "active"
    told = AuditEntry.objects.filter(action__startswith="hold.").order_by("id").values_list("action", "actor")
    assert list(told) == [
        ("hold.placed", None),
        ("hold.placed", staff.pk),
        ("hold.lifted", None),
        ("hold.lifted", staff.pk),
    ]


@pytest.mark.django_db
def test_a_closed_account_stays_closed_and_opens_frozen_while_a_hold_stands() -> None:
    customer, staff = builders.customer(), builders.user()
    assert customers.close(customer, user=staff, reason="Asked for it")
    assert not customers.close(customer, user=staff, reason="Asked for it")
    hold = holds.place(customer=customer, code=holds.Code.STAFF, reference="staff:1", reason="Looks odd")
    assert hold
    assert status(customer) == "closed"
    assert customers.reopen(customer, user=staff, reason="Came back")
    assert status(customer) == "frozen"
    holds.lift(hold, reason="Fine")
    assert status(customer) == "active"
    assert not customers.reopen(customer, user=staff, reason="Came back")


@pytest.mark.django_db
def test_what_was_placed_stays_as_it_was_placed() -> None:
    hold = holds.place(customer=builders.customer(), code=holds.Code.STAFF, reference="staff:1", reason="Looks odd")
    assert hold
    changes = ["UPDATE accounts_hold SET reason = 'x'", "DELETE FROM accounts_hold"]
    for change in changes:
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)
    holds.lift(hold, reason="Fine")
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_hold SET lifted_at = NULL")


@pytest.mark.django_db(transaction=True)
def test_holds_placed_and_lifted_at_once_never_leave_a_held_account_active() -> None:
    customer = builders.customer()
    for turn in range(size.of(5, full=50)):
        old = holds.place(customer=customer, code=holds.Code.STAFF, reference=f"old:{turn}", reason="Old")
        assert old

        def act(job: int, turn: int = turn, old: Hold = old) -> bool:
            try:
                if job % 2:
                    return holds.lift(old, reason="Fine")
                name = f"new:{turn}:{job // 4}"
                return holds.place(customer=customer, code=holds.Code.STAFF, reference=name, reason="New") is not None
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(act, range(8)))
        assert sum(done[1::2]) == 1
        assert sum(done[0::2]) == 2
        assert status(customer) == "frozen"
        for hold in holds.standing(customer):
            holds.lift(hold, reason="Next turn")
        assert status(customer) == "active"
