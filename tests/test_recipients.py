"""Rules about recipients: every signer obeys them, staff write them with a reason, and nobody loosens one alone."""

import io
import time
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test import Client as Browser
from pytest_django.fixtures import Settings

from accounts import approvals
from accounts.models import Approval, AuditEntry, User
from signing import recipients
from signing.models import RecipientRule
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.held_chain import RECIPIENT
from tests.signer_stage import Stage, offer

pytestmark = pytest.mark.usefixtures("static_files")
ADDRESS = "0x" + "aB" * 20
PAID = "0x" + RECIPIENT.hex()


@pytest.fixture(autouse=True)
def _no_second_factor(settings: Settings) -> None:
    settings.STAFF_MFA_REQUIRED = False


def browser_of(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def wish(standing: str = "flagged", **more: str) -> dict[str, str]:
    return {"address": ADDRESS, "standing": standing, "label": "", "reason": "drill", **more}


# -- What signers make of them -----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("standing", ["frozen", "sanctioned"])
def test_every_signer_refuses_a_frozen_or_sanctioned_recipient_within_two_seconds(stage: Stage, standing: str) -> None:
    staff = builders.user()
    client, _ = stage.gateway()
    assert client.pay(orchestrator=offer(), type="fixed").status == 200
    recipients.rule(address=PAID, standing="flagged", reason="drill", user=staff)
    rule = recipients.rule(address=PAID.upper().replace("0X", "0x"), standing=standing, reason="drill", user=staff)
    ruled_at = time.monotonic()
    while (answer := client.pay(orchestrator=offer(), type="fixed")).status == 200:
        assert time.monotonic() - ruled_at < 2
        time.sleep(0.02)
    assert (answer.status, answer.code) == (403, f"recipient_{standing}")
    assert "drill" not in answer.body.decode()
    assert recipients.lift(rule, reason="over", user=staff)
    lifted_at = time.monotonic()
    while client.pay(orchestrator=offer(), type="fixed").status != 200:
        assert time.monotonic() - lifted_at < 2
        time.sleep(0.02)


# -- Rules as rows -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_rule_is_written_once_lifted_once_and_never_changed() -> None:
    staff = builders.user()
    row = recipients.rule(address=ADDRESS, standing="flagged", reason="drill", user=staff)
    assert row.address == ADDRESS.lower()
    with pytest.raises(recipients.AlreadyRuled):
        recipients.rule(address=ADDRESS, standing="flagged", reason="again", user=staff)
    changes = [
        "UPDATE signing_recipientrule SET reason = 'x'",
        "UPDATE signing_recipientrule SET standing = 'listed', lifted_at = now(), lift_reason = 'x'",
        "DELETE FROM signing_recipientrule",
        "INSERT INTO signing_recipientrule (address, standing, label, reason, reference, lift_reason)"
        " VALUES ('0xAB', 'listed', '', 'x', '', '')",
    ]
    for change in changes:
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)
    assert recipients.lift(row, reason="over", user=staff)
    assert not recipients.lift(row, reason="over again", user=staff)
    told = AuditEntry.objects.filter(subject=f"recipient:{row.address}").order_by("id")
    assert [(entry.action, entry.actor) for entry in told] == [
        ("recipient.ruled", staff),
        ("recipient.rule_lifted", staff),
    ]
    assert recipients.rule(address=ADDRESS, standing="flagged", reason="again", user=staff).pk != row.pk


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("service", "statement"),
    [
        ("signer", "INSERT INTO signing_recipientrule (address, standing) VALUES ('0x', 'listed')"),
        ("signer", "UPDATE signing_recipientrule SET lifted_at = now()"),
        ("web", "UPDATE signing_recipientrule SET standing = 'listed'"),
        ("web", "DELETE FROM signing_recipientrule"),
        ("web", "INSERT INTO signing_lostdispute (reference) VALUES ('x')"),
        ("worker", "UPDATE signing_recipientrule SET standing = 'listed'"),
        ("treasury", "SELECT * FROM signing_recipientrule"),
    ],
)
def test_services_write_rules_and_change_none(service: str, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE clearinghouse_{service}")
        try:
            with pytest.raises(ProgrammingError) as refused:
                cursor.execute(statement)
        finally:
            cursor.execute("RESET ROLE")
        assert isinstance(refused.value.__cause__, psycopg.errors.InsufficientPrivilege)


# -- Lists of sanctions ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_web_alone_lists_nobody_and_lifts_no_restraint() -> None:
    staff = builders.user()
    listed = recipients.rule(address=ADDRESS, standing="listed", reason="known", user=staff)
    frozen = recipients.rule(address=PAID, standing="frozen", reason="stolen", user=staff)
    insert = (
        "INSERT INTO signing_recipientrule (address, standing, label, reason, reference, set_by_id, lift_reason)"
        " VALUES ('0x' || repeat('0c', 20), %s, '', 'x', '', %s, '')"
    )
    lift = "UPDATE signing_recipientrule SET lifted_at = now(), lifted_by_id = %s, lift_reason = 'x' WHERE id = %s"
    attempts: list[tuple[str, list[str | int], bool]] = [
        (insert, ["listed", staff.pk], False),
        (insert, ["flagged", staff.pk], True),
        (lift, [staff.pk, frozen.pk], False),
        (lift, [staff.pk, listed.pk], True),
    ]
    for statement, parameters, is_allowed in attempts:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL ROLE clearinghouse_web")
            if is_allowed:
                cursor.execute(statement, parameters)
            else:
                with pytest.raises(ProgrammingError, match="a second person approves this rule"):
                    cursor.execute(statement, parameters)
                transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True)
def test_a_list_of_sanctions_is_brought_in_and_followed(tmp_path: Path) -> None:
    one, two, three = ("0x" + digit * 40 for digit in "123")
    file = tmp_path / "list.txt"
    file.write_text(f'# remarks\n\n{one.upper().replace("0X", "0x")},somebody\n  "{two}"\n{one}\n')
    out = io.StringIO()
    call_command("sanction_list", str(file), source="OFAC", stdout=out)
    call_command("sanction_list", str(file), source="OFAC", stdout=out)
    recipients.rule(address=three, standing="sanctioned", reason="by hand", user=builders.user())
    file.write_text(f"{one}\n")
    call_command("sanction_list", str(file), source="OFAC", withdraw=True, stdout=out)
    assert out.getvalue().splitlines() == [
        "2 addresses read, 2 sanctioned, 0 lifted",
        "2 addresses read, 0 sanctioned, 0 lifted",
        "1 addresses read, 0 sanctioned, 1 lifted",
    ]
    in_force = RecipientRule.objects.filter(lifted_at=None).values_list("address", "reason")
    assert set(in_force) == {(one, "On the list OFAC"), (three, "by hand")}
    assert AuditEntry.objects.filter(action="recipient.sanctions_imported").count() == 2


@pytest.mark.django_db(transaction=True)
def test_an_address_on_two_lists_of_sanctions_stays_sanctioned_until_neither_names_it(tmp_path: Path) -> None:
    both, other = "0x" + "1" * 40, "0x" + "2" * 40
    file = tmp_path / "list.txt"
    file.write_text(f"{both}\n")
    call_command("sanction_list", str(file), source="OFAC")
    call_command("sanction_list", str(file), source="EU")
    file.write_text(f"{other}\n")
    call_command("sanction_list", str(file), source="OFAC", withdraw=True)
    assert recipients.stands(both, "sanctioned")
    call_command("sanction_list", str(file), source="EU", withdraw=True)
    assert not recipients.stands(both, "sanctioned")
    assert recipients.stands(other, "sanctioned")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "words"),
    [("0x12\n", "1 lines hold no address, the first one is '0x12'"), ("# nothing\n", "The list holds no address")],
)
def test_a_broken_list_changes_nothing(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "list.txt"
    file.write_text(text)
    with pytest.raises(CommandError, match=words):
        call_command("sanction_list", str(file), source="OFAC", withdraw=True)
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("sanction_list", str(tmp_path / "missing"), source="OFAC")
    assert not RecipientRule.objects.exists()


# -- The page ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path"),
    [("get", "/recipients/"), ("post", "/recipients/"), ("post", "/recipients/rule/"), ("post", "/recipients/1/lift/")],
)
def test_customers_and_other_staff_stay_outside(settings: Settings, method: str, path: str) -> None:
    recipients.rule(address=ADDRESS, standing="listed", reason="drill", user=builders.user())
    pk = RecipientRule.objects.get().pk
    path = path.replace("1", str(pk))
    form = wish(address="0x" + "11" * 20)
    assert getattr(Browser(), method)(path, form).headers["Location"].startswith("/accounts/login/")
    assert getattr(browser_of(builders.customer().members.get()), method)(path, form).status_code == 403
    assert getattr(browser_of(builders.staff("finance")), method)(path, form).status_code == 403
    settings.STAFF_MFA_REQUIRED = True
    inside = getattr(browser_of(builders.staff("risk")), method)(path, form)
    assert inside.headers["Location"].startswith("/accounts/2fa/")
    assert RecipientRule.objects.get().lifted_at is None


@pytest.mark.django_db
def test_a_recipient_is_flagged_at_once_and_listed_by_two() -> None:
    first, second = builders.staff("risk"), builders.staff("risk")
    browser = browser_of(first)
    for standing in ("flagged", "frozen", "sanctioned"):
        shown = browser.post("/recipients/", wish(standing))
        assert shown.status_code == 200
        assert "Do it" in shown.content.decode()
        assert not recipients.stands(ADDRESS, standing)
        assert browser.post("/recipients/rule/", wish(standing)).status_code == 302
        assert recipients.stands(ADDRESS, standing)
    other = "0x" + "11" * 20
    assert browser.post("/recipients/rule/", wish("listed", address=other, label="North")).status_code == 302
    assert not recipients.stands(other, "listed")
    page = browser.get("/recipients/").content.decode()
    assert "Waiting for a second person" in page
    assert other in page
    request = Approval.objects.get()
    with pytest.raises(approvals.OwnRequest):
        approvals.decide(request.pk, first, approve=True)
    approvals.decide(request.pk, second, approve=True)
    assert not recipients.stands(other, "listed")


@pytest.mark.django_db(transaction=True)
def test_the_worker_lists_and_lifts_what_a_second_person_approved() -> None:
    first, second = builders.staff("risk"), builders.staff("risk")
    browser = browser_of(first)
    browser.post("/recipients/rule/", wish("listed", label="North"))
    browser.post("/recipients/rule/", wish("frozen"))
    frozen = RecipientRule.objects.get()
    assert browser.post(f"/recipients/{frozen.pk}/lift/", {"reason": ""}).status_code == 422
    browser.post(f"/recipients/{frozen.pk}/lift/", {"reason": "It was somebody else"})
    browser.post(f"/recipients/{frozen.pk}/lift/", {"reason": "Asked twice"})
    assert recipients.stands(ADDRESS, "frozen")
    for request in Approval.objects.order_by("id"):
        approvals.decide(request.pk, second, approve=True)
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE clearinghouse_worker")
    try:
        assert approvals.carry_out_waiting() == 2
        assert approvals.carry_out_waiting() == 0
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
    assert not recipients.stands(ADDRESS, "frozen")
    listed = RecipientRule.objects.get(lifted_at=None)
    assert (listed.standing, listed.label, listed.set_by, listed.reason) == ("listed", "North", first, "drill")
    frozen.refresh_from_db()
    assert (frozen.lifted_by, frozen.lift_reason) == (first, "It was somebody else")
    assert Approval.objects.filter(status=Approval.Status.FAILED).count() == 1
    # Taking somebody off the list restrains: one person is enough.
    assert browser.post(f"/recipients/{listed.pk}/lift/", {"reason": "Gone"}).status_code == 302
    assert not recipients.stands(ADDRESS, "listed")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("form", "words"),
    [
        (wish(address="0x12"), "Must be an address"),
        (wish(address="north.eth"), "Must be an address"),
        (wish(reason=" "), "Must say why"),
        (wish("blessed"), "Select a valid choice"),
        (wish("frozen"), "It is frozen already"),
    ],
)
def test_what_cannot_be_ruled_gets_one_clear_error(form: dict[str, str], words: str) -> None:
    person = builders.staff("risk")
    recipients.rule(address=ADDRESS, standing="frozen", reason="drill", user=person)
    for path in ("/recipients/", "/recipients/rule/"):
        answer = browser_of(person).post(path, form)
        assert answer.status_code == 422
        assert words in answer.content.decode()
    assert RecipientRule.objects.count() == 1


@pytest.mark.django_db
def test_the_web_s_own_rights_suffice_for_rules() -> None:
    browser = browser_of(builders.staff("risk"))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE clearinghouse_web")
    assert browser.post("/recipients/rule/", wish("flagged")).status_code == 302
    assert browser.post("/recipients/rule/", wish("listed")).status_code == 302
    assert browser.get("/recipients/").status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
    assert RecipientRule.objects.count() == Approval.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_recipient_is_flagged_in_a_browser_at_both_widths(live_server: object, tmp_path: Path) -> None:
    origin, person = str(live_server), builders.staff("risk")
    cookie = browser_of(person).cookies["sessionid"].value
    recipients.rule(address="0x" + "22" * 20, standing="listed", reason="A partner", label="North", user=person)
    lifted = recipients.rule(address="0x" + "33" * 20, standing="frozen", reason="Ghost", user=person)
    recipients.lift(lifted, reason="It came back", user=person)
    browser_of(person).post("/recipients/rule/", wish("listed", address="0x" + "44" * 20))
    with open_browser() as browser:
        for number, size in enumerate((PHONE, DESK)):
            context = browser.new_context(viewport=size)
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": origin}])
            page = context.new_page()
            watch = Watch(page, origin=origin)
            page.goto(f"{origin}/recipients/")
            assert overflow(page) == []
            page.fill("#id_address", f"0x{number}{'a' * 39}")
            page.fill("#id_reason", "Tickets of a stolen card")
            page.click("text=Review")
            page.wait_for_selector("dialog[open]")
            assert overflow(page) == []
            page.screenshot(path=tmp_path / f"ask{number}.png")
            page.click("text=Do it")
            page.wait_for_selector("td:has-text('Tickets of a stolen card')")
            assert overflow(page) == []
            page.screenshot(path=tmp_path / f"done{number}.png", full_page=True)
            page.click("a:has-text('Lift') >> nth=0")
            page.wait_for_selector("dialog[open] #id_reason")
            assert overflow(page) == []
            assert watch.troubles == []
            context.close()
