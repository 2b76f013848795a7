"""Approvals: one asks, a second decides, the worker carries out once, and every attempt is kept."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.mail import EmailMessage
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts import approval_mails, approvals
from accounts.approvals import NotPossible
from accounts.models import Approval, AuditEntry, Customer, User
from tests import builders
from tests.demo import wait_for

Status = Approval.Status


@pytest.fixture(autouse=True)
def kinds(settings: Settings) -> Iterator[None]:
    settings.APPROVABLE = [*settings.APPROVABLE, "tests.approval_kinds"]
    approvals.kinds.cache_clear()
    yield
    approvals.kinds.cache_clear()


class Cast:
    """Who asks, who decides, and whose name it is about."""

    def __init__(self) -> None:
        self.asker = builders.staff("support")
        self.decider = builders.staff("finance")
        self.customer = builders.customer("Before")

    def ask(self, name: str = "After", *, once: str = "") -> Approval:
        return approvals.ask(
            kind="test.rename",
            payload={"customer": self.customer.pk, "name": name},
            reason="They asked for it",
            user=self.asker,
            customer=self.customer,
            once=once,
        )

    def approved(self, name: str = "After") -> Approval:
        return approvals.decide(self.ask(name).pk, self.decider, approve=True)

    def name(self) -> str:
        return Customer.objects.get(pk=self.customer.pk).name


@pytest.fixture
def cast(db: None) -> Cast:
    return Cast()


def actions() -> list[str]:
    return list(
        AuditEntry.objects.filter(action__startswith="approval.").order_by("id").values_list("action", flat=True)
    )


def refusals() -> list[object]:
    found = AuditEntry.objects.filter(action="approval.refused").order_by("id")
    return [entry.after["why"] for entry in found]


# -- the calm path -------------------------------------------------------------------------------------------


def test_what_one_asks_a_second_approves_and_the_worker_does_once(cast: Cast) -> None:
    request = cast.ask()
    assert cast.name() == "Before"
    assert approvals.carry_out_waiting() == 0
    assert list(approvals.waiting_for(cast.decider)) == [request]
    assert list(approvals.waiting_for(cast.asker)) == []
    assert approvals.decide(request.pk, cast.decider, approve=True, note="Fine").status == Status.APPROVED
    assert cast.name() == "Before"
    assert [approvals.carry_out_waiting() for _ in range(3)] == [1, 0, 0]
    request.refresh_from_db()
    assert (request.status, request.decided_by, request.note) == (Status.DONE, cast.decider, "Fine")
    assert request.done_at
    assert cast.name() == "After"
    assert actions() == ["approval.asked", "approval.approved", "approval.done"]
    assert AuditEntry.objects.filter(customer=cast.customer, action__startswith="approval.").count() == 3


def test_what_is_declined_or_withdrawn_is_never_done(cast: Cast) -> None:
    approvals.decide(cast.ask().pk, cast.decider, approve=False, note="Not this year")
    approvals.withdraw(cast.ask().pk, cast.asker)
    assert approvals.carry_out_waiting() == 0
    assert cast.name() == "Before"
    assert {row.status for row in Approval.objects.all()} == {Status.DECLINED, Status.WITHDRAWN}


# -- who may not ---------------------------------------------------------------------------------------------


def test_nobody_decides_his_own_request_whatever_his_roles(cast: Cast) -> None:
    cast.asker = builders.staff("admin", "finance")
    request = cast.ask()
    for approve in (True, False):
        with pytest.raises(approvals.OwnRequest):
            approvals.decide(request.pk, cast.asker, approve=approve)
    root = User.objects.create_superuser("root@example.com", "x" * 12)
    cast.asker = root
    with pytest.raises(approvals.OwnRequest):
        approvals.decide(cast.ask().pk, root, approve=True)
    request.refresh_from_db()
    assert request.status == Status.ASKED
    assert refusals() == ["own", "own", "own"]


def test_who_lacks_the_role_neither_asks_nor_decides_and_it_is_kept(cast: Cast) -> None:
    request = cast.ask()
    for person in (builders.staff("support"), builders.staff("treasury"), builders.staff(), builders.user()):
        with pytest.raises(approvals.NotAllowed):
            approvals.decide(request.pk, person, approve=True)
    gone = builders.staff("finance")
    User.objects.filter(pk=gone.pk).update(is_active=False)
    with pytest.raises(approvals.NotAllowed):
        approvals.decide(request.pk, gone, approve=True)
    cast.asker = builders.staff("treasury")
    with pytest.raises(approvals.NotAllowed):
        cast.ask()
    assert refusals() == ["no_right"] * 6
    assert Approval.objects.count() == 1


def test_only_who_asked_withdraws(cast: Cast) -> None:
    request = cast.ask()
    with pytest.raises(approvals.NotOwnRequest):
        approvals.withdraw(request.pk, cast.decider)
    assert refusals() == ["not_own"]


def test_a_role_that_is_lost_between_asking_and_deciding_counts_no_more(cast: Cast) -> None:
    request = cast.ask()
    assert cast.decider.has_perm("refunds.decide")
    cast.decider.groups.clear()
    with pytest.raises(approvals.NotAllowed):
        approvals.decide(request.pk, cast.decider, approve=True)


@pytest.mark.parametrize("who", ["asker", "decider"])
def test_a_role_that_is_lost_before_the_worker_came_stops_it(cast: Cast, who: str) -> None:
    request = cast.approved()
    getattr(cast, who).groups.clear()
    assert approvals.carry_out_waiting() == 0
    request.refresh_from_db()
    assert request.status == Status.FAILED
    assert "lost the role" in request.error
    assert cast.name() == "Before"


def test_what_somebody_asked_who_left_is_declined_at_most(cast: Cast) -> None:
    request = cast.ask()
    User.objects.filter(pk=cast.asker.pk).update(is_staff=False)
    with pytest.raises(approvals.AskerLeft):
        approvals.decide(request.pk, cast.decider, approve=True)
    assert approvals.decide(request.pk, cast.decider, approve=False).status == Status.DECLINED


# -- what cannot be --------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_when_asked_and_again_when_decided(cast: Cast) -> None:
    with pytest.raises(NotPossible, match="needs a name"):
        cast.ask("")
    with pytest.raises(NotPossible, match="say why"):
        approvals.ask(kind="test.rename", payload={"customer": 1, "name": "x"}, reason=" ", user=cast.asker)
    assert not Approval.objects.exists()
    assert len(refusals()) == 2
    with pytest.raises(AssertionError):
        approvals.ask(kind="test.rename", payload={"amount": (1, 2)}, reason="x", user=cast.asker)


def test_a_failure_leaves_nothing_but_its_words(cast: Cast) -> None:
    taken, broken = cast.approved("Refused at the last moment"), cast.approved("Broken")
    assert approvals.carry_out_waiting() == 0
    for request, words in ((taken, "The name is taken."), (broken, "failed on our side")):
        request.refresh_from_db()
        assert request.status == Status.FAILED
        assert words in request.error
    assert cast.name() == "Before"
    assert not AuditEntry.objects.filter(action="customer.renamed").exists()
    assert approvals.carry_out_waiting() == 0


# -- expiry ------------------------------------------------------------------------------------------------------


def over(request: Approval) -> None:
    """Puts a request's end into the past, which nobody can do while its triggers stand."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE accounts_approval SET expires_at = %s WHERE id = %s",
            [timezone.now() - timedelta(seconds=1), request.pk],
        )
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def test_a_request_whose_time_is_over_is_not_decided_and_closed_once(cast: Cast, settings: Settings) -> None:
    settings.APPROVAL_HOURS = 5
    request, other = cast.ask(), cast.ask()
    assert timedelta(hours=4, minutes=59) < request.expires_at - timezone.now() <= timedelta(hours=5)
    over(request)
    with pytest.raises(approvals.Expired):
        approvals.decide(request.pk, cast.decider, approve=True)
    assert list(approvals.waiting_for(cast.decider)) == [other]
    assert [approvals.expire(), approvals.expire()] == [1, 0]
    request.refresh_from_db()
    assert request.status == Status.EXPIRED
    with pytest.raises(approvals.AlreadyDecided):
        approvals.decide(request.pk, cast.decider, approve=True)
    assert refusals() == ["expired", "decided"]


# -- twice -----------------------------------------------------------------------------------------------------


def test_the_same_form_sent_twice_is_one_request(cast: Cast) -> None:
    first = cast.ask(once="form-1")
    assert cast.ask(once="form-1") == first
    assert cast.ask(once="form-2") != first
    with pytest.raises(NotPossible, match="sent before"):
        cast.ask("Another", once="form-1")
    assert actions() == ["approval.asked", "approval.repeated", "approval.asked"]


def test_a_second_decision_is_refused(cast: Cast) -> None:
    request = cast.approved()
    other = builders.staff("finance")
    for person in (cast.decider, other):
        for approve in (True, False):
            with pytest.raises(approvals.AlreadyDecided):
                approvals.decide(request.pk, person, approve=approve)
    with pytest.raises(approvals.AlreadyDecided):
        approvals.withdraw(request.pk, cast.asker)
    assert refusals() == ["decided"] * 5


# -- too many at once ------------------------------------------------------------------------------------------


def at_once[T](calls: list[Callable[[], T]]) -> list[T | Exception]:
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        try:
            start.wait()
            return call()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.django_db(transaction=True)
def test_of_two_deciders_at_the_same_moment_one_decides() -> None:
    cast = Cast()
    others = [builders.staff("finance") for _ in range(4)]
    request = cast.ask()
    outcomes = at_once(
        [
            partial(approvals.decide, request.pk, person, approve=approve)
            for person, approve in zip(others, (True, False, True, False), strict=True)
        ]
    )
    assert sum(isinstance(outcome, Approval) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, approvals.AlreadyDecided) for outcome in outcomes) == 3
    assert len([action for action in actions() if action in ("approval.approved", "approval.declined")]) == 1
    assert refusals() == ["decided"] * 3


@pytest.mark.django_db(transaction=True)
def test_eight_workers_carry_an_approval_out_once() -> None:
    cast = Cast()
    for name in ("A", "B", "C"):
        cast.approved(name)
    assert sorted(map(str, at_once([approvals.carry_out_waiting] * 8)))[-1] in "123"
    approvals.carry_out_waiting()
    assert set(Approval.objects.values_list("status", flat=True)) == {Status.DONE}
    assert AuditEntry.objects.filter(action="customer.renamed").count() == 3
    assert AuditEntry.objects.filter(action="approval.done").count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_form_that_is_sent_eight_times_at_once_is_one_request() -> None:
    cast = Cast()
    rows = at_once([lambda: cast.ask(once="form-1")] * 8)
    assert len({row.pk for row in rows if isinstance(row, Approval)}) == 1, rows
    assert Approval.objects.count() == 1


# -- broke half-way --------------------------------------------------------------------------------------------

KILLED = """
import time, django
django.setup()
from accounts import approvals
from django.conf import settings
real = approvals._close

def close(*given, **more):
    real(*given, **more)
    print("closed", flush=True)
    time.sleep(60)

approvals._close = close
settings.APPROVABLE = ["tests.approval_kinds"]
approvals.carry_out_waiting()
"""


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_before_its_commit_did_nothing_and_the_next_one_does_it() -> None:
    cast = Cast()
    request = cast.approved()
    given = connection.get_connection_params()
    url = f"postgresql://{given['user']}:{given.get('password', '')}@{given['host']}:{given['port']}/{given['dbname']}"
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        cwd=Path(__file__).resolve().parent.parent,
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
    )
    assert worker.stdout
    assert worker.stdout.readline() == b"closed\n"
    assert approvals.carry_out_waiting() == 0, "the first worker holds it"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    request.refresh_from_db()
    assert request.status == Status.APPROVED
    assert cast.name() == "Before"
    wait_for("the second worker", lambda: approvals.carry_out_waiting() == 1, seconds=20)
    assert cast.name() == "After"
    assert AuditEntry.objects.filter(action="customer.renamed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_refused_attempt_stays_in_the_log_when_everything_around_it_is_rolled_back() -> None:
    cast = Cast()
    request = cast.ask()
    stranger = builders.staff("treasury")
    attempts: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: approvals.decide(request.pk, stranger, approve=True), approvals.NotAllowed),
        (lambda: approvals.decide(request.pk, cast.asker, approve=True), approvals.NotAllowed),
        (lambda: cast.ask(""), NotPossible),
    ]
    for attempt, error in attempts:
        with pytest.raises(error), transaction.atomic():  # noqa: PT012
            Customer.objects.update(name="Half-way")
            attempt()
    assert refusals() == ["no_right", "no_right", "A customer needs a name."]
    assert cast.name() == "Before"
    # The entry waits for a lock of its own transaction two seconds, then shares its fate.
    with pytest.raises(approvals.NotAllowed), transaction.atomic():  # noqa: PT012
        Customer.objects.select_for_update().get(pk=cast.customer.pk)
        approvals.decide(request.pk, stranger, approve=True)
    assert len(refusals()) == 3


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db
def test_who_may_decide_is_told_by_mail_and_so_is_who_asked_each_once(mailoutbox: list[EmailMessage]) -> None:
    cast = Cast()
    for other in (builders.staff("treasury"), builders.staff("support")):
        assert not other.has_perm("refunds.decide")
    gone = builders.staff("finance")
    User.objects.filter(pk=gone.pk).update(is_active=False)
    request = cast.ask()
    assert [approval_mails.send_waiting() for _ in range(2)] == [1, 0]
    approvals.decide(request.pk, cast.decider, approve=True, note="Fine")
    assert approval_mails.send_waiting() == 0
    approvals.carry_out_waiting()
    assert [approval_mails.send_waiting() for _ in range(2)] == [1, 0]
    asked, answered = mailoutbox
    assert (asked.to, answered.to) == ([cast.decider.email], [cast.asker.email])
    assert f"/approvals/{request.pk}/" in str(asked.body)
    assert "Name then: After" in str(asked.body)
    assert "Fine" in str(answered.body)


@pytest.mark.django_db
def test_a_mail_server_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch, mailoutbox: list[Any]) -> None:
    cast = Cast()
    cast.ask()
    with monkeypatch.context() as patch:
        patch.setattr("accounts.mail.send", lambda *given, **more: (_ for _ in ()).throw(ConnectionRefusedError()))
        assert approval_mails.send_waiting() == 0
    assert approval_mails.send_waiting() == 1
    assert len(mailoutbox) == 1


# -- what the database itself refuses -------------------------------------------------------------------------------


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
