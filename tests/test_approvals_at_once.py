"""Approvals asked, decided and carried out by many at once, and by workers that die half-way."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from django.db import connection, connections, transaction

from accounts import approvals
from accounts.approvals import NotPossible
from accounts.models import Approval, AuditEntry, Customer
from tests import builders
from tests.approval_cast import Cast, Status, actions, cast, kinds, refusals
from tests.demo import wait_for

__all__ = ["cast", "kinds"]


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
