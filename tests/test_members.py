"""Stories of sharing an account: an owner invites, the owner of the address accepts, a seat is taken away."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from unittest import mock

import pytest
from allauth.account.models import EmailAddress
from django.core.cache import cache
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import customers, members, notices
from accounts.models import AuditEntry, Customer, Invitation, Mail, Membership, Notice, User
from tests import builders

BO = "bo@example.com"


@pytest.fixture(autouse=True)
def _mailbox(settings: Settings) -> Iterator[None]:
    settings.EMAIL_BACKEND = "accounts.mailbox.MailboxBackend"
    cache.clear()
    yield
    cache.clear()


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def _proved(email: str = BO) -> User:
    """A user whose address is confirmed, without a seat anywhere."""
    user = builders.user(email)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def _owner_of(customer: Customer) -> User:
    return customer.members.get()


def _invited(customer: Customer, email: str = BO, role: str = "member") -> Invitation:
    return members.invite(customer, user=_owner_of(customer), email=email, role=role)


def _seats(customer: Customer) -> list[tuple[str, str]]:
    return list(customer.memberships.order_by("id").values_list("user__email", "role"))


@pytest.mark.django_db(transaction=True)
def test_a_colleague_is_invited_by_mail_accepts_and_works_from_the_account(static_files: None) -> None:
    shared = builders.customer("Shared Account")
    owner = _owner_of(shared)
    boss, page = _signed_in(owner), "/settings/"
    assert boss.post("/settings/members/invite/", {"email": "Bo@Example.com", "role": "member"}).status_code == 302
    assert f"{BO}</b>" in boss.get(page).content.decode()
    notices.send_waiting()
    mail = Mail.objects.get()
    assert (mail.to, "Shared Account" in mail.subject) == (BO, True)

    colleague = _proved()
    customers.open_for(colleague, name="Own Account")
    bo = _signed_in(colleague)
    assert "invites you to Shared Account" in bo.get(page).content.decode()
    accept = f"/settings/invitations/{Invitation.objects.get().pk}/accept/"
    assert [bo.post(accept).headers["Location"] for _ in range(2)] == ["/", "/"]
    assert _seats(shared) == [(owner.email, "owner"), (BO, "member")]
    assert "Shared Account" in bo.get("/keys/").content.decode()
    assert "invites you" not in bo.get(page).content.decode()
    # A member changes nothing about people.
    assert bo.post("/settings/members/invite/", {"email": "c@example.com", "role": "owner"}).status_code == 403
    seat = shared.memberships.get(user=owner)
    assert bo.post(f"/settings/members/{seat.pk}/remove/").status_code == 403
    actions = list(AuditEntry.objects.filter(customer=shared).order_by("id").values_list("action", flat=True))
    assert actions == ["customer.opened", "member.invited", "member.joined"]


@pytest.mark.django_db(transaction=True)
def test_whoever_was_invited_before_signing_up_opens_no_account_of_their_own(static_files: None) -> None:
    shared = builders.customer("Shared Account")
    _invited(shared)
    client = Client()
    client.post("/accounts/signup/", {"company": "Bo", "email": BO, "password1": "correct horse battery"})
    user = User.objects.get(email=BO)
    assert not user.memberships.exists()
    EmailAddress.objects.filter(user=user).update(verified=True)
    bo = _signed_in(user)
    assert bo.get("/").headers["Location"] == "/settings/account/new/"
    shown = bo.get("/settings/account/new/").content.decode()
    assert "invites you to Shared Account" in shown
    bo.post(f"/settings/invitations/{Invitation.objects.get().pk}/accept/")
    assert [seat.customer for seat in user.memberships.all()] == [shared]


@pytest.mark.django_db(transaction=True)
def test_an_invitation_is_for_the_confirmed_owner_of_its_address_alone_and_ends(static_files: None) -> None:
    shared = builders.customer()
    invitation = _invited(shared)
    stranger, unproved = _proved("eve@example.com"), builders.user(BO)
    EmailAddress.objects.create(user=unproved, email=BO, verified=False, primary=True)
    for user in (stranger, unproved):
        assert members.accept(invitation.pk, user=user) is None
    EmailAddress.objects.filter(user=unproved).update(verified=True)
    with mock.patch(
        "accounts.members.timezone.now", return_value=timezone.now() + members.LASTS + timedelta(seconds=1)
    ):
        assert members.accept(invitation.pk, user=unproved) is None
    # A new one takes its place; one that was withdrawn opens nothing.
    again = _invited(shared)
    assert members.accept(invitation.pk, user=unproved) is None
    boss = _signed_in(_owner_of(shared))
    assert boss.post(f"/settings/invitations/{again.pk}/withdraw/").status_code == 302
    assert not members.withdraw(again, user=_owner_of(shared))
    answer = _signed_in(unproved).post(f"/settings/invitations/{again.pk}/accept/", follow=True)
    assert "This invitation has ended" in answer.content.decode()
    assert len(_seats(shared)) == 1
    other = _signed_in(_owner_of(builders.customer()))
    assert other.post(f"/settings/invitations/{again.pk}/withdraw/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_invited_is_told_beside_the_field(static_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = builders.customer()
    boss = _signed_in(_owner_of(shared))

    def told(email: str) -> str:
        answer = boss.post("/settings/members/invite/", {"email": email, "role": "member"})
        assert answer.status_code == 422
        return answer.content.decode()

    assert "This is not a whole address" in told("bo")
    assert "belongs to the account already" in told(_owner_of(shared).email.upper())
    monkeypatch.setattr(members, "MOST_A_DAY", 1)
    _invited(shared)
    assert "are the most" in told("c@example.com")
    assert Notice.objects.filter(customer=shared).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_removed_member_is_out_at_once_and_an_owner_stays(static_files: None) -> None:
    shared = builders.customer("Shared Account")
    owner, bo = _owner_of(shared), _proved()
    seat = members.accept(_invited(shared, role="owner").pk, user=bo)
    assert seat is not None
    boss, inside = _signed_in(owner), _signed_in(bo)
    assert inside.get("/keys/").status_code == 200
    assert f"Remove {BO}?" in boss.get(f"/settings/?remove={seat.pk}").content.decode()
    gone = [boss.post(f"/settings/members/{seat.pk}/remove/").status_code for _ in range(2)]
    assert gone == [302, 404]
    assert inside.get("/keys/").headers["Location"] == "/settings/account/new/"
    with pytest.raises(members.LastOwner):
        members.remove(shared.memberships.get(), user=owner)
    foreign = builders.customer().memberships.get()
    assert boss.post(f"/settings/members/{foreign.pk}/remove/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_removed_owner_does_not_come_back_by_an_address_that_he_invited(static_files: None) -> None:
    shared, bo, again = builders.customer("Shared Account"), _proved(), _proved("bo2@example.com")
    owner = _owner_of(shared)
    seat = members.accept(_invited(shared, role="owner").pk, user=bo)
    assert seat is not None
    members.invite(shared, user=owner, email="cleo@example.com", role="member")
    back = members.invite(shared, user=bo, email=again.email, role="owner")
    members.remove(seat, user=owner)
    assert [each.email for each in members.open_at(shared)] == ["cleo@example.com"]
    assert "invites you" not in _signed_in(again).get("/settings/").content.decode()
    assert members.accept(back.pk, user=again) is None
    assert _seats(shared) == [(owner.email, "owner")]
    anew = members.invite(shared, user=owner, email=again.email, role="member")
    assert members.accept(anew.pk, user=again) is not None


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_remove_each_other_at_once_leave_one() -> None:
    shared = builders.customer()
    first = shared.memberships.get()
    second = members.accept(_invited(shared, role="owner").pk, user=_proved())
    assert second is not None
    start = threading.Barrier(2)

    def remove(seat: Membership, user: User) -> None:
        try:
            start.wait()
            members.remove(seat, user=user)
        except members.LastOwner:
            pass
        finally:
            connection.close()

    threads = [
        threading.Thread(target=remove, args=[first, second.user]),
        threading.Thread(target=remove, args=[second, first.user]),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_seats(shared)) == 1


@pytest.mark.django_db(transaction=True)
def test_an_invitation_that_breaks_half_way_sends_nothing_and_an_ended_one_stays_as_it_was() -> None:
    shared = builders.customer()
    with mock.patch("accounts.members.notices.write_to", side_effect=RuntimeError), pytest.raises(RuntimeError):
        _invited(shared)
    assert not Invitation.objects.exists()
    invitation = _invited(shared)
    members.accept(invitation.pk, user=_proved())
    for change in ("UPDATE accounts_invitation SET accepted_at = NULL", "DELETE FROM accounts_invitation"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)
