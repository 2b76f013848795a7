"""Staff find a customer by number, name or e-mail address, and see whose money it is before any of it moves."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from accounts import customers
from accounts.models import Approval, Customer, Membership
from billing.account_search import SHOWN
from billing.models import Refund
from sandbox.psp.client import Psp
from tests import builders
from tests.acting import acting_as
from tests.money_back import NANO, available, booked_well, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _one_factor(settings: Any) -> None:
    settings.STAFF_MFA_REQUIRED = False


@pytest.fixture
def acme() -> Customer:
    return customers.open_for(builders.user("anna@acme.example"), name="Acme Video")


def signed_in(*roles: str) -> Client:
    client = Client()
    client.force_login(builders.staff(*roles))
    return client


def refund_form(account: object, amount: str = "12", **more: str) -> dict[str, str]:
    return {"refund": str(uuid.uuid4()), "account": str(account), "amount": amount, "why": "Ticket 12", **more}


def credit_form(account: object, **more: str) -> dict[str, str]:
    words = {"what": "grant", "amount": "25", "text": "launch", "priority": "50", "reason": "Kept waiting"}
    return {"once": str(uuid.uuid4()), "account": str(account), **words, **more}


def test_a_refund_by_address_or_name_shows_whose_it_is_and_goes_to_that_account_alone(psp: Psp, acme: Customer) -> None:
    other = customers.open_for(builders.user("bert@other.example"), name="Acme Audio")
    pay(psp, acme, 10_000)
    pay(psp, other, 10_000)
    client = signed_in("support")
    with acting_as("web"):
        for mine in ("Anna@ACME.example", "  anna@acme", "acme vid", f"#{acme.pk}", str(acme.pk)):
            page = client.post("/refunds/", refund_form(mine)).content.decode()
            for words in ("anna@acme.example", "Refund for Acme Video", "$100.00", "To Visa 4242"):
                assert words in page, mine
            assert f'name="account" value="{acme.pk}"' in page, "what was shown is what is sent"
        assert not Refund.objects.exists(), "it was only looked at"

        several = client.post("/refunds/", refund_form("acme"))
        page = several.content.decode()
        assert (several.status_code, "2 accounts match" in page) == (422, True)
        assert f'name="pick" value="{other.pk}"' in page
        assert "bert@other.example" in page
        assert 'id="sure"' not in page
        assert client.post("/refunds/ask/", refund_form("acme")).status_code == 422
        picked = refund_form("acme", pick=str(other.pk))
        assert "Refund for Acme Audio" in client.post("/refunds/", picked).content.decode()

        wish = refund_form(acme.pk)
        acme.name, other.name = "Acme Audio", "Acme Video"
        Customer.objects.bulk_update([acme, other], ["name"])
        for _ in range(2):
            assert client.post("/refunds/ask/", wish).status_code == 302
    assert (available(acme), available(other)) == (88 * NANO, 100 * NANO)
    booked_well(psp)


def test_a_refund_confirmed_many_times_at_once_is_asked_for_once(psp: Psp, acme: Customer) -> None:
    pay(psp, acme, 10_000)
    client, wish = signed_in("support"), refund_form("anna@acme.example")

    def send(_: int) -> int:
        own = Client()
        own.cookies = client.cookies
        try:
            return own.post("/refunds/ask/", wish).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, range(8))) == {302}
    assert Refund.objects.count() == 1
    assert available(acme) == 88 * NANO
    booked_well(psp)


def test_nothing_moves_where_nothing_or_too_much_matches(psp: Psp, acme: Customer) -> None:
    pay(psp, acme, 10_000)
    client = signed_in("finance")
    for number in range(SHOWN + 1):
        builders.customer(f"Studio {number}")
    for nobody in ("nobody@acme.example", "Zenith", "999999999", "9" * 40, "%", "_", "\x00", " "):
        for path, form in (("/refunds/", refund_form(nobody)), ("/credits/", credit_form(nobody))):
            for door in (path, f"{path}ask/"):
                assert client.post(door, form).status_code == 422, (door, nobody)
    crowd = client.post("/refunds/", refund_form("Studio")).content.decode()
    assert f"More than {SHOWN} accounts match" in crowd
    assert crowd.count('name="pick"') == SHOWN
    left = Membership.objects.get(customer=acme).user
    left.is_active = False
    left.save()
    assert client.post("/refunds/", refund_form("anna@acme.example")).status_code == 422, "who left stands for nothing"
    assert "No active member" in client.post("/refunds/", refund_form("acme")).content.decode()
    assert not Refund.objects.exists()
    assert not Approval.objects.exists()


def test_credit_is_reviewed_with_name_address_and_balance_before_a_second_person_is_asked(
    static_files: None, acme: Customer
) -> None:
    second = customers.open_for(acme.members.get(), name="Acme Test")
    builders.top_up(acme, 10)
    client = signed_in("support")
    with acting_as("web"):
        form = credit_form("anna@acme.example")
        page = client.post("/credits/", form)
        assert (page.status_code, page.content.decode().count('name="pick"')) == (422, 2), "two seats, two accounts"
        page = client.post("/credits/", {**form, "pick": str(acme.pk)})
        for words in ("Acme Video", "anna@acme.example", "$10.00", "$25.00 of promotional credit", "Kept waiting"):
            assert words in page.content.decode()
        assert not Approval.objects.exists(), "it was only looked at"
        for _ in range(2):
            assert client.post("/credits/ask/", {**form, "account": str(acme.pk)}).status_code == 302
        [asked] = Approval.objects.all()
        assert (asked.customer, asked.payload["customer"]) == (acme, acme.pk)
        assert client.post("/credits/ask/", {**form, "account": str(second.pk)}).status_code == 422
        for door in ("/credits/", "/credits/ask/"):
            assert client.post(door, credit_form(acme.pk, what="take")).status_code == 403
    page_of_finance = signed_in("finance").post("/credits/", credit_form(acme.pk, what="take", amount="11"))
    assert "holds $10.00 of paid money" in page_of_finance.content.decode()
    assert Approval.objects.count() == 1
