"""The pages of approvals, roles and the audit log, as staff use them."""

import pytest
from django.test import Client
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from accounts import approvals
from accounts.models import Approval, AuditEntry, User
from tests import builders
from tests.approval_cast import Cast, kinds, refusals
from tests.browser import DESK, PHONE, Watch, open_browser, overflow

Status = Approval.Status
__all__ = ["kinds"]


@pytest.fixture(autouse=True)
def _no_second_factor(settings: Settings, static_files: None) -> None:
    settings.STAFF_MFA_REQUIRED = False


def signed_in(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


@pytest.mark.django_db
def test_a_request_goes_from_the_asker_s_list_over_the_decider_s_to_the_decided() -> None:
    cast = Cast()
    asker, decider = signed_in(cast.asker), signed_in(cast.decider)
    assert "Nothing waits for you" in text(decider, "/approvals/")
    assert "You asked for nothing" in text(asker, "/approvals/?show=mine")
    assert "Nothing was decided" in text(decider, "/approvals/?show=decided")
    request = cast.ask("After & all")
    page = f"/approvals/{request.pk}/"
    assert "Nothing waits for you" in text(asker, "/approvals/")
    assert page in text(asker, "/approvals/?show=mine")
    assert page in text(decider, "/approvals/")
    assert "waiting for you" in text(decider, "/settings/")
    shown = text(decider, page)
    for words in ("Another name", "After &amp; all", "They asked for it", "?decide=approve", "Decide until"):
        assert words in shown
    assert "?decide=approve" not in text(asker, page)
    assert 'id="decide"' in text(decider, page + "?decide=approve")
    assert 'id="decide"' not in text(asker, page + "?decide=approve")
    sent = {"decision": "approve", "note": "Fine with me"}
    assert decider.post(page + "decide/", sent).status_code == 302
    assert decider.post(page + "decide/", sent, follow=True).content.decode().count("decided or withdrawn") == 1
    assert "worker carries it out now" in text(asker, page)
    assert approvals.carry_out_waiting() == 1
    shown = text(asker, page)
    for words in ("Done", "Fine with me", "decided already"):
        assert words in shown
    assert page in text(decider, "/approvals/?show=decided")
    assert cast.name() == "After & all"


@pytest.mark.django_db
def test_the_asker_is_refused_and_may_withdraw_and_ask_again() -> None:
    cast = Cast()
    cast.asker = builders.staff("finance")
    request = cast.ask()
    asker = signed_in(cast.asker)
    page = f"/approvals/{request.pk}/"
    answer = asker.post(page + "decide/", {"decision": "approve"}, follow=True).content.decode()
    assert "a second person decides" in answer
    assert refusals() == ["own"]
    assert 'id="withdraw"' in text(asker, page + "?decide=withdraw")
    assert "Only who asked" in signed_in(cast.decider).post(page + "withdraw/", follow=True).content.decode()
    assert asker.post(page + "withdraw/").status_code == 302
    assert asker.post(page + "again/").headers["Location"] != page
    assert asker.post(page + "again/").status_code == 302
    assert [row.status for row in Approval.objects.order_by("id")] == [Status.WITHDRAWN, Status.ASKED]
    new = Approval.objects.latest("id")
    assert (new.payload, new.reason, new.customer) == (request.payload, request.reason, request.customer)
    assert asker.post(page + "decide/", {"decision": "maybe"}).status_code == 302


@pytest.mark.django_db
def test_a_request_of_another_house_is_not_there() -> None:
    cast = Cast()
    page = f"/approvals/{cast.ask().pk}/"
    treasurer = signed_in(builders.staff("treasury"))
    assert treasurer.get(page).status_code == 404
    assert treasurer.post(page + "decide/", {"decision": "approve"}).status_code == 404
    assert "show=mine" in text(treasurer, "/approvals/")
    assert text(signed_in(builders.staff("risk")), page)
    assert Approval.objects.get().status == Status.ASKED


# -- roles -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_role_is_given_by_two_admins_and_taken_by_one() -> None:
    first, second, person = builders.staff("admin"), builders.staff("admin"), builders.user()
    admin = signed_in(first)
    wish = {"email": person.email, "role": "finance", "reason": "Joins the team", "once": "1"}
    assert admin.post("/people/", wish).headers["Location"] == admin.post("/people/", wish).headers["Location"]
    request = Approval.objects.get()
    assert not User.objects.get(pk=person.pk).is_staff
    with pytest.raises(approvals.OwnRequest):
        approvals.decide(request.pk, first, approve=True)
    approvals.decide(request.pk, second, approve=True)
    assert approvals.carry_out_waiting() == 1
    person = User.objects.get(pk=person.pk)
    assert person.is_staff
    assert person.has_perm("books.see")
    entry = AuditEntry.objects.get(action="role.given")
    assert (entry.before, entry.after, entry.actor) == ({"roles": []}, {"roles": ["finance"]}, first)
    assert "has the role already" in admin.post("/people/", {**wish, "once": "2"}).content.decode()
    assert "Must be the address" in admin.post("/people/", {**wish, "email": "no@example.com"}).content.decode()

    assert 'id="take"' in text(admin, f"/people/?take={person.pk}&role=finance")
    assert admin.post(f"/people/{person.pk}/take/", {"role": "finance"}).status_code == 302
    assert admin.post(f"/people/{person.pk}/take/", {"role": "finance"}).status_code == 302
    assert not User.objects.get(pk=person.pk).is_staff
    assert AuditEntry.objects.filter(action="role.taken").count() == 1


@pytest.mark.django_db
def test_the_last_admin_stays_and_nobody_decides_on_a_role_of_his_own() -> None:
    first, second = builders.staff("admin"), builders.staff("admin")
    admin = signed_in(first)
    admin.post("/people/", {"email": second.email, "role": "risk", "reason": "Help", "once": "1"})
    request = approvals.decide(Approval.objects.get().pk, second, approve=True)
    assert approvals.carry_out_waiting() == 0
    request.refresh_from_db()
    assert request.error == "Nobody decides on a role of his own."
    admin.post(f"/people/{second.pk}/take/", {"role": "admin"})
    answer = admin.post(f"/people/{first.pk}/take/", {"role": "admin"}, follow=True).content.decode()
    assert "last admin" in answer
    assert User.objects.get(pk=first.pk).has_perm("people.see")


# -- the audit log -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_audit_log_is_found_by_who_what_customer_and_day() -> None:
    cast = Cast()
    approvals.decide(cast.ask().pk, cast.decider, approve=True)
    approvals.carry_out_waiting()
    reader = signed_in(builders.staff("risk"))
    page = text(reader, "/audit/")
    for words in ("customer.renamed", "<s>Before</s>", "<b>After</b>", "approval.done", "The house itself"):
        assert words in page
    assert "approval.done" not in text(reader, f"/audit/?who={cast.asker.email}")
    assert "approval.asked" in text(reader, f"/audit/?who={cast.asker.email}&what=approval")
    assert "Nothing like that" in text(reader, f"/audit/?customer={cast.customer.pk + 1}")
    assert "customer.renamed" in text(reader, f"/audit/?customer={cast.customer.pk}&since=2020-01-01")
    assert "Nothing like that" in text(reader, "/audit/?until=2020-01-01")
    assert reader.get("/audit/?since=yesterday").status_code == 422
    AuditEntry.objects.bulk_create([AuditEntry(action=f"x.{number}", subject="x") for number in range(60)])
    first = text(reader, "/audit/")
    assert "x.59" in first
    assert "approval.done" not in first
    oldest = AuditEntry.objects.order_by("-id")[49]
    assert f"before={oldest.pk}" in first
    assert "approval.done" in text(reader, f"/audit/?before={oldest.pk}")


# -- in a browser ------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_second_person_approves_in_a_browser_at_both_widths(live_server: LiveServer) -> None:
    cast = Cast()
    AuditEntry.objects.create(
        action="price_ceiling.added", subject="price_ceiling:7", after={"limit": "$1.10 per hour"}
    )
    value = signed_in(cast.decider).cookies["sessionid"].value
    admin = signed_in(builders.staff("admin")).cookies["sessionid"].value
    with open_browser() as browser:
        for size in (PHONE, DESK):
            request = cast.ask(f"After {size['width']}")
            context = browser.new_context(viewport=size)
            context.add_cookies([{"name": "sessionid", "value": value, "url": live_server.url}])
            page = context.new_page()
            watch = Watch(page, origin=live_server.url)
            page.goto(f"{live_server.url}/approvals/")
            assert overflow(page) == []
            page.click("a.rowlink")
            assert overflow(page) == []
            page.click("text=Approve")
            page.fill("dialog[open] textarea", "Seen and checked")
            assert overflow(page) == []
            page.click("dialog[open] button:has-text('Approve')")
            page.wait_for_selector("text=Approved; the worker")
            approvals.carry_out_waiting()
            page.wait_for_selector("li:has-text('Done')", timeout=8_000)
            context.clear_cookies()
            context.add_cookies([{"name": "sessionid", "value": admin, "url": live_server.url}])
            for path in ("/audit/", "/people/", "/approvals/?show=decided"):
                page.goto(live_server.url + path)
                assert overflow(page) == [], path
            assert watch.troubles == []
            context.close()
            request.refresh_from_db()
            assert (request.status, request.note) == (Status.DONE, "Seen and checked")
