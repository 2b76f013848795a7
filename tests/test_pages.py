"""How things look: amounts and times as text, and the pages in a real browser."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django import forms
from django.core.cache import cache
from django.template import Context, Template
from playwright.sync_api import Browser, Page
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts import moments
from accounts.models import ApiKey
from accounts.templatetags import page as parts
from billing import display
from billing.models import Markup
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow

CERTAIN = 2**256 - 1


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [
        (0, "$0.00"),
        (1_284_403_118_204, "$1,284.40"),
        (-50 * 10**9, "−$50.00"),
        (4_999_999, "$0.00"),
        (5_000_000, "$0.00"),
        (5_000_001, "$0.01"),
        (15_000_000, "$0.02"),
        (-4_000_000, "$0.00"),
        (2**63 - 1, "$9,223,372,036.85"),
    ],
)
def test_dollars_have_two_decimals_and_halves_go_to_even(nano_usd: int, text: str) -> None:
    assert display.usd_text(nano_usd) == text


@pytest.mark.parametrize(
    ("nano_usd", "trim", "text", "strong"),
    [
        (36_591, False, "$0.000036591", "36591"),
        (12_400, True, "$0.0000124", "124"),
        (1_902_418_204_117, False, "$1,902.418204117", "$1,902.41"),
        (10_000_000, False, "$0.010000000", "$0.01"),
        (9_999_999, False, "$0.009999999", "9999999"),
        (0, False, "$0.000000000", ""),
        (0, True, "$0.00", ""),
        (-36_591, True, "−$0.000036591", "36591"),
        (5_000_000_000, True, "$5.00", "$5.00"),
    ],
)
def test_exact_amounts_show_every_digit_and_stress_those_that_carry_them(
    nano_usd: int, trim: bool, text: str, strong: str
) -> None:
    head, groups = display.nano(nano_usd, trim=trim)
    runs = [head, *(run for group in groups for run in group)]

    assert "".join(run.text for run in runs) == display.nano_text(nano_usd, trim=trim) == text
    assert "".join(run.text for run in runs if run.strong) == strong
    assert all(sum(len(run.text) for run in group) <= 3 for group in groups)


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0.0000 ETH"),
        (14_823_100_000_000_000_000, "14.8231 ETH"),
        (100_000_000_000_000, "0.0001 ETH"),
        (99_999_000_000_000, "99,999.00 gwei"),
        (10_830_000_000, "10.83 gwei"),
        (1, "0.000000001 gwei"),
        (-(10**18), "−1.0000 ETH"),
    ],
)
def test_ether_has_four_decimals_and_small_ether_another_unit(wei: int, text: str) -> None:
    assert display.eth_text(wei) == text


@pytest.mark.parametrize(
    ("win_prob", "exact", "words"),
    [
        (CERTAIN // 10_000_000, "1 in 10,000,000", "1 in 10 million"),
        (CERTAIN // 12_345_678, "1 in 12,345,678", "1 in 12.3 million"),
        (CERTAIN // 250, "1 in 250", "1 in 250"),
        (CERTAIN * 2 // 3, "1 in 1.5", "1 in 1.5"),
        (CERTAIN, "always", "always"),
        (0, "never", "never"),
        (CERTAIN // (3 * 10**9), "1 in 3,000,000,000", "1 in 3 billion"),
    ],
)
def test_a_win_prob_is_told_as_odds(win_prob: int, exact: str, words: str) -> None:
    assert display.win_odds(win_prob) == exact
    assert display.win_odds_words(win_prob) == words


def test_rates_percentages_and_addresses_have_one_form() -> None:
    assert [display.rate_text(n) for n in (31_200_000, 411_000, 12, 0)] == [
        *("$0.0312", "$0.00041", "$0.000000012", "$0.0000"),
    ]
    assert [display.bps_text(n) for n in (800, 250, 0, 12_345)] == [
        "8\u00a0%",
        "2.5\u00a0%",
        "0\u00a0%",
        "123.45\u00a0%",
    ]
    address = "0x0eb5" + "1" * 32 + "70fC"
    assert display.short_address(address) == ("0x0eb5", "70fC")
    assert display.whole_address(address).replace(" ", "") == address


@pytest.mark.parametrize(
    ("earlier", "words"),
    [
        (timedelta(seconds=2), "just now"),
        (timedelta(seconds=42), "42 s ago"),
        (timedelta(minutes=42), "42 min ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=1), "20 Nov 2026, 17:40"),
        (timedelta(hours=-2), "21 Nov 2026, 19:40"),
    ],
)
def test_times_of_the_last_day_are_told_by_their_age(earlier: timedelta, words: str) -> None:
    now = datetime(2026, 11, 21, 17, 40, 6, tzinfo=UTC)
    assert moments.ago(now - earlier, now=now) == words


def test_a_forecast_is_never_more_exact_than_its_largest_unit() -> None:
    seconds = {0: "0 min", 1_540: "25 min", 3_600: "1 h", 145_500: "40 h", 172_800: "2 days", 1_100_000: "12 days"}
    assert {n: moments.forecast(timedelta(seconds=n)) for n in seconds} == seconds


def test_an_empty_field_says_so_in_the_words_of_the_house_unless_it_has_its_own() -> None:
    class Wish(forms.Form):
        plain = forms.CharField()
        own = forms.CharField(error_messages={"required": "Name it, for example gw-fra-1."})

    wish = Wish({})
    assert not wish.is_valid()
    assert [parts.field(wish[name])["errors"] for name in ("plain", "own")] == [
        ["Must be filled in."],
        ["Name it, for example gw-fra-1."],
    ]


def test_durations_are_cut_to_two_units() -> None:
    seconds = {0: "0 s", 59: "59 s", 60: "1 m", 200: "3 m 20 s", 8_040: "2 h 14 m", 7_200: "2 h", 1_036_800: "12 days"}
    assert {n: moments.duration(timedelta(seconds=n)) for n in seconds} == seconds


def _render(source: str, **context: object) -> str:
    return Template(source).render(Context(context))


def test_filters_mark_up_amounts_so_that_a_copy_is_a_clean_number() -> None:
    assert _render("{{ n|usd }}", n=1_284_403_118_204) == ('<data class="usd" value="1284.40">$1,284<i>.40</i></data>')
    assert _render("{{ n|nano }}", n=36_591) == (
        '<data class="nano" value="0.000036591">$0.000<span>0<b>36</b></span><span><b>591</b></span></data>'
    )
    shown = _render("{{ n|nano }}", n=1_902_418_204_117)
    assert re.sub(r"<[^>]+>", "", shown) == "$1,902.418204117"
    assert _render("{{ n|amount }}", n=36_591) == _render("{{ n|nano_trim }}", n=36_591)
    assert _render("{{ n|amount }}", n=10**9) == _render("{{ n|cents }}", n=100)
    assert _render("{{ n|usd }}{{ n|eth }}{{ n|ago }}{{ n|nano }}", n=None) == "––––"
    assert "&lt;b&gt;" in _render("{{ n|short_address }}", n="<b>alert</b>0123456789")


def test_the_example_charge_adds_up_at_the_markup_of_the_house(db: None, settings: Settings) -> None:
    settings.MARKUP_BPS = 1_500
    Markup.objects.create(bps=800, reason="From today", made_by=builders.user())
    shown = _render("{% example_charge %}")
    figures = [round(float(value) * 1e9) for value in re.findall(r'class="nano" value="([^"]+)"', shown)]

    assert figures == [33_881, 2_711, 36_592]
    assert "8\u00a0%" in shown


@pytest.fixture
def page(live_server: LiveServer, settings: Settings) -> Iterator[Page]:
    settings.EMAIL_BACKEND = "accounts.mailbox.MailboxBackend"
    settings.MAIL_PAGE = True
    cache.clear()
    with open_browser() as browser:
        yield _new_page(browser, live_server)


def _new_page(browser: Browser, server: LiveServer) -> Page:
    page = browser.new_context(base_url=server.url, viewport=DESK).new_page()
    page.set_default_timeout(20_000)
    return page


def _sign_up(page: Page) -> None:
    page.goto("/accounts/signup/")
    page.get_by_label("Company or project").fill("Example Gateway")
    page.get_by_label("Work email").fill("ana@example.com")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("link", name="Open the mails").click()
    page.get_by_role("link", name="Confirm your address to open your account").click()
    page.frame_locator("iframe").get_by_role("link", name="Confirm address").click()
    page.get_by_role("button", name="Confirm address").click()
    page.wait_for_url("**/")


def _make_key(page: Page, name: str) -> str:
    page.goto("/keys/")
    page.get_by_role("link", name="New key").first.click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Create key").click()
    text = page.locator("#key-text").inner_text()
    done = page.get_by_role("button", name="Done")
    assert done.is_disabled()
    page.keyboard.press("Escape")
    assert page.locator("#revealed").is_visible()
    page.get_by_label("I saved the key in a safe place").check()
    done.click()
    page.wait_for_url("**/keys/*")
    return text


@pytest.mark.django_db(transaction=True)
def test_a_newcomer_gets_from_sign_up_to_the_first_key(page: Page, live_server: LiveServer) -> None:
    watch = Watch(page, origin=live_server.url)
    _sign_up(page)
    text = _make_key(page, "gw-fra-1")

    key = ApiKey.objects.get()
    assert text.startswith(key.prefix)
    assert text not in page.content()
    assert page.get_by_role("row", name=re.compile("gw-fra-1.*Active")).is_visible()

    page.get_by_role("link", name="gw-fra-1").click()
    page.get_by_role("link", name="Revoke key").click()
    revoke = page.get_by_role("button", name="Revoke key")
    assert revoke.is_disabled()
    page.get_by_label("Type gw-fra-1 to confirm").fill("gw-fra-1")
    revoke.click()
    assert page.get_by_role("row", name=re.compile("gw-fra-1.*Revoked")).is_visible()
    assert page.get_by_text("gw-fra-1 revoked").first.is_visible()
    assert watch.troubles == []


@pytest.mark.django_db(transaction=True)
def test_pages_fit_a_phone_and_a_desk_in_light_and_dark(page: Page, live_server: LiveServer) -> None:
    watch = Watch(page, origin=live_server.url)
    _sign_up(page)
    _make_key(page, "a-rather-long-name-of-a-gateway-in-fra-1")
    number = ApiKey.objects.get().pk
    for path in ("/keys/", "/keys/?new", f"/keys/{number}/", f"/keys/{number}/?revoke", "/settings/", "/accounts/2fa/"):
        for size in (PHONE, DESK):
            for scheme in ("light", "dark"):
                page.set_viewport_size(size)
                page.emulate_media(color_scheme=scheme)
                page.goto(path)
                assert overflow(page) == [], (path, size, scheme)
                assert page.locator("h1").count() == 1
    assert watch.troubles == []


@pytest.mark.django_db(transaction=True)
def test_the_chosen_theme_stays_and_every_shell_works_from_the_keyboard(page: Page) -> None:
    _sign_up(page)
    page.get_by_role("button", name="Dark").click()
    page.goto("/settings/")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")

    page.set_viewport_size(PHONE)
    page.get_by_role("link", name="More").click()
    assert page.locator("#more").get_by_role("link", name="Settings").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#more").is_visible()


@pytest.mark.django_db(transaction=True)
def test_keys_are_made_and_revoked_without_scripts(live_server: LiveServer, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "accounts.mailbox.MailboxBackend"
    settings.MAIL_PAGE = True
    cache.clear()
    with open_browser() as browser:
        context = browser.new_context(base_url=live_server.url, java_script_enabled=False)
        page = context.new_page()
        page.set_default_timeout(20_000)
        _sign_up(page)
        page.goto("/keys/")
        page.get_by_role("link", name="New key").first.click()
        page.get_by_label("Name", exact=True).fill("gw-1")
        page.get_by_role("button", name="Create key").click()
        assert page.locator("#key-text").inner_text().startswith("ch_live_")
        page.get_by_label("I saved the key").check()
        page.get_by_role("button", name="Done").click()
        page.get_by_role("link", name="gw-1").click()
        page.get_by_role("link", name="Revoke key").click()
        page.get_by_label("Type gw-1 to confirm").fill("gw-1")
        page.get_by_role("button", name="Revoke key").click()
        assert page.get_by_role("row", name=re.compile("gw-1.*Revoked")).is_visible()
