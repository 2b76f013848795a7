"""What the database itself refuses of approvals and of the audit log."""

from collections.abc import Callable
from functools import partial

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from accounts import approvals
from accounts.models import Approval
from tests import builders
from tests.approval_cast import Cast, Status, cast, kinds

__all__ = ["cast", "kinds"]


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_database_keeps_the_order_of_states_against_its_own_owner(cast: Cast) -> None:
    request = cast.ask()
    done = cast.approved()
    approvals.carry_out_waiting()
    wrong = [
        (request, "status = 'done', done_at = now()"),
        (request, "status = 'approved'"),
        (request, "status = 'approved', decided_at = now(), decided_by_id = asked_by_id"),
        (request, "status = 'expired'"),
        (request, "payload = '{}'"),
        (request, "expires_at = now() + interval '1 year'"),
        (request, f"asked_by_id = {cast.decider.pk}"),
        (request, "error = 'x'"),
        (done, "status = 'approved', done_at = NULL"),
        (done, f"decided_by_id = {builders.staff('finance').pk}"),
        (done, "note = 'x'"),
        (done, "done_at = now()"),
    ]
    for row, change in wrong:
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE accounts_approval SET {change} WHERE id = {row.pk}")
    with pytest.raises(DatabaseError), transaction.atomic():
        request.delete()
    for change in ("UPDATE accounts_auditentry SET action = 'x'", "DELETE FROM accounts_auditentry"):
        with pytest.raises(DatabaseError, match="kept as it was written"), transaction.atomic():
            execute(change)
    connection.check_constraints()
    with pytest.raises(DatabaseError, match="kept as it was written"), transaction.atomic():
        execute("TRUNCATE accounts_auditentry")


def test_the_database_takes_a_request_only_as_a_request_of_staff(cast: Cast) -> None:
    good = {"kind": "x", "payload": {}, "reason": "x", "asked_by": cast.asker, "expires_at": timezone.now()}
    for more in (
        {"status": Status.APPROVED, "decided_by": cast.decider, "decided_at": timezone.now()},
        {"status": Status.DONE},
        {"decided_by": cast.decider},
        {"asked_by": builders.user()},
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            Approval.objects.create(**{**good, **more})


@pytest.mark.django_db(transaction=True)
def test_web_and_worker_have_the_rights_for_their_part_and_no_more() -> None:
    cast = Cast()

    def as_role(role: str, call: Callable[[], object]) -> object:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE clearinghouse_{role}")
        try:
            return call()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET ROLE")

    request = as_role("web", cast.ask)
    assert isinstance(request, Approval)
    as_role("web", lambda: approvals.decide(request.pk, cast.decider, approve=True))
    as_role("web", lambda: approvals.withdraw(cast.ask().pk, cast.asker))

    def carry_out() -> None:
        assert approvals.carry_out_waiting() == 0  # the worker may not rename customers: this kind's own business

    as_role("worker", carry_out)
    request.refresh_from_db()
    assert request.status == Status.FAILED
    for role, statement in (
        ("web", "UPDATE accounts_approval SET status = 'done'"),
        ("web", "UPDATE accounts_approval SET status = 'expired'"),
        ("web", "DELETE FROM accounts_approval"),
        ("worker", "UPDATE accounts_approval SET decided_by_id = 1"),
        ("worker", "SELECT accounts_decide_approval(1, 1, true, '')"),
        ("worker", "INSERT INTO accounts_approval (kind) VALUES ('x')"),
        ("signer", "SELECT * FROM accounts_approval"),
        ("treasury", "SELECT * FROM accounts_approval"),
    ):
        with pytest.raises(DatabaseError) as caught:
            as_role(role, partial(execute, statement))
        assert isinstance(caught.value.__cause__, psycopg.errors.InsufficientPrivilege), statement
