"""Tax on each way to pay, with its numbers: told before, charged, booked, documented, mailed, proved and reported."""

import re
import uuid
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client
from playwright.sync_api import Page

from accounts import approvals
from accounts.models import Customer, User
from billing import auto_recharge, bank_transfers, fraud_checks, ledger, postings, tax_telling, topups
from billing.documents import post, sellers
from billing.models import BankTransfer, Document, FraudSignal, FxRate, TaxMode, TaxRecord, TopUp, TopUpTax
from sandbox.psp.client import Psp
from tests import builders
from tests.acting import acting_as
from tests.bank_stage import ask, line
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.standin_vat_register import Standin
from tests.test_auto_recharge import switch_on
from tests.test_saved_cards import charges, kept
from tests.test_tax import booked_well, buyer, provider, psp, register, words
from tests.test_tax_records import told
from tests.top_up_stage import wallet_nano_usd

__all__ = ["provider", "psp", "register"]

FRENCH = ("eu_vat", "FR40303265045")


@pytest.fixture(autouse=True)
def _rates_are_asked_for_anew(settings: Any) -> Iterator[None]:
    settings.STAFF_MFA_REQUIRED = False
    settings.BANK_ACCOUNT = {"Account holder": "Clearinghouse Network GmbH", "IBAN": "DE02 1203 0000 0000 2020 51"}
    cache.clear()
    yield
    cache.clear()


def german() -> Customer:
    FxRate.objects.create(currency="eur", nano_usd_per_cent=10_850_000, source="ECB")
    return buyer("DE")


def business(register: Standin) -> Customer:
    return buyer("FR", "", FRENCH)


def tax_owed(office: str) -> int:
    """Cents on 2200."""
    return -ledger.balance(postings.TAX_PAYABLE, "USD", office) // 10**7


def credited(amount: str, transfer: BankTransfer, anna: User, bert: User) -> str:
    """Money on our bank's statement, asked for by one and decided by another person, booked by the worker."""
    approval = approvals.decide(ask(line(anna, amount, transfer.reference), transfer, anna).pk, bert, approve=True)
    with acting_as("worker"):
        approvals.carry_out_waiting()
    approval.refresh_from_db()
    return approval.status


def receipt_of(top_up: TopUp) -> Document:
    return Document.objects.get(top_up=top_up, kind="receipt")


def charged_cents(top_up: TopUp) -> list[int]:
    return [charge["amount"] for charge in charges() if charge["metadata"].get("top_up") == str(top_up.id)]


def said(client: Client, **form: str) -> str:
    """What the form says below an amount."""
    page = client.get("/wallet/tax/", form).content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_a_saved_card_of_a_consumer_pays_the_tax_on_top_and_of_a_business_none(psp: Psp, register: Standin) -> None:
    consumer, company = german(), business(register)
    for payer, tax_cents, treatment, words_there in (
        (consumer, 950, "taxed", ["VAT Germany 19 %", "$9.50", "$59.50", "VAT in EUR: €8.76"]),
        (company, 0, "reverse_charge", ["Reverse charge", "FR40303265045", "$50.00"]),
    ):
        card = kept(psp, payer)
        with acting_as("web"):
            top_up = topups.start(
                customer=payer, user=payer.members.get(), amount_cents=5_000, card=card, ip="203.0.113.9"
            )
        with acting_as("worker"):
            assert topups.settle(top_up.pk) == topups.settle(top_up.pk) == "paid"
        top_up.refresh_from_db()
        assert (top_up.net_cents, top_up.tax_cents, top_up.total_cents) == (5_000, tax_cents, 5_000 + tax_cents)
        assert charged_cents(top_up) == [5_000 + tax_cents]
        assert wallet_nano_usd(payer) == 50 * 10**9
        assert (top_up.tax.treatment, top_up.tax.agrees, top_up.tax.ip) == (treatment, True, "203.0.113.9")
        for each in words_there:
            assert each in words(receipt_of(top_up))
        with acting_as("worker"):
            assert (tax_telling.work(), tax_telling.work()) == (1, 0)
        assert told(psp, top_up) == [("transaction", 5_000, tax_cents)]
    assert (tax_owed("DE"), tax_owed("FR")) == (950, 0)
    booked_well()


def test_automatic_recharge_charges_tax_on_top_and_counts_its_limit_before_tax(psp: Psp, register: Standin) -> None:
    consumer, company = german(), business(register)
    for payer, tax_cents in ((consumer, 950), (company, 0)):
        switch_on(payer, kept(psp, payer), cap_cents=5_000)
        with acting_as("worker"):
            assert auto_recharge.run() == 1
        top_up = TopUp.objects.get(customer=payer)
        assert (top_up.method, top_up.status, top_up.tax_cents) == ("auto", "paid", tax_cents)
        assert charged_cents(top_up) == [5_000 + tax_cents]
        assert wallet_nano_usd(payer) == 50 * 10**9
        assert top_up.tax.ip is None, "nobody's browser asked for it"
        assert receipt_of(top_up).tax_cents == tax_cents
    assert (tax_owed("DE"), tax_owed("FR")) == (950, 0)
    assert set(TaxRecord.objects.values_list("net_cents", "tax_cents", "state")) == {
        (5_000, 950, "due"),
        (5_000, 0, "due"),
    }
    booked_well()


def test_a_transfer_is_gross_and_its_tax_is_taken_out_of_whatever_arrives(psp: Psp, register: Standin) -> None:
    anna, bert = builders.staff("finance"), builders.staff("finance")
    consumer, company = german(), business(register)
    with acting_as("web"):
        mine = bank_transfers.start(
            customer=consumer, user=consumer.members.get(), amount_cents=500_000, ip="203.0.113.9"
        )
        theirs = bank_transfers.start(customer=company, user=company.members.get(), amount_cents=500_000)
    assert (mine.asked_cents, theirs.asked_cents) == (595_000, 500_000)
    offer = words(Document.objects.get(top_up=mine.top_up, kind="pro_forma"))
    for each in ("VAT Germany 19 %", "$950.00", "$5,950.00"):
        assert each in offer
    assert "Reverse charge" in words(Document.objects.get(top_up=theirs.top_up, kind="pro_forma"))

    assert credited("5950.00", mine, anna, bert) == "done"
    assert (wallet_nano_usd(consumer), tax_owed("DE")) == (5_000 * 10**9, 95_000)
    assert credited("1000.00", mine, anna, bert) == "done"
    besides = TopUp.objects.exclude(pk=mine.top_up_id).get(customer=consumer)
    assert (besides.net_cents, besides.tax_cents, besides.total_cents) == (84_034, 15_966, 100_000)
    assert tax_owed("DE") == 95_000 + 15_966
    for each in ("VAT Germany 19 %", "on $840.34", "$159.66", "$1,000.00"):
        assert each in words(receipt_of(besides))
    assert credited("4000.00", theirs, anna, bert) == "done"
    assert (wallet_nano_usd(company), tax_owed("FR")) == (4_000 * 10**9, 0)
    assert "Reverse charge" in words(receipt_of(theirs.top_up))
    assert TopUpTax.objects.get(top_up=besides).ip == "203.0.113.9"

    with acting_as("worker"):
        assert (tax_telling.work(), tax_telling.work()) == (3, 0)
    assert told(psp, mine.top_up) == [("transaction", 500_000, 95_000)]
    assert told(psp, besides) == [("transaction", 84_034, 15_966)]
    assert told(psp, theirs.top_up) == [("transaction", 400_000, 0)], "less came than was calculated for"
    booked_well()


def test_a_pro_forma_goes_to_the_address_for_receipts_once(psp: Psp) -> None:
    payer = buyer("DE")
    payer.billing_profile.invoice_email = "accounts@example.com"
    payer.billing_profile.save()
    wish = uuid.uuid4()
    with acting_as("web"):
        for _ in range(2):
            bank_transfers.start(customer=payer, user=payer.members.get(), amount_cents=500_000, wish_id=wish)
    with acting_as("worker"):
        assert (post.send_waiting(), post.send_waiting()) == (1, 0)
    [sent] = mail.outbox
    assert (sent.to, "Pro-forma CH-" in sent.subject) == (["accounts@example.com"], True)
    [(name, content, _)] = sent.attachments
    assert (name[-4:], content[:5]) == (".pdf", b"%PDF-")


def test_the_form_says_what_an_amount_costs_before_anybody_pays(psp: Psp, register: Standin, client: Client) -> None:
    consumer = german()
    client.force_login(consumer.members.get())
    page = client.get("/wallet/").content.decode()
    assert 'hx-get="/wallet/tax/"' in page
    with acting_as("web"):
        assert said(client, choice="5000") == "Credit $50.00 VAT Germany 19 % $9.50 You pay $59.50"
    assert said(client, choice="5000", other="100.01") == "Credit $100.01 VAT Germany 19 % $19.00 You pay $119.01"
    assert said(client, choice="5000", currency="eur") == "Credit €50.00 VAT Germany 19 % €9.50 You pay €59.50"
    assert said(client, amount="5,000") == "Credit $5,000.00 VAT Germany 19 % $950.00 You pay $5,950.00"
    assert said(client, choice="other") == said(client, choice="other", other="lots") == said(client, choice="x") == ""
    psp.api_rule("error_before", "POST /v1/tax/calculations", times=99)
    assert said(client, choice="20000").endswith("You pay $238.00"), "its rates are known for an hour"
    profile = consumer.billing_profile
    profile.country, profile.updated_at = "NO", builders.NOW
    profile.save()
    assert "cannot be told at the moment" in said(client, choice="5000")
    psp.knob("DELETE", "/sandbox/rules")
    assert said(client, choice="5000") == "Credit $50.00 VAT Norway 25 % $12.50 You pay $62.50"

    client.force_login(business(register).members.get())
    assert said(client, choice="5000").startswith("No VAT is added: reverse charge.")
    client.force_login(buyer("US", "OR").members.get())
    assert said(client, choice="5000") == "No tax is due where you are. You pay $50.00."
    client.force_login(builders.customer().members.get())
    assert "Fill in the billing profile first" in said(client, choice="5000")
    TaxMode.objects.create(entity=sellers.current(), country="", mode="at_use")
    client.force_login(consumer.members.get())
    assert "charged when the balance is used" in said(client, choice="5000")


def test_without_registrations_the_form_says_nothing_of_tax(transactional_db: None, client: Client) -> None:
    client.force_login(builders.customer().members.get())
    assert "/wallet/tax/" not in client.get("/wallet/").content.decode()
    assert said(client, choice="5000") == ""


def test_where_a_wish_came_from_is_kept_and_what_contradicts_the_address_is_shown_to_risk(
    psp: Psp, client: Client, settings: Any
) -> None:
    consumer = german()
    client.force_login(consumer.members.get())
    form = {"top_up": str(uuid.uuid4()), "choice": "5000"}
    client.post("/wallet/top-ups/", form, headers={"X-Forwarded-For": "198.51.100.7"})
    top_up = TopUp.objects.get()
    assert (top_up.ip, top_up.tax.ip) == ("127.0.0.1", "127.0.0.1"), "nobody vouches for the header"
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    other = {"top_up": str(uuid.uuid4()), "choice": "2000"}
    client.post("/wallet/top-ups/", other, headers={"X-Forwarded-For": "198.51.100.7"})
    assert TopUp.objects.get(pk=other["top_up"]).tax.ip == "198.51.100.7"
    assert psp.pay(str(top_up.checkout_session_id)).status == 303
    assert topups.settle(top_up.pk) == "paid"
    location = receipt_of(top_up).snapshot["buyer"]["details"]["location"]
    assert location == {"billing_country": "DE", "card_country": "US", "ip": "127.0.0.1", "agree": "no"}
    with acting_as("worker"):
        fraud_checks.look()
    signs = dict(FraudSignal.objects.values_list("code", "reason"))
    assert signs["location"] == "A payment is taxed as from DE; the card is from US."
    assert "card_country" in signs
    bare = buyer("NO")
    transfer = bank_transfers.start(customer=bare, user=bare.members.get(), amount_cents=500_000)
    with acting_as("worker"):
        fraud_checks.check_payment(transfer.top_up)
    reason = FraudSignal.objects.get(customer=bare, code="location").reason
    assert reason.endswith("no card with a country, no network address.")
    client.force_login(builders.staff("risk"))
    assert "the card is from US" in client.get(f"/risk/{consumer.pk}/").content.decode()


@pytest.mark.usefixtures("_served_by_the_product")
def test_the_price_follows_the_amount_on_phone_and_desk(
    psp: Psp, live_server: Any, client: Client, tmp_path: Path
) -> None:
    client.force_login(german().members.get())
    with open_browser() as browser:
        page = browser.new_page(viewport=DESK)
        page.context.add_cookies(
            [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
        )
        watch = Watch(page, origin=live_server.url)
        page.goto(f"{live_server.url}/wallet/")
        page.locator("label.opt", has_text="20").first.click()
        page.wait_for_selector("text=$23.80")
        page.get_by_label("Other").first.check()
        page.fill("#id_other", "100.01")
        page.wait_for_selector("text=$119.01")
        shoot(page, tmp_path, "wallet")
        page.goto(f"{live_server.url}/wallet/bank-transfers/")
        page.fill("#id_amount", "5000")
        page.wait_for_selector("text=$5,950.00")
        shoot(page, tmp_path, "transfers")
        page.click("text=Make the pro-forma")
        page.wait_for_selector("text=Tax in it")
        shoot(page, tmp_path, "transfer")
        assert watch.troubles == []


def shoot(page: Page, directory: Path, name: str) -> None:
    """Nothing stands wider than the screen; the pictures are kept for the eye."""
    for width, size in (("390", PHONE), ("1280", DESK)):
        page.set_viewport_size(size)
        assert overflow(page) == []
        page.screenshot(path=directory / f"{name}-{width}.png", full_page=True)
