"""What the pages' own script does for whoever looks at them: amounts, the keyboard's place, dialogs without scripts."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from playwright.sync_api import BrowserContext, expect
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Customer
from billing.models import SavedCard
from tests import builders
from tests.browser import DESK, Watch, open_browser


def _with_a_card() -> Customer:
    payer = builders.customer()
    SavedCard.objects.create(
        customer=payer,
        saved_by=payer.members.get(),
        payment_method_id="pm_1",
        brand="visa",
        last4="4242",
        exp_month=12,
        exp_year=2034,
        is_default=True,
        consented_at=datetime(2026, 11, 1, tzinfo=UTC),
    )
    return payer


def _take_along(client: Client, context: BrowserContext, url: str) -> None:
    """The browser is signed in as the client is."""
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])


@pytest.mark.django_db(transaction=True)
def test_amounts_are_told_before_a_card_is_charged_and_the_keyboard_keeps_its_place(
    live_server: LiveServer, client: Client, static_files: None, settings: Settings
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_x"
    payer = _with_a_card()
    client.force_login(payer.members.get())
    with open_browser() as browser:
        page = browser.new_page(viewport=DESK)
        _take_along(client, page.context, live_server.url)
        watch = Watch(page, origin=live_server.url)
        page.goto(f"{live_server.url}/wallet/")
        line, other = page.locator("[data-charge]"), page.locator("#id_other")
        expect(line).to_contain_text("visa 4242", ignore_case=True)
        expect(other).to_be_hidden()
        page.get_by_label("Other").first.check()
        expect(line).to_be_hidden()
        other.fill("33")
        expect(line).to_contain_text("33")
        page.locator("label.opt", has_text="20").first.click()
        assert other.input_value() == ""
        page.get_by_text("Another card or account").click()
        expect(line).to_be_hidden()

        page.goto(f"{live_server.url}/")
        steps = page.locator("#figures a", has_text="Copy the lines")
        steps.focus()
        page.evaluate("document.activeElement.dataset.old = 'yes'")
        page.evaluate("htmx.ajax('GET', '/', {target: '#figures', swap: 'innerHTML'})")
        expect(page.locator("a[href$='#use']:focus:not([data-old])")).to_have_count(1)
        assert watch.troubles == []

        plain = browser.new_context(viewport=DESK, java_script_enabled=False)
        _take_along(client, plain, live_server.url)
        still = plain.new_page()
        still.goto(f"{live_server.url}/keys/?new")
        expect(still.get_by_role("button", name="Create key")).to_be_in_viewport()
