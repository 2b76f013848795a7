"""The pages of an account's money: paying in with every outcome, the statement, and all of it in a browser."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from accounts.models import Customer
from billing import ledger, tasks, topups
from billing.models import TopUp, Usage
from sandbox.psp.client import Psp, running_psp
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.pages_stage import member, opened, paid, redeemed, text_of

__all__ = ["member"]

SECRET = "whsec_sandbox"


@pytest.fixture(scope="module")
def provider(static_files: None, live_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psp]:
    with running_psp(tmp_path_factory.mktemp("psp"), webhook_url=f"{live_server.url}/stripe/webhook") as running:
        running.settings(settle_after_seconds=0)
        yield running


@pytest.fixture
def psp(provider: Psp, settings: Any) -> Psp:
    settings.STRIPE_API_BASE = provider.url
    settings.STRIPE_SECRET_KEY = provider.secret_key
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
    return provider


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Write an amount"),
        ("abc", "Write an amount"),
        ("-20", "Write an amount"),
        ("1e3", "Write an amount"),
        ("٢٠", "Write an amount"),
        ("NaN", "Write an amount"),
        ("20.001", "Write an amount"),
        ("9.99", "Must be from $10.00 to $10,000.00"),
        ("10000.01", "Must be from $10.00 to $10,000.00"),
    ],
)
def test_an_amount_that_cannot_be_paid_is_explained_beside_its_field(
    member: Client, settings: Any, text: str, complaint: str
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test"
    answer = member.post("/wallet/top-ups/", {"top_up": uuid.uuid4(), "choice": "other", "other": text})
    assert answer.status_code == 422
    assert complaint in text_of(answer)
    assert not TopUp.objects.exists()


@pytest.mark.django_db
def test_a_frozen_account_or_a_house_without_a_provider_cannot_be_paid_into(
    member: Client, payer: Customer, settings: Any
) -> None:
    form = {"top_up": str(uuid.uuid4()), "choice": "5000"}
    settings.STRIPE_SECRET_KEY = ""
    assert member.post("/wallet/top-ups/", form).status_code == 503
    settings.STRIPE_SECRET_KEY = "sk_test"
    Customer.objects.filter(pk=payer.pk).update(status=Customer.Status.FROZEN)
    assert member.post("/wallet/top-ups/", form).status_code == 403
    assert not TopUp.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_every_outcome_of_a_top_up_is_told_in_words(member: Client, payer: Customer, psp: Psp) -> None:
    form = {"top_up": str(uuid.uuid4()), "choice": "5000", "other": ""}
    away: Any = member.post("/wallet/top-ups/", form)
    again: Any = member.post("/wallet/top-ups/", form)
    assert again.url == away.url, "the same form leads to the same page"
    top_up = TopUp.objects.get()
    page = f"/wallet/top-ups/{top_up.id}/"
    assert away.url == f"{page}?pay=1"
    assert f'content="0; url={psp.url}/c/pay/' in member.get(away.url).content.decode()
    again = member.get(away.url, headers={"hx-request": "true"})
    assert again.headers["HX-Redirect"] == top_up.checkout_url
    assert "asking the payment provider" in text_of(member.get(page))
    assert "You left the payment page" in text_of(member.get(page + "?left=1"))
    assert 'hx-trigger="every 2s"' in member.get(page, headers={"hx-request": "true"}).content.decode()
    assert top_up.checkout_session_id
    psp.pay(top_up.checkout_session_id)
    assert tasks.settle_top_up(str(top_up.id)) == "paid"
    told = member.get(page, headers={"hx-request": "true"})
    assert "You now have $50.00" in text_of(told)
    assert "hx-get" not in told.content.decode(), "what is known is not asked for again"
    assert "Visa 4242" in text_of(member.get("/wallet/"))

    for status, words in (
        ("failed", "Nothing was added"),
        ("expired", "was not charged"),
        ("started", "did not answer"),
    ):
        TopUp.objects.create(customer=payer, created_by=top_up.created_by, amount_cents=999, status=status)
        found = TopUp.objects.get(status=status)
        assert words in text_of(member.get(f"/wallet/top-ups/{found.id}/"))


@pytest.mark.django_db
def test_a_statement_page_agrees_with_the_wallet_and_gives_its_files(
    member: Client, payer: Customer, one_day: None
) -> None:
    builders.top_up(payer, 100)
    key = builders.api_key(payer)
    charge_id = paid(payer, key, opened(payer, key))
    ledger.post_usage()
    month = f"{timezone.now():%Y-%m}"
    words = text_of(member.get(f"/statements/{month}/"))
    assert "Agrees" in words
    assert f"${Usage.objects.get(id=charge_id).charge_nano_usd / 10**9:.9f}" in words
    assert "not a tax invoice" in words
    assert re.search("daydream ?Live session", words)
    assert member.get(f"/statements/{month}.pdf").content.startswith(b"%PDF-")
    file: Any = member.get(f"/statements/{month}.csv")
    assert b"opening" in b"".join(file.streaming_content)


@pytest.mark.django_db(transaction=True)
def test_a_person_pays_in_and_reads_every_page_in_a_browser(
    live_server: LiveServer, client: Client, payer: Customer, psp: Psp, settings: Any, tmp_path_factory: Any
) -> None:
    settings.WEB_URL = live_server.url
    owner = payer.members.get()
    client.force_login(owner)
    key = builders.api_key(payer)
    with open_browser() as browser:
        page = _signed_in(browser, live_server, client, DESK)
        watch = Watch(page, origin=live_server.url)
        page.goto(f"{live_server.url}/wallet/")
        page.get_by_text("$200", exact=True).click()
        page.get_by_role("button", name="Continue to payment").click()
        page.wait_for_url(re.compile(re.escape(psp.url)))
        page.locator("[name=number]").fill("4242 4242 4242 4242")
        page.locator("[name=expiry]").fill("12 / 34")
        page.locator("[name=cvc]").fill("123")
        page.get_by_role("button", name=re.compile("^Pay")).click()
        page.wait_for_url(re.compile(r"/wallet/top-ups/"))
        top_up = TopUp.objects.get()
        assert topups.settle(top_up.id) == "paid"
        page.get_by_text("You now have").wait_for(timeout=10_000)
        watch.troubles.clear()

        session_id = opened(payer, key)
        for _ in range(3):
            charge_id = paid(payer, key, session_id)
        redeemed(payer, charge_id)
        month = f"{timezone.now():%Y-%m}"
        paths = [
            "/",
            "/usage/",
            f"/usage/{session_id}/",
            "/wallet/",
            "/statements/",
            f"/statements/{month}/",
            "/api/v1/docs/",
        ]
        for size in (DESK, PHONE):
            page.set_viewport_size(size)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                for path in paths:
                    page.goto(live_server.url + path)
                    assert not overflow(page), (path, size, overflow(page))
            page.goto(f"{live_server.url}/usage/{session_id}/")
            page.locator("a.rowlink").first.click()
            page.get_by_role("dialog").get_by_text("Face value").wait_for()
            page.get_by_role("button", name="Close").click()
        assert not watch.troubles


def _signed_in(browser: Browser, live_server: LiveServer, client: Client, size: Any) -> Any:
    context = browser.new_context(viewport=size, base_url=live_server.url)
    cookie = client.cookies["sessionid"]
    context.add_cookies([{"name": "sessionid", "value": cookie.value, "url": live_server.url}])
    return context.new_page()
