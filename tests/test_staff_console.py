"""The staff console: every row of the books to look at, none to change, recipients to keep, and no secret anywhere."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts import moments
from accounts.models import ApiKey, AuditEntry, Customer, Membership, User
from billing import ledger
from billing.models import (
    Budget,
    Document,
    EthUsdRate,
    Grant,
    Journal,
    LedgerAccount,
    Markup,
    StripeEvent,
    TaxMode,
    TaxRecord,
    TaxRegistration,
    TopUp,
    TopUpTax,
    Usage,
)
from billing.work import KINDS, kind_word
from signing.models import ChainEvent, PriceCeiling, Redemption, SignerSession, TreasuryTransaction
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.treasury_stage import SENDER, price, redemption, snapshot, staff_member, wish

MONEY = {Budget, Grant, Journal, LedgerAccount, Usage, TopUp, StripeEvent, EthUsdRate, Document, TopUpTax}
CHAIN = {SignerSession, Redemption, ChainEvent, TreasuryTransaction}
PEOPLE = {User, Customer, Membership, ApiKey, AuditEntry}
ROOMS = sorted(MONEY | CHAIN, key=lambda model: model.__name__)
PRICES = {PriceCeiling, Markup, TaxRegistration, TaxMode}  # rows are added, none is changed
ASKED_AGAIN = {TaxRecord}  # finance lets the clock ask the provider once more
RECIPIENT = "0x" + "Ab" * 20


@pytest.fixture
def staff(client: Client, settings: Settings) -> Client:
    settings.STAFF_MFA_REQUIRED = False
    client.force_login(staff_member())
    return client


def address(model: type[Any], page: str, *arguments: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


@pytest.fixture
def furnished(settings: Settings) -> Customer:
    """A customer with one of everything."""
    settings.SENDER_ADDRESS = SENDER
    price(settings)
    snapshot()
    customer = builders.customer("Example Gateway")
    builders.top_up(customer, 500)
    builders.debit(customer, cost_wei=10**15)
    ledger.post_usage()
    builders.debit(customer, cost_wei=10**15)
    redemption(customer=customer)
    redemption(payment_id=None, paid_wei=1)
    StripeEvent.objects.create(
        event_id="evt_1",
        type="checkout.session.completed",
        object_id="cs_1",
        payload={"client_secret": "cs_1_secret_x"},
    )
    TreasuryTransaction.objects.create(
        sender=SENDER, deposit_wei=1, requested_by=staff_member(), raw_transaction=b"signed bytes"
    )
    return customer


# -- looking and not touching ------------------------------------------------------------------------------


def test_the_console_holds_these_rooms_and_no_other() -> None:
    assert set(admin.site._registry) == MONEY | CHAIN | PEOPLE | PRICES | ASKED_AGAIN


@pytest.mark.parametrize("model", ROOMS, ids=lambda model: model.__name__)
def test_nobody_adds_changes_or_deletes_a_row_of_money_or_chain(model: type[Any]) -> None:
    room = admin.site._registry[model]
    request = RequestFactory().get("/staff/")
    request.user = User(is_staff=True, is_superuser=True, is_active=True)
    assert not room.has_add_permission(request)
    assert not room.has_change_permission(request)
    assert not room.has_delete_permission(request)
    assert not room.get_actions(request)


@pytest.mark.django_db
@pytest.mark.parametrize("model", ROOMS, ids=lambda model: model.__name__)
def test_every_list_and_every_row_opens(staff: Client, furnished: Customer, model: type[Any]) -> None:
    assert staff.get(address(model, "changelist")).status_code == 200
    for row in model.objects.all()[:3]:
        answer = staff.get(address(model, "change", row.pk))
        assert answer.status_code == 200
        assert b'name="_save"' not in answer.content
        assert staff.post(address(model, "change", row.pk), {"status": "failed"}).status_code == 403
        assert staff.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert staff.get(address(model, "add")).status_code == 403


@pytest.mark.django_db
def test_times_and_kinds_of_work_are_written_as_on_the_pages(staff: Client, furnished: Customer) -> None:
    charge = Usage.objects.latest("id")
    for page in (address(Usage, "changelist"), address(Usage, "change", charge.pk)):
        shown = staff.get(page).content.decode()
        assert moments.second(charge.at) in shown
        assert kind_word(charge.kind) in shown
    assert moments.second(furnished.created_at) in staff.get(address(Customer, "changelist")).content.decode()
    found = {kind: staff.get(address(Usage, "changelist"), {"kind": kind}).context["cl"].queryset for kind in KINDS}
    assert {kind: rows.count() for kind, rows in found.items()} == {**dict.fromkeys(KINDS, 0), charge.kind: 2}


@pytest.mark.django_db
@pytest.mark.parametrize("model", ROOMS, ids=lambda model: model.__name__)
def test_a_customer_sees_no_room(client: Client, furnished: Customer, model: type[Any]) -> None:
    client.force_login(furnished.members.get())
    answer = client.get(address(model, "changelist"), follow=True)
    assert answer.status_code == 403
    assert b"Example Gateway" not in answer.content


@pytest.mark.django_db
def test_no_page_of_the_console_shows_a_secret(staff: Client, furnished: Customer, client: Client) -> None:
    root = User.objects.get(pk=int(client.session["_auth_user_id"]))
    root.is_superuser = True
    root.save()
    secrets = [bytes(key.secret_sha256).hex() for key in ApiKey.objects.all()]
    secrets += ["cs_1_secret_x", "signed bytes", root.password, "pbkdf2"]
    for model in admin.site._registry:
        pages = [address(model, "changelist")]
        pages += [address(model, "change", row.pk) for row in model._default_manager.all()[:5]]
        for page in pages:
            content = staff.get(page).content.decode()
            assert not [secret for secret in secrets if secret in content], page


@pytest.mark.django_db
def test_filters_and_searches_find_their_rows(staff: Client, furnished: Customer) -> None:
    matched = Redemption.objects.get(customer=furnished)
    foreign = Redemption.objects.get(payment=None)
    for ticket, shown in (("matched", [matched]), ("unmatched", [foreign]), ("short", [foreign])):
        page = staff.get(address(Redemption, "changelist"), {"ticket": ticket}).content.decode()
        assert [row for row in (matched, foreign) if address(Redemption, "change", row.pk) in page] == shown
    for model in ROOMS:
        answer = staff.get(address(model, "changelist"), {"q": "Example"})
        assert answer.status_code == 200, model


@pytest.mark.django_db
def test_the_list_of_customers_tells_balance_and_spend(staff: Client, furnished: Customer) -> None:
    # Twice 10^15 wei at 3,000 dollars and 15 %: $3.45 each; one of the two is not posted yet.
    page = staff.get(address(Customer, "changelist")).content.decode()
    assert "$493.1" in page
    assert "$6.9" in page


@pytest.mark.django_db
def test_a_customer_is_shown_with_what_it_did(staff: Client, furnished: Customer) -> None:
    page = staff.get(address(Customer, "change", furnished.pk)).content.decode()
    for words in ("$493.1", "Usage", "Sessions", "Redemptions", "Top-ups", "$3.45", "$500.00"):
        assert words in page
    for row in (Usage.objects.first(), TopUp.objects.get(), Redemption.objects.get(customer=furnished)):
        assert row is not None
        assert address(type(row), "change", row.pk) in page


@pytest.mark.django_db
def test_a_journal_is_shown_with_its_transfers(staff: Client, furnished: Customer) -> None:
    page = staff.get(address(Journal, "change", Journal.objects.get(kind="usage").pk)).content.decode()
    assert "2100 USD" in page
    assert "4000 USD" in page
    assert "0.001000000000000000 ETH" in page
    assert "$3.450000000" in page


# -- with the rights of the web process, which are few -------------------------------------------------------


@pytest.mark.django_db
def test_the_staff_pages_need_no_more_than_the_rights_of_the_web_process(staff: Client, furnished: Customer) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE clearinghouse_web")
    assert staff.post("/treasury/fund/", wish()).status_code == 302
    assert staff.get("/treasury/").status_code == 200
    month = f"{timezone.now():%Y-%m}"
    for path in ("", f"{month}/statements.zip", f"{month}/books.zip", f"{month}/general-ledger.csv"):
        answer = staff.get(f"/finance/{path}")
        assert answer.status_code == 200
        assert b"".join(answer)
    assert "figures are 0" in staff.post("/finance/check/").content.decode()
    for model in admin.site._registry:
        if model in MONEY | CHAIN:
            assert staff.get(address(model, "changelist")).status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")


# -- seen with eyes ----------------------------------------------------------------------------------------


@pytest.fixture
def page(live_server: LiveServer, settings: Settings) -> Iterator[Page]:
    settings.STAFF_MFA_REQUIRED = False
    settings.SENDER_ADDRESS = SENDER
    with open_browser() as browser:
        context = browser.new_context(base_url=live_server.url, viewport=DESK)
        client = Client()
        client.force_login(staff_member())
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
        page = context.new_page()
        page.set_default_timeout(10_000)
        yield page


@pytest.mark.django_db(transaction=True)
def test_staff_pages_fit_a_phone_and_a_desk_without_a_word_on_the_console(
    page: Page, live_server: LiveServer, furnished: Customer
) -> None:
    watch = Watch(page, origin=live_server.url)
    redemption_list, customer = address(Redemption, "changelist"), address(Customer, "change", furnished.pk)
    for path in ("/treasury/", "/finance/", "/staff/", redemption_list, customer):
        for size in (PHONE, DESK):
            for scheme in ("light", "dark"):
                page.set_viewport_size(size)
                page.emulate_media(color_scheme=scheme)
                page.goto(path)
                assert overflow(page) == [], (path, size, scheme)
    assert watch.troubles == []


@pytest.mark.django_db(transaction=True)
def test_staff_fund_the_pool_and_watch_it_happen(page: Page, live_server: LiveServer, furnished: Customer) -> None:
    TreasuryTransaction.objects.all().delete()
    watch = Watch(page, origin=live_server.url)
    page.goto("/treasury/")
    page.get_by_label("To the deposit").fill("1.5")
    page.get_by_role("button", name="Review").click()
    send = page.get_by_role("button", name="Fund with 1.5 ETH")
    assert send.is_disabled()
    page.get_by_label("I compared this address with the runbook").check()
    send.dblclick()
    page.locator("#requests li.on", has_text="Requested by").wait_for()
    TreasuryTransaction.objects.update(status="sent", tx_hash="0x" + uuid.uuid4().hex * 2)
    page.locator("#requests li.on", has_text="Sent").wait_for()
    TreasuryTransaction.objects.update(status="confirmed", block_number=99)
    page.locator("#requests li.on", has_text="Confirmed").wait_for()
    assert TreasuryTransaction.objects.count() == 1
    assert watch.troubles == []
