"""The steps of staff's money in a browser, by two people: transfers, credit, corrections, write-offs, payouts."""

import base64
import datetime
import json
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass

import psycopg
from playwright.sync_api import Browser, Page, expect

from tests.browser import DESK
from tests.demo import RunningDemo, wait_for
from tests.money_story import PATIENCE_MS, Provider

# Its money can be paid out at once.
QUICK_CARD = "4000 0000 0000 0077"


@dataclass(frozen=True)
class TwoPeople:
    """Two members of staff, each signed in: one asks, the other decides."""

    web: str
    asks: Page
    decides: Page
    books: psycopg.Connection

    @classmethod
    def signed_in(cls, demo: RunningDemo, browser: Browser, books: psycopg.Connection) -> "TwoPeople":
        pages = []
        for who in ("admin", "admin2"):
            page = browser.new_context(viewport=DESK).new_page()
            page.goto(f"{demo.facts['web_url']}/accounts/login/")
            page.locator("#id_login").fill(demo.facts[f"{who}_email"])
            page.locator("#id_password").fill(demo.facts[f"{who}_password"])
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_load_state()
            pages.append(page)
        return cls(demo.facts["web_url"], pages[0], pages[1], books)

    def decide(self) -> None:
        """The second person approves the newest request, and the worker carries it out."""
        (request,) = self.books.execute("SELECT max(id) FROM accounts_approval").fetchone() or (0,)
        self.decides.goto(f"{self.web}/approvals/{request}/?decide=approve")
        self.decides.get_by_role("button", name="Approve", exact=True).click()
        expect(self.decides.get_by_text("Approved by").first).to_be_visible()
        done = "SELECT status, error FROM accounts_approval WHERE id = %s"

        def ended() -> list[str]:
            row = self.books.execute(done, [request]).fetchone()
            return [] if row is None or row[0] == "approved" else list(row)

        status, error = wait_for("the worker to carry it out", ended)
        assert (status, error) == ("done", ""), error


def transfer_by_bank(page: Page, staff: TwoPeople, dollars: int) -> None:
    """A customer asks for a pro-forma; finance enters the line of the statement and asks for its credit."""
    page.goto(f"{staff.web}/wallet/bank-transfers/")
    page.locator("#id_amount").fill(str(dollars))
    page.get_by_role("button", name="Make the pro-forma").click()
    page.wait_for_url(re.compile("/wallet/bank-transfers/.+"))
    reference = page.locator("dl.kv dd b").inner_text()
    _line_of_the_bank(staff.asks, staff.web, f"{dollars}.00", "USD", reference, "Ayuda GmbH")
    staff.asks.get_by_role("link", name=re.compile("Ayuda")).first.click()
    staff.asks.locator("#id_reason").fill("Amount and reference agree")
    staff.asks.get_by_role("button", name="Ask for the credit").click()
    staff.decide()
    page.reload()
    expect(page.get_by_text("Credited").first).to_be_visible()


def give_credit(staff: TwoPeople, customer: int, what: str, dollars: int, text: str) -> None:
    """`grant`, `credit` or `take`, asked for on the page of credits."""
    page = staff.asks
    page.goto(f"{staff.web}/credits/?account={customer}")
    page.locator("#id_what").select_option(what)
    page.locator("#id_amount").fill(str(dollars))
    page.locator("#id_text").fill(text)
    page.locator("#id_reason").fill("Ticket 12")
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("Asked.").first).to_be_visible()
    staff.decide()


def pay_in(page: Page, web: str, amount: int, currency: str = "usd") -> None:
    """By card on the provider's page, in a currency that is offered."""
    page.goto(f"{web}/wallet/")
    page.locator(f"input[name=currency][value={currency}]").check()
    page.get_by_label("Other").first.check()
    page.locator("#id_other").fill(str(amount))
    page.get_by_role("button", name="Continue to payment").click()
    page.locator("input[name=number]").fill(QUICK_CARD)
    page.locator("input[name=expiry]").fill("12 / 34")
    page.locator("input[name=cvc]").fill("123")
    if page.locator("input[name=name]").count():
        page.locator("input[name=name]").fill("New Comer")
    page.locator("#pay").click()
    page.wait_for_url(f"{web}/wallet/top-ups/**")
    expect(page.get_by_text("was added to your balance")).to_be_visible(timeout=PATIENCE_MS)


def give_a_debt_up(staff: TwoPeople, customer: int) -> None:
    staff.asks.goto(f"{staff.web}/risk/{customer}/?act=write_off")
    staff.asks.locator("#id_reason").fill("Nobody answers")
    staff.asks.get_by_role("button", name="Ask", exact=True).click()
    expect(staff.asks.get_by_text("The debt is given up once").first).to_be_visible()
    staff.decide()


def pay_out(provider: Provider, staff: TwoPeople, cents: int, currency: str) -> None:
    """The provider pays out; the poller and its event book it, and a line of our bank settles it."""
    made = _provider(provider, "/v1/payouts", amount=str(cents), currency=currency)
    provider.knob(f"/sandbox/payouts/{made['id']}", status="paid")
    seen = "SELECT status FROM billing_payout WHERE id = %s"
    wait_for(
        "the payout in our books",
        lambda: (row := staff.books.execute(seen, [made["id"]]).fetchone()) is not None and row[0] == "paid",
        seconds=60,
    )
    amount = f"{cents // 100}.{cents % 100:02d}"
    _line_of_the_bank(staff.asks, staff.web, amount, currency.upper(), "STRIPE PAYOUT", "Provider Ltd")
    settled = "SELECT journal_id IS NOT NULL FROM billing_bankline WHERE payout_id = %s"

    def is_settled() -> bool:
        row = staff.books.execute(settled, [made["id"]]).fetchone()
        return row is not None and bool(row[0])

    wait_for("the bank's line to be booked", is_settled, seconds=60)


def _line_of_the_bank(page: Page, web: str, amount: str, currency: str, reference: str, counterparty: str) -> None:
    page.goto(f"{web}/finance/bank/")
    page.locator("#id_date").fill(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}")
    page.locator("#id_amount").fill(amount)
    page.locator("#id_currency").select_option(label=currency)
    page.locator("#id_reference").fill(reference)
    page.locator("#id_counterparty").fill(counterparty)
    page.get_by_role("button", name="Enter the line").click()
    expect(page.get_by_text("1 new line").first).to_be_visible()


def _provider(provider: Provider, path: str, **members: str) -> dict[str, str]:
    """A call to the provider's own API, as its dashboard makes it."""
    word = base64.b64encode(f"{provider.secret_key}:".encode()).decode()
    request = urllib.request.Request(
        provider.url + path,
        data=urllib.parse.urlencode(members).encode(),
        headers={"Authorization": f"Basic {word}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, str] = json.load(answer)
    return found
