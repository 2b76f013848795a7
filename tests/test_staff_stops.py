"""The kill switch's page: nothing stops before the word is typed, and each stop and lift has a name and a reason."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from django.test import Client
from pytest_django.fixtures import Settings

from accounts.models import AuditEntry, Customer, User
from signing import stops
from signing.models import SenderPin, Stop
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.treasury_stage import SENDER, snapshot, staff_member

ADDRESS = "0x" + "aB" * 20


@pytest.fixture(autouse=True)
def _no_second_factor(settings: Settings) -> None:
    settings.STAFF_MFA_REQUIRED = False


@pytest.fixture
def user() -> User:
    return staff_member()


@pytest.fixture
def staff(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def wish(scope: str = "all", subject: str = "", **more: str) -> dict[str, str]:
    return {"scope": scope, "subject": subject, "reason": "drill", "typed": "STOP", **more}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path"), [("get", "/stops/"), ("post", "/stops/"), ("post", "/stops/throw/"), ("post", "/stops/1/lift/")]
)
def test_only_staff_with_a_second_factor_come_near_it(
    client: Client, settings: Settings, method: str, path: str
) -> None:
    call = getattr(client, method)
    assert call(path, wish()).headers["Location"].startswith("/accounts/login/")
    client.force_login(builders.customer().members.get())
    assert call(path, wish()).status_code == 403
    settings.STAFF_MFA_REQUIRED = True
    client.force_login(staff_member())
    assert call(path, wish()).headers["Location"].startswith("/accounts/2fa/")
    assert not Stop.objects.exists()


@pytest.mark.django_db
def test_a_stop_is_shown_first_and_thrown_with_the_typed_word(staff: Client, user: User) -> None:
    owner = builders.customer("Example Gateway")
    shown = staff.post("/stops/", wish("customer", "example gateway"))
    assert shown.status_code == 200
    page = shown.content.decode()
    assert f"Stop: Example Gateway (account {owner.pk})" in page
    assert 'data-word="STOP"' in page
    assert not Stop.objects.exists()
    for typed in ("", "stop", "STOPP"):
        answer = staff.post("/stops/throw/", wish("customer", str(owner.pk), typed=typed))
        assert answer.status_code == 422
        assert "Must be STOP" in answer.content.decode()
    assert not Stop.objects.exists()
    assert staff.post("/stops/throw/", wish("customer", str(owner.pk))).status_code == 302
    row = Stop.objects.get()
    assert (row.scope, row.subject, row.reason, row.set_by) == ("customer", str(owner.pk), "drill", user)
    page = staff.get("/stops/").content.decode()
    assert "Example Gateway" in page
    assert user.email in page


@pytest.mark.django_db
def test_each_kind_of_thing_is_found_by_what_people_call_it(staff: Client) -> None:
    owner = builders.customer("Acme")
    member = owner.members.get()
    key = builders.api_key(owner)
    meant = {
        ("all", ""): "",
        ("customer", str(owner.pk)): str(owner.pk),
        ("customer", "ACME"): str(owner.pk),
        ("customer", member.email): str(owner.pk),
        ("api_key", key.prefix): str(key.pk),
        ("recipient", ADDRESS): ADDRESS.lower(),
        ("sender", f" {ADDRESS} "): ADDRESS.lower(),
    }
    for (scope, typed), subject in meant.items():
        assert staff.post("/stops/throw/", wish(scope, typed)).status_code == 302, (scope, typed)
        row = stops.standing()[0]
        assert (row.scope, row.subject) == (scope, subject)
        assert staff.post(f"/stops/{row.pk}/lift/").status_code == 302
    assert Stop.objects.filter(lifted_at=None).count() == 0
    assert AuditEntry.objects.filter(action="stop.set").count() == len(meant)
    assert AuditEntry.objects.filter(action="stop.lifted").count() == len(meant)
    assert AuditEntry.objects.filter(action="stop.set", customer=owner).count() == 4


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("scope", "subject", "words"),
    [
        ("all", "Acme", "Must be empty to stop all signing."),
        ("customer", "Nobody", "Must be an account&#x27;s number"),
        ("customer", "", "Must be an account&#x27;s number"),
        ("customer", "9" * 30, "Must be an account&#x27;s number"),
        ("customer", "Twin", "Several accounts are called so."),
        ("api_key", "ch_live_nothing0", "Must be a key&#x27;s prefix"),
        ("api_key", "", "Must be a key&#x27;s prefix"),
        ("recipient", "0x12", "Must be an address"),
        ("sender", "", "Must be an address"),
        ("everything", "", "Select a valid choice"),
    ],
)
def test_what_cannot_be_found_gets_one_clear_error(staff: Client, scope: str, subject: str, words: str) -> None:
    builders.customer("Twin")
    builders.customer("Twin")
    for path in ("/stops/", "/stops/throw/"):
        answer = staff.post(path, wish(scope, subject))
        assert answer.status_code == 422
        assert words in answer.content.decode()
    assert not Stop.objects.exists()


@pytest.mark.django_db
def test_the_stopped_customer_is_told_that_and_since_when_but_not_why(user: User, static_files: None) -> None:
    payer, other = builders.customer(), builders.customer()
    stop = stops.throw(scope="customer", subject=str(payer.pk), reason="looks like Eve", user=user)

    def told(customer: Customer) -> str:
        client = Client()
        client.force_login(customer.members.get())
        return client.get("/").content.decode()

    assert "Payments are stopped" in told(payer)
    assert "no payment of this account is signed" in told(payer)
    assert "Start your gateways again" in told(payer)
    assert "Eve" not in told(payer)
    assert "Payments are stopped" not in told(other)
    stops.lift(stop, user=user)
    assert "Payments are stopped" not in told(payer)
    SenderPin.objects.create(customer=payer, address="0x" + "5e" * 20)
    stop = stops.throw(scope="sender", subject="0x" + "5e" * 20, reason="leaked", user=user)
    assert ("no payment of this account is signed" in told(payer), stops.stops_customer(payer.pk)) == (True, True)
    assert ("Payments are stopped" in told(other), stops.stops_customer(other.pk)) == (False, False)
    stops.lift(stop, user=user)
    stops.throw(scope="all", subject="", reason="drill", user=user)
    assert "no payment is signed here" in told(other)
    assert "go on by themselves" in told(other)
    Customer.objects.filter(pk=other.pk).update(status="frozen")
    assert "This account is frozen" in told(other)


@pytest.mark.django_db
def test_a_stop_needs_a_reason(staff: Client) -> None:
    answer = staff.post("/stops/throw/", wish(reason=" "))
    assert answer.status_code == 422
    assert "Must say why" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_stop_that_is_thrown_eight_times_at_once_stands_once(user: User) -> None:
    start = threading.Barrier(8)

    def send(_: int) -> int:
        try:
            own = Client()
            own.force_login(user)
            start.wait()
            return own.post("/stops/throw/", wish()).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(8))) <= {302, 422}
    assert Stop.objects.count() == 1
    assert AuditEntry.objects.filter(action="stop.set").count() == 1


@pytest.mark.django_db
def test_what_is_stopped_already_is_not_stopped_again(staff: Client) -> None:
    staff.post("/stops/throw/", wish())
    answer = staff.post("/stops/", wish())
    assert answer.status_code == 422
    assert "All signing is stopped already." in answer.content.decode()


@pytest.mark.django_db
def test_lifting_is_asked_first_and_done_once(staff: Client, user: User) -> None:
    staff.post("/stops/throw/", wish())
    row = Stop.objects.get()
    page = staff.get("/stops/", {"lift": row.pk}).content.decode()
    assert "Lift: All signing" in page
    assert Stop.objects.filter(lifted_at=None).exists()
    assert staff.post(f"/stops/{row.pk}/lift/").status_code == 302
    assert staff.post(f"/stops/{row.pk}/lift/").status_code == 302
    row.refresh_from_db()
    assert row.lifted_by == user
    assert AuditEntry.objects.filter(action="stop.lifted").count() == 1
    assert 'id="lift"' not in staff.get("/stops/", {"lift": row.pk}).content.decode()
    assert staff.get("/stops/", {"lift": "x"}).status_code == 200
    assert staff.post("/stops/999999/lift/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_the_web_s_own_rights_suffice(user: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE clearinghouse_web")
    try:
        stop = stops.throw(scope="all", subject="", reason="drill", user=user)
        assert stops.lift(stop, user=user)
        assert list(stops.lifted(limit=5)) == [stop]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


@pytest.mark.django_db(transaction=True)
def test_a_stop_is_thrown_and_lifted_in_a_browser_at_both_widths(live_server: object, user: User) -> None:
    origin = str(live_server)
    signed_in = Client()
    signed_in.force_login(user)
    cookie = signed_in.cookies["sessionid"].value
    with open_browser() as browser:
        for size in (PHONE, DESK):
            context = browser.new_context(viewport=size)
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": origin}])
            page = context.new_page()
            watch = Watch(page, origin=origin)
            page.goto(f"{origin}/stops/")
            assert overflow(page) == []
            page.select_option("#id_scope", "recipient")
            page.fill("#id_subject", ADDRESS)
            page.fill("#id_reason", "It redeems tickets of a stolen card")
            page.click("text=Review")
            stop = page.locator("dialog[open] button.btn--bad")
            assert stop.is_disabled()
            assert overflow(page) == []
            page.fill("dialog[open] #id_typed", "STOP")
            stop.click()
            page.wait_for_selector("text=Stopped now")
            page.wait_for_selector("a:has-text('Lift')")
            assert Stop.objects.filter(lifted_at=None).count() == 1
            assert overflow(page) == []
            page.click("a:has-text('Lift')")
            page.click("text=Lift the stop")
            page.wait_for_selector("text=All payments are signed")
            assert overflow(page) == []
            assert watch.troubles == []
            context.close()
    assert Stop.objects.filter(lifted_at=None).count() == 0
    assert Stop.objects.count() == 2


@pytest.mark.django_db
def test_the_treasury_page_says_that_signing_is_stopped_and_the_console_leads_here(
    staff: Client, user: User, settings: Settings
) -> None:
    settings.SENDER_ADDRESS = SENDER
    snapshot()
    stops.throw(scope="all", subject="", reason="Drill of November", user=user)
    page = staff.get("/treasury/").content.decode()
    assert "All signing is stopped" in page
    assert "Drill of November" in page
    owner = builders.customer()
    href = f"/stops/?scope=customer&amp;subject={owner.pk}"
    assert href in staff.get(f"/staff/accounts/customer/{owner.pk}/change/").content.decode()
    page = staff.get("/stops/", {"scope": "customer", "subject": str(owner.pk)}).content.decode()
    assert f'value="{owner.pk}"' in page
    assert '<option value="customer" selected>' in page
    assert "/stops/" in staff.get("/staff/").content.decode()
