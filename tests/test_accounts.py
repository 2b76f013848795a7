"""Stories of people: opening an account, signing in, and what each of them may open."""

import re
import threading
from collections.abc import Iterator
from unittest import mock

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import customers
from accounts.models import ApiKey, AuditEntry, Customer, Mail, Membership, User
from tests import builders

PASSWORD = "correct horse battery"
FORM = {"company": "Example Gateway", "email": "ana@example.com", "password1": PASSWORD}


@pytest.fixture(autouse=True)
def _mailbox(settings: Settings) -> Iterator[None]:
    """Mails become rows as in the demo; rate limits start anew with each story."""
    settings.EMAIL_BACKEND = "accounts.mailbox.MailboxBackend"
    settings.MAIL_PAGE = True
    settings.STAFF_MFA_REQUIRED = False
    cache.clear()
    yield
    cache.clear()


def _link(mail: Mail) -> str:
    found = re.search(r"https?://[^/]+(/accounts/\S+)", mail.text)
    assert found, mail.text
    return found[1]


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.mark.django_db
def test_sign_up_opens_an_account_with_its_owner_and_waits_for_the_address(client: Client) -> None:
    answer = client.post("/accounts/signup/", FORM)

    assert answer.headers["Location"] == "/accounts/confirm-email/"
    seat = Membership.objects.select_related("user", "customer").get()
    assert (seat.user.email, seat.customer.name, seat.role) == ("ana@example.com", "Example Gateway", "owner")
    assert AuditEntry.objects.get().action == "customer.opened"
    assert client.get("/keys/").headers["Location"].startswith("/accounts/login/")
    mail = Mail.objects.get()
    assert mail.subject == "Confirm your address to open your account"
    assert "http" in mail.text
    assert mail.html.count("<a ") == 1

    client.post(_link(mail))

    assert client.get("/keys/").status_code == 200


@pytest.mark.django_db
def test_a_known_address_learns_by_mail_alone_that_it_is_known(client: Client) -> None:
    client.post("/accounts/signup/", FORM)
    client.post(_link(Mail.objects.get()))
    cache.clear()  # within three minutes an address gets one such mail
    again = Client().post("/accounts/signup/", FORM)

    assert again.headers["Location"] == "/accounts/confirm-email/"
    assert User.objects.count() == Customer.objects.count() == 1
    assert Mail.objects.latest("id").subject == "You already have an account"


@pytest.mark.django_db(transaction=True)
def test_the_same_form_sent_many_times_at_once_opens_one_account(static_files: None) -> None:
    together = threading.Barrier(6)
    answers: list[int] = []

    def send() -> None:
        together.wait()
        answers.append(Client().post("/accounts/signup/", FORM).status_code)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [302] * 6
    assert User.objects.count() == Customer.objects.count() == Membership.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_sign_up_that_breaks_half_way_leaves_nothing_behind(client: Client) -> None:
    client.raise_request_exception = False
    with mock.patch.object(customers, "open_for", side_effect=RuntimeError("power cut")):
        assert client.post("/accounts/signup/", FORM).status_code == 500
    assert not User.objects.exists()

    assert client.post("/accounts/signup/", FORM).status_code == 302
    assert Membership.objects.count() == 1


@pytest.mark.django_db
def test_sign_up_says_beside_each_field_what_would_be_right(client: Client) -> None:
    page = client.post("/accounts/signup/", {"company": "", "email": "ana@example", "password1": "short"})

    text = page.content.decode()
    assert "Name the company or project that pays" in text
    assert "This is not a whole address. One looks like ana@example.com." in text
    assert "at least 10 characters" in text
    assert text.count('aria-invalid="true"') == 3
    for name in ("company", "email", "password1"):
        assert re.search(rf'aria-describedby="[^"]*id_{name}-error', text), name
        assert f'id="id_{name}-error"' in text


@pytest.mark.django_db
def test_a_failed_sign_in_does_not_say_which_half_was_wrong(client: Client) -> None:
    builders.customer()
    known = User.objects.get().email
    answers = [
        client.post("/accounts/login/", {"login": login, "password": "not this one"}).content.decode()
        for login in (known, "nobody@example.com")
    ]

    for answer in answers:
        assert "Email and password do not match." in answer
        assert "not this one" not in answer


@pytest.mark.django_db
def test_a_lost_password_is_replaced_by_mail_and_the_link_works_once(client: Client) -> None:
    user = builders.customer().members.get()
    client.post("/accounts/password/reset/", {"email": user.email})
    link = _link(Mail.objects.get())
    form = client.get(link, follow=True)
    target = form.redirect_chain[-1][0]
    new = {"password1": "battery staple horse", "password2": "battery staple horse"}

    assert client.post(target, new).status_code == 302
    user.refresh_from_db()
    assert user.check_password("battery staple horse")
    assert Mail.objects.latest("id").subject == "Your password was reset"
    assert "This link has ended" in Client().get(link, follow=True).content.decode()


@pytest.mark.django_db
def test_a_reset_for_an_unknown_address_looks_the_same(client: Client) -> None:
    answer = client.post("/accounts/password/reset/", {"email": "nobody@example.com"})

    assert answer.headers["Location"] == "/accounts/password/reset/done/"
    assert Mail.objects.get().subject == "There is no account with this address"


@pytest.mark.django_db
def test_a_user_without_an_account_is_led_to_open_one_and_twice_gives_the_same(static_files: None) -> None:
    alone = builders.user()
    client = _signed_in(alone)

    assert client.get("/keys/").headers["Location"] == "/settings/account/new/"
    client.post("/settings/account/new/", {"company": "Second Start"})
    first = customers.open_first_for(alone, name="Second Start")

    assert Customer.objects.get() == first
    assert client.get("/keys/").status_code == 200


@pytest.mark.django_db
def test_a_member_of_two_accounts_works_from_the_chosen_one(static_files: None) -> None:
    user = builders.user()
    first, second = (customers.open_for(user, name=name) for name in ("First", "Second"))
    builders.api_key(second)
    client = _signed_in(user)

    assert "will stand here" in client.get("/keys/").content.decode()
    client.post(f"/settings/account/{second.pk}/")
    assert ApiKey.objects.get().prefix in client.get("/keys/").content.decode()
    assert client.post(f"/settings/account/{builders.customer().pk}/").status_code == 403
    client.post(f"/settings/account/{first.pk}/")
    assert "will stand here" in client.get("/keys/").content.decode()


@pytest.mark.django_db
def test_names_are_saved_by_those_who_may(static_files: None) -> None:
    customer = builders.customer("Old Name")
    owner = customer.members.get()
    member = builders.user()
    Membership.objects.create(customer=customer, user=member, role=Membership.Role.MEMBER)

    assert _signed_in(member).post("/settings/account/", {"company": "Mine"}).status_code == 403
    _signed_in(member).post("/settings/profile/", {"name": "Bo"})
    _signed_in(owner).post("/settings/account/", {"company": "New Name"})

    customer.refresh_from_db()
    member.refresh_from_db()
    assert (customer.name, member.name) == ("New Name", "Bo")
    entry = AuditEntry.objects.get(action="customer.renamed")
    assert (entry.before, entry.after) == ({"name": "Old Name"}, {"name": "New Name"})


@pytest.mark.django_db
def test_each_page_opens_for_those_it_is_meant_for(static_files: None) -> None:
    customer = builders.customer()
    key = builders.api_key(customer)
    staff = builders.user()
    User.objects.filter(pk=staff.pk).update(is_staff=True, is_superuser=True)
    cast = {
        "owner": _signed_in(customer.members.get()),
        "stranger": _signed_in(builders.customer("Other").members.get()),
        "staff": _signed_in(User.objects.get(pk=staff.pk)),
        "guest": Client(),
    }
    own = f"/keys/{key.pk}/"
    expected = {
        "/keys/": {"owner": 200, "stranger": 200, "staff": 302, "guest": 302},
        own: {"owner": 200, "stranger": 404, "staff": 302, "guest": 302},
        "/settings/": {"owner": 200, "stranger": 200, "staff": 200, "guest": 302},
        "/treasury/": {"owner": 403, "stranger": 403, "staff": 200, "guest": 302},
        "/staff/accounts/customer/": {"owner": 302, "stranger": 302, "staff": 200, "guest": 302},
        "/staff/accounts/apikey/": {"owner": 302, "stranger": 302, "staff": 200, "guest": 302},
        "/staff/login/": {"owner": 403, "stranger": 403, "staff": 302, "guest": 302},
        "/accounts/login/": {"owner": 302, "stranger": 302, "staff": 302, "guest": 200},
        "/demo/mail/": {"owner": 200, "stranger": 200, "staff": 200, "guest": 200},
    }
    found = {path: {who: client.get(path).status_code for who, client in cast.items()} for path in expected}
    assert found == expected

    changes = {who: client.post(f"{own}revoke/", {"typed": key.name}).status_code for who, client in cast.items()}
    assert changes == {"owner": 302, "stranger": 404, "staff": 302, "guest": 302}
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


@pytest.mark.django_db
def test_staff_set_up_a_second_factor_before_staff_pages_open(settings: Settings, static_files: None) -> None:
    settings.STAFF_MFA_REQUIRED = True
    User.objects.create_superuser("staff@example.com", PASSWORD)
    client = _signed_in(User.objects.get())

    assert client.get("/treasury/").headers["Location"] == reverse("mfa_activate_totp")
    console = client.get("/staff/", follow=True)
    assert console.redirect_chain[-1][0].startswith(("/accounts/2fa/totp/activate/", "/accounts/reauthenticate/"))


@pytest.mark.django_db
def test_the_console_shows_no_digest_and_changes_only_what_it_records(static_files: None) -> None:
    customer = builders.customer()
    key = builders.api_key(customer)
    User.objects.create_superuser("staff@example.com", PASSWORD)
    staff = _signed_in(User.objects.get(email="staff@example.com"))

    page = staff.get(f"/staff/accounts/apikey/{key.pk}/change/").content.decode()
    assert key.prefix in page
    assert "sha256" not in page.lower()
    form = {
        "name": "Acme Streaming",
        "status": "frozen",
        **{f"memberships-{part}": value for part, value in (("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0))},
        **{f"api_keys-{part}": value for part, value in (("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0))},
    }
    assert staff.post(f"/staff/accounts/customer/{customer.pk}/change/", form).status_code == 302
    entry = AuditEntry.objects.get(action="customer.changed_by_staff")
    assert (entry.before, entry.after) == ({"name": "Acme"}, {"name": "Acme Streaming"})
    customer.refresh_from_db()
    assert customer.status == "active"
    for path in ("auditentry/add/", "apikey/add/", f"customer/{customer.pk}/delete/"):
        assert staff.get(f"/staff/accounts/{path}").status_code == 403


@pytest.mark.django_db
def test_mails_cannot_be_read_where_the_mail_page_is_off(client: Client, settings: Settings) -> None:
    client.post("/accounts/signup/", FORM)
    number = Mail.objects.get().pk
    pages = ["/demo/mail/", f"/demo/mail/{number}/", f"/demo/mail/{number}/html/"]

    assert [client.get(page).status_code for page in pages] == [200] * 3
    settings.MAIL_PAGE = False
    assert [client.get(page).status_code for page in pages] == [404] * 3


@pytest.mark.django_db
def test_a_demo_prints_the_link_of_each_mail(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="accounts.mailbox"):
        client.post("/accounts/signup/", FORM)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "accounts.mailbox"]
    assert FORM["email"] in line
    assert "/accounts/confirm-email/" in line
