"""What staff see and ask for on the pages of refunds, disputes and exchange rates, under the web's own rights."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page

from accounts import approvals
from accounts.models import Approval, AuditEntry, Customer, User
from billing import disputes, fraud_warnings, fx
from billing.models import FxRate, Refund
from sandbox.psp.client import Psp
from tests import builders
from tests.acting import acting_as
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.money_back import NANO, available, booked_well, go_on, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _one_factor(settings: Any) -> None:
    settings.STAFF_MFA_REQUIRED = False


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def form(payer: Customer, amount: str, **more: str) -> dict[str, str]:
    return {
        "refund": str(uuid.uuid4()),
        "account": str(payer.pk),
        "amount": amount,
        "reason": "Sorry for the trouble",
        "why": "Ticket 12",
        **more,
    }


def test_support_asks_for_a_refund_once_and_above_the_limit_a_second_person_decides(
    psp: Psp, payer: Customer, settings: Any
) -> None:
    settings.REFUND_APPROVAL_LIMIT_CENTS = 3_000
    pay(psp, payer, 10_000)
    support, finance = builders.staff("support"), builders.staff("finance")
    client, small = signed_in(support), form(payer, "12")
    with acting_as("web"):
        review = client.post("/refunds/", small).content.decode()
        assert "To Visa 4242" in review
        assert not Refund.objects.exists(), "it was only looked at"
        for _ in range(2):
            assert client.post("/refunds/ask/", small).status_code == 302
        refund = Refund.objects.get()
        assert (refund.requested_by, refund.reason) == (support, "Sorry for the trouble")
        assert available(payer) == 88 * NANO
        assert AuditEntry.objects.get(action="refund.asked").after == {"amount": "$12.00", "why": "Ticket 12"}
        assert client.post("/refunds/ask/", form(payer, "50")).status_code == 302
    asked = Approval.objects.get()
    assert (asked.asked_by, asked.reason) == (support, "Ticket 12")
    with acting_as("worker"):
        go_on()
    assert list(Refund.objects.order_by("created_at").values_list("parts__status", flat=True))[1] == "planned"
    with acting_as("web"):
        approvals.decide(asked.pk, finance, approve=True)
    with acting_as("worker"):
        approvals.carry_out_waiting()
        go_on()
        go_on()
    page = client.get("/refunds/").content.decode()
    assert "Approved by" in page
    booked_well(psp)


def test_what_cannot_go_back_is_not_asked_for_and_nothing_of_it_stays(
    psp: Psp, payer: Customer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay(psp, payer, 10_000)
    client = signed_in(builders.staff("finance"))
    for wrong in (
        form(payer, "100.01"),
        form(payer, "no"),
        form(payer, "1", account="999999"),
        form(payer, "1", why=""),
        form(payer, "1", refund="x"),
    ):
        for path in ("/refunds/", "/refunds/ask/"):
            assert client.post(path, wrong).status_code == 422
    settings.REFUND_APPROVAL_LIMIT_CENTS = 100

    def no(*_: Any, **__: Any) -> None:
        raise approvals.NotPossible("Not today.")

    monkeypatch.setattr("billing.refund_staff.approvals.ask", no)
    answer = client.post("/refunds/ask/", form(payer, "20"))
    assert (answer.status_code, "Not today." in answer.content.decode()) == (422, True)
    assert not Refund.objects.exists(), "the request for a second person and the refund are one transaction"
    assert available(payer) == 100 * NANO
    risk = signed_in(builders.staff("risk"))
    assert risk.get("/refunds/").status_code == 200
    assert "Refund for a customer" not in risk.get("/refunds/").content.decode()
    for path in ("/refunds/", "/refunds/ask/"):
        assert risk.post(path, form(payer, "1")).status_code == 403
    assert signed_in(builders.staff("treasury")).get("/refunds/").status_code == 403


def test_disputes_and_warnings_are_listed_with_their_money_and_the_evidence(psp: Psp, payer: Customer) -> None:
    top_up, other = pay(psp, payer, 5_000), pay(psp, payer, 2_000)
    disputes.sync(psp.dispute(charge=top_up.charge_id, reason="product_not_received"))
    fraud_warnings.sync(psp.warn(charge=other.charge_id))
    client = signed_in(builders.staff("support"))
    with acting_as("web"):
        page = client.get("/refunds/disputes/").content.decode()
    for words in ("Product not received", "$50.00 withdrawn", "$50.00 of credit kept aside", "$15.00", "$20.00"):
        assert words in page
    assert f"/risk/{payer.pk}/evidence.zip" in page
    assert "Product not received" not in client.get("/refunds/disputes/?show=lost").content.decode()
    elsewhere = client.get(f"/refunds/disputes/?account={payer.pk + 1}").content.decode()
    assert "No such disputes" in elsewhere


def test_a_rate_counts_once_a_second_person_approved_it_and_a_slip_of_the_pen_is_refused(settings: Any) -> None:
    settings.TOP_UP_CURRENCIES, settings.FX_SOURCE = ["eur", "gbp"], ""
    FxRate.objects.create(
        currency="eur", nano_usd_per_cent=10_850_000, source="ECB", valid_from=timezone.now() - timedelta(days=30)
    )
    anna, bert = builders.staff("finance"), builders.staff("finance")
    client = signed_in(anna)
    wish = {"once": str(uuid.uuid4()), "currency": "eur", "dollars": "1.0912", "source": "ECB today", "reason": "Old"}
    with acting_as("web"):
        page = client.get("/finance/rates/").content.decode()
        assert "Too old" in page
        assert "None yet" in page
        for wrong in ("x", "0", "-1", "1.08500001", "1.5", "108.5"):
            assert client.post("/finance/rates/", {**wish, "dollars": wrong}).status_code == 422
        for _ in range(2):
            assert client.post("/finance/rates/", wish).status_code == 302
        asked = Approval.objects.get()
        with pytest.raises(approvals.OwnRequest):
            approvals.decide(asked.pk, anna, approve=True)
        approvals.decide(asked.pk, bert, approve=True)
        assert fx.offered(now=timezone.now()) == ["usd"]
    with acting_as("worker"):
        assert [approvals.carry_out_waiting() for _ in range(2)] == [1, 0]
    rate = fx.for_sale("eur")
    assert rate
    assert (rate.nano_usd_per_cent, rate.source, rate.recorded_by) == (10_912_000, "ECB today", anna)
    page = client.get("/finance/rates/").content.decode()
    assert "Fresh" in page
    assert "$1.0912" in page
    assert signed_in(builders.staff("support")).get("/finance/rates/").status_code == 403


def test_the_pages_fit_a_phone_and_a_desk(psp: Psp, payer: Customer, live_server: Any, settings: Any) -> None:
    settings.TOP_UP_CURRENCIES = ["eur", "gbp"]
    fx.record(currency="eur", nano_usd_per_cent=10_850_000, source="ECB")
    disputed = pay(psp, payer, 5_000)
    pay(psp, payer, 2_000)
    person = builders.staff("admin")
    signed_in(person).post("/refunds/ask/", form(payer, "12"))
    go_on()
    disputes.sync(psp.dispute(charge=disputed.charge_id))
    client = signed_in(person)
    with open_browser() as browser:
        for view in (PHONE, DESK):
            context = browser.new_context(viewport=view)
            session = client.cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
            page: Page = context.new_page()
            watch = Watch(page, origin=live_server.url)
            for path in ("/refunds/", "/refunds/disputes/", "/finance/rates/"):
                page.goto(live_server.url + path)
                assert overflow(page) == [], path
            assert watch.troubles == []
