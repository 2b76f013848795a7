"""Approvals: one asks, a second decides, the worker carries out once, and every attempt is kept."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts import approval_mails, approvals
from accounts.approvals import NotPossible
from accounts.models import Approval, AuditEntry, User
from tests import builders
from tests.approval_cast import Cast, Status, actions, cast, kinds, refusals

__all__ = ["cast", "kinds"]


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
