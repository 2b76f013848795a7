"""Signs of fraud, the terms, and the pages on which people look at them and act, in a real browser too."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page

from accounts import approvals, holds
from accounts.models import Approval, AuditEntry, Customer, TermsAcceptance, User
from billing import disputes, fraud, fraud_checks, refund_approvals
from billing.models import BillingProfile, FraudSignal, Refund, TopUp
from sandbox.psp.client import Psp
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.money_back import NANO, available, booked_well, debt, go_on, pay, spend, want


@pytest.fixture(autouse=True)
def _one_factor(settings: Any) -> None:
    settings.STAFF_MFA_REQUIRED = False


FORM = {"company": "Example Gateway", "email": "ana@example.com", "password1": "correct horse battery"}


def signs(customer: Customer) -> dict[str, str]:
    """Reason by code."""
    return dict(FraudSignal.objects.filter(customer=customer).values_list("code", "reason"))


def card(owner: Customer, fingerprint: str, country: str = "US") -> TopUp:
    top_up = builders.top_up(owner, 20)
    TopUp.objects.filter(pk=top_up.pk).update(
        card_fingerprint=fingerprint, card_country=country, card="Visa 4242", settled_at=timezone.now()
    )
    return top_up


@pytest.mark.django_db
def test_cards_and_countries_are_looked_at_once_with_plain_reasons(settings: Any) -> None:
    settings.BLOCKED_COUNTRIES = ["KP"]
    ana, bob, calm = builders.customer("Ana"), builders.customer("Bob"), builders.customer("Calm")
    BillingProfile.objects.create(customer=bob, legal_name="Bob", country="DE", updated_by=bob.members.get())
    card(calm, "alone")
    card(ana, "same")
    card(bob, "same")
    fraud_checks.look()
    assert fraud_checks.look() == 0
    assert signs(ana) == {"shared_card": f"Visa 4242 also pays for Bob (account {bob.pk})."}
    assert signs(bob) == {
        "shared_card": f"Visa 4242 also pays for Ana (account {ana.pk}).",
        "card_country": "The card is from US, the billing address is in DE.",
    }
    assert signs(calm) == {}
    for number in range(3):
        card(ana, f"more{number}")
    fraud_checks.look()
    assert signs(ana)["many_cards"] == "4 different cards paid within 7 days."
    card(calm, "far away", "KP")
    fraud_checks.look()
    calm.refresh_from_db()
    assert calm.status == "frozen"
    assert "KP" in holds.standing(calm).get().reason


@pytest.mark.django_db
def test_sign_ups_are_counted_by_address_and_mailboxes_recognised(
    client: Client, settings: Any, tmp_path: Path
) -> None:
    settings.EMAIL_BACKEND = "accounts.mailbox.MailboxBackend"
    listed = tmp_path / "disposable.txt"
    listed.write_text("# thrown away\nmailinator.com\n")
    settings.DISPOSABLE_MAIL = str(listed)
    settings.SIGN_UPS_PER_DAY = 3
    addresses = ["a.na@gmail.com", "ana+x@gmail.com", "bob@sub.mailinator.com", "cy@example.com"]
    for number, address in enumerate(addresses):
        cache.clear()
        answer = Client(REMOTE_ADDR="203.0.113.7", HTTP_USER_AGENT="Firefox").post(
            "/accounts/signup/", {**FORM, "email": address, "company": f"Company {number}"}
        )
        assert answer.status_code == 302
    kept = TermsAcceptance.objects.get(user__email="cy@example.com")
    assert (kept.version, kept.address, kept.user_agent) == ("1", "203.0.113.7", "Firefox")
    fraud_checks.look()
    by_address = {address: signs(User.objects.get(email=address).customers.get()) for address in addresses}
    assert set(by_address["cy@example.com"]) == {"sign_ups"}
    assert set(by_address["ana+x@gmail.com"]) == {"sign_ups", "alias_address"}
    assert set(by_address["bob@sub.mailinator.com"]) == {"sign_ups", "disposable_mail"}
    assert by_address["cy@example.com"]["sign_ups"] == "4 people signed up from 203.0.113.7 within a day."
    settings.DISPOSABLE_MAIL = "tests.test_fraud:every_domain"
    assert fraud_checks.is_disposable("dan@example.com")


def every_domain(domain: str) -> bool:
    return bool(domain)


@pytest.mark.django_db
def test_terms_are_accepted_again_when_their_version_changes(client: Client, settings: Any) -> None:
    payer = builders.customer()
    person = payer.members.get()
    client.force_login(person)
    TermsAcceptance.objects.create(user=person, version="1")
    assert "Our terms have a new version" not in client.get("/wallet/").content.decode()
    settings.TERMS_VERSION = "2"
    assert "Our terms have a new version" in client.get("/wallet/").content.decode()
    for _ in range(2):
        client.post("/wallet/terms/")
    assert list(person.terms.order_by("id").values_list("version", flat=True)) == ["1", "2"]
    assert "Our terms have a new version" not in client.get("/wallet/").content.decode()


@pytest.mark.django_db
def test_signs_that_weigh_enough_hold_the_account_and_a_dismissed_one_weighs_nothing() -> None:
    customer, staff = builders.customer(), builders.staff("risk")
    for number in range(2):
        fraud.note(customer, code=fraud.Code.SHARED_CARD, reference=f"card:{number}", reason="The card pays elsewhere.")
    assert not fraud.note(customer, code=fraud.Code.SHARED_CARD, reference="card:1", reason="Again")
    customer.refresh_from_db()
    assert (fraud.score(customer), customer.status) == (80, "active")
    first = FraudSignal.objects.get(reference="card:0")
    assert fraud.dismiss(first, user=staff, reason="The same company")
    assert not fraud.dismiss(first, user=staff, reason="Twice")
    fraud.note(customer, code=fraud.Code.ALIAS_ADDRESS, reference="alias", reason="The same mailbox.")
    customer.refresh_from_db()
    assert (fraud.score(customer), customer.status) == (70, "active")
    fraud.note(customer, code=fraud.Code.DISPUTE_LOST, reference="lost", reason="A dispute was lost.")
    customer.refresh_from_db()
    assert customer.status == "frozen"


@pytest.mark.django_db
def test_each_role_does_on_the_risk_page_what_it_may_and_nothing_else(client: Client) -> None:
    customer = builders.customer()
    hold = holds.place(customer=customer, code=holds.Code.STAFF, reference="x", reason="odd")
    assert hold
    page = f"/risk/{customer.pk}/"
    client.force_login(builders.staff("treasury"))
    assert client.get(page).status_code == 403
    client.force_login(builders.staff("support"))
    assert client.get(page).status_code == 200
    assert client.post(f"{page}lift/", {"reason": "friend", "subject": hold.pk}).status_code == 403
    assert client.post(f"{page}hold/", {"reason": ""}).status_code == 422
    assert client.post(f"{page}hold/", {"reason": "calls twice", "once": "1"}).status_code == 302
    assert client.post(f"{page}hold/", {"reason": "calls twice", "once": "1"}).status_code == 302
    assert holds.standing(customer).count() == 2
    client.force_login(builders.staff("risk"))
    for standing in holds.standing(customer):
        assert client.post(f"{page}lift/", {"reason": "spoke to them", "subject": standing.pk}).status_code == 302
    customer.refresh_from_db()
    assert customer.status == "active"
    assert client.post(f"{page}note/", {"reason": "Pays by invoice soon"}).status_code == 302
    assert "Pays by invoice soon" in client.get(page).content.decode()
    assert client.post(f"{page}close/", {"reason": "asked for it"}).status_code == 302
    assert "Closed" in client.get("/risk/?q=" + customer.name).content.decode()
    assert client.post(f"{page}write_off/", {"reason": "gone"}).status_code == 403
    assert AuditEntry.objects.filter(customer=customer, action="risk.noted").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_large_refund_and_a_debt_need_two_people_and_the_evidence_is_one_file(psp: Psp, client: Client) -> None:
    payer = builders.customer("Payer")
    pay(psp, payer, 80_000)
    refund = want(payer, 600 * NANO)
    go_on()
    assert refund.parts.get().status == "planned"
    asker, other = builders.staff("finance"), builders.staff("finance")
    page = f"/risk/{payer.pk}/"
    client.force_login(asker)
    assert "Needs two people" in client.get(page).content.decode()
    client.post(f"{page}approve/", {"reason": "Known for years", "subject": refund.pk, "once": "1"})
    [request] = Approval.objects.all()
    with pytest.raises(approvals.OwnRequest):
        approvals.decide(request.pk, asker, approve=True)
    approvals.decide(request.pk, other, approve=True)
    assert approvals.carry_out_waiting() == 1
    go_on()
    refund.refresh_from_db()
    assert (refund.status, refund.approval_id) == ("done", request.pk)

    spend(payer, 150 * NANO)
    dispute_id = psp.dispute(charge=TopUp.objects.get().charge_id, amount=20_000)
    disputes.sync(dispute_id)
    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    assert debt(payer) == 150 * NANO
    client.post(f"{page}write_off/", {"reason": "Insolvent", "once": "2"})
    request = Approval.objects.get(kind=refund_approvals.WRITE_OFF)
    approvals.decide(request.pk, other, approve=True)
    approvals.carry_out_waiting()
    assert (debt(payer), available(payer)) == (0, 0)
    payer.refresh_from_db()
    assert payer.status == "frozen"
    booked_well(psp)

    TermsAcceptance.objects.create(user=payer.members.get(), version="1", address="203.0.113.7", user_agent="=cmd")
    answer: Any = client.get(f"{page}evidence.zip")
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as pack:
        names = set(pack.namelist())
        manifest = json.loads(pack.read("manifest.json"))
        assert pack.read("summary.pdf").startswith(b"%PDF")
        assert b"150.000000000" in pack.read("usage.csv")
        assert b"'=cmd" in pack.read("terms.csv")
        assert json.loads(pack.read("account.json"))["members"][0]["email"] == payer.members.get().email
    assert {"sessions.csv", "payments.csv"} < names
    assert any(name.startswith("documents/") for name in names)
    assert len(manifest["files"]) == len(names) - 1
    assert AuditEntry.objects.filter(action="evidence.exported").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_customer_asks_for_a_refund_and_staff_look_at_the_risk_in_a_browser(
    psp: Psp, live_server: Any, tmp_path: Path
) -> None:
    payer, staff = builders.customer("Acme Streaming"), builders.staff("risk", "finance")
    pay(psp, payer, 10_000, taxes={"DE": 1_900})
    pay(psp, payer, 50_000, card="pm_card_mastercard")
    with open_browser() as browser:
        page = browser.new_context(viewport=DESK).new_page()
        watch = Watch(page, origin=live_server.url)
        _sign_in(page, live_server.url, payer.members.get())
        page.goto(f"{live_server.url}/wallet/refunds/")
        page.fill("#id_amount", "600000")
        page.click("text=Review")
        assert "At most $600.00 can be refunded." in page.inner_text("main")
        page.fill("#id_amount", "130")
        page.fill("#id_reason", "The project ended")
        page.click("text=Review")
        page.wait_for_selector("#sure[open]")
        assert "$119.00" in page.inner_text("#sure")
        _shoot(page, tmp_path, "refund-sure")
        page.click("#sure .btn--go")
        page.wait_for_selector("text=On its way")
        go_on()
        page.reload()
        page.wait_for_selector("text=Refunded")
        assert Refund.objects.get().status == "done"
        _shoot(page, tmp_path, "refunds")

        builders.top_up(payer, 5)
        disputes.sync(psp.dispute(charge=TopUp.objects.filter(card="Visa 4242").latest("settled_at").charge_id))
        want_more = builders.customer("Large Refunds")
        pay(psp, want_more, 90_000)
        want(want_more, 700 * NANO)
        fraud.note(
            payer, code=fraud.Code.SHARED_CARD, reference="c", reason="Visa 4242 also pays for Beta (account 9)."
        )
        _sign_in(page, live_server.url, staff)
        page.goto(f"{live_server.url}/risk/")
        assert "Acme Streaming" in page.inner_text("main")
        _shoot(page, tmp_path, "risk")
        page.click("table >> text=Acme Streaming")
        _shoot(page, tmp_path, "risk-account")
        page.click("td >> text=Lift >> nth=0")
        page.wait_for_selector("#act[open]")
        page.fill("#id_reason", "Spoke to their bank")
        _shoot(page, tmp_path, "risk-lift")
        page.click("#act .btn--go")
        page.wait_for_selector("text=Hold lifted")
        payer.refresh_from_db()
        assert payer.status == "active"
        assert [trouble for trouble in watch.troubles if "422" not in trouble] == []
        page.goto("about:blank")


def _sign_in(page: Page, url: str, person: User) -> None:
    client = Client()
    client.force_login(person)
    page.context.clear_cookies()
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])


def _shoot(page: Page, directory: Path, name: str) -> None:
    """Nothing stands wider than the screen; the pictures are kept for the eye."""
    for width, size in (("390", PHONE), ("1280", DESK)):
        for scheme in ("light", "dark"):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            assert overflow(page) == []
            page.screenshot(path=directory / f"{name}-{width}-{scheme}.png", full_page=True)
    page.set_viewport_size(DESK)
