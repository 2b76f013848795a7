"""The whole trip once: sign up, pay in, pay an orchestrator with the official SDK, redeem, fund, export."""

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from clearinghouse.embedded import die_with_parent
from sandbox.chain.client import SandboxChain
from sandbox.orchestrator.client import RunningOrchestrator, running_orchestrator
from tests import money_story, staff_money_story
from tests.browser import DESK, open_browser
from tests.demo import ROOT, RunningDemo, running_demo, wait_for

EMAIL, PASSWORD = "newcomer@example.com", "a long enough secret 42"
PAID_IN_DOLLARS = 25


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("demo") / "local") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def orchestrator(demo: RunningDemo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrchestrator]:
    """One whose tickets are small and win four times in five, so that seconds show what hours would."""
    chain = SandboxChain.from_folder(demo.local_dir / "chain")
    with running_orchestrator(
        tmp_path_factory.mktemp("orchestrator"),
        rpc_url=chain.rpc_url,
        controller=chain.controller_address,
        key=chain.accounts["orchestrator"].private_key,
        ticket_ev_wei=10**11,
        max_face_value_wei=125 * 10**9,
    ) as running:
        yield running


@pytest.fixture
def books(demo: RunningDemo) -> Iterator[psycopg.Connection]:
    with psycopg.connect(demo.facts["database_url"], autocommit=True) as connection:
        yield connection


def ask(books: psycopg.Connection, query: str, *parameters: object) -> Any:
    row = books.execute(query, parameters).fetchone()
    return None if row is None else row[0] if len(row) == 1 else row


def test_from_sign_up_to_a_redeemed_ticket_and_a_statement(
    demo: RunningDemo, browser: Browser, orchestrator: RunningOrchestrator, books: psycopg.Connection, tmp_path: Path
) -> None:
    web = demo.facts["web_url"]
    page = browser.new_context(viewport=DESK).new_page()
    sign_up(page, web)
    pay_in(page, web)
    api_key = create_key(page, web)
    customer = ask(books, "SELECT id FROM accounts_customer WHERE name = 'Newcomer Media'")
    algorithm, rounds, *_ = ask(books, "SELECT password FROM accounts_user WHERE email = %s", EMAIL).split("$")
    assert algorithm == "pbkdf2_sha256"
    assert int(rounds) >= 600_000

    run_sdk_session(demo, orchestrator, api_key, books, customer)

    redemptions = wait_for(
        "a booked redemption of the newcomer's tickets",
        lambda: ask(
            books,
            "SELECT count(*) FROM signing_redemption r JOIN signing_chainevent e ON e.id = r.event_id"
            " JOIN signing_payment p ON p.id = r.payment_id AND p.customer_id = r.customer_id"
            " WHERE r.customer_id = %s AND e.booked_at IS NOT NULL AND r.paid_wei = r.face_value_wei",
            customer,
        ),
    )
    assert redemptions >= 1
    assert ask(books, "SELECT count(*) FROM signing_redemption WHERE customer_id IS NULL") == 0

    charged = check_every_ticket_was_billed(orchestrator, books, customer)
    check_pages_show_it(page, web, charged)
    total = download_statement(page, web)
    assert total == charged

    staff = browser.new_context(viewport=DESK, accept_downloads=True).new_page()
    fund_deposit(staff, demo, books)
    export_as_finance(staff, web, charged, tmp_path)
    wait_for("the poster", lambda: not ask(books, "SELECT count(*) FROM billing_usage WHERE journal_id IS NULL"))
    assert not any(demo.invariants().values())


def test_from_a_billing_profile_to_a_dispute_that_was_won(
    demo: RunningDemo, browser: Browser, orchestrator: RunningOrchestrator, books: psycopg.Connection, tmp_path: Path
) -> None:
    """What cards do after the first payment: asked holders, kept cards, recharges, refunds and disputes."""
    web, provider = demo.facts["web_url"], money_story.Provider.of(demo)
    page = browser.new_context(viewport=DESK).new_page()
    sign_up(page, web, email="lumiere@example.com", account="Atelier Lumière")
    customer = ask(books, "SELECT id FROM accounts_customer WHERE name = 'Atelier Lumière'")
    money_story.fill_in_profile(page, web)
    money_story.look(page, tmp_path / "profile.png")
    money_story.pay_with_a_card_that_asks(page, web, 30)
    money_story.pay_with_one_click(page, web, 10)
    assert _wallet(books, customer) == 40 * 10**9

    api_key = create_key(page, web)
    money_story.switch_recharging_on(page, web, below_dollars=40, amount_dollars=20)
    with money_story.paying_gateway(demo, orchestrator, api_key):
        wait_for(
            "a recharge that real usage caused",
            lambda: ask(
                books, "SELECT status = 'paid' FROM billing_topup WHERE customer_id = %s AND method = 'auto'", customer
            ),
            seconds=120,
        )
    assert ask(books, "SELECT count(*) FROM billing_topup WHERE customer_id = %s AND method = 'auto'", customer) == 1

    money_story.ask_for_a_refund(page, web, 5)
    wait_for(
        "the refund", lambda: ask(books, "SELECT status = 'done' FROM billing_refund WHERE customer_id = %s", customer)
    )
    money_story.look(page, tmp_path / "refunds.png")

    intent = ask(
        books,
        "SELECT payment_intent_id FROM billing_topup WHERE customer_id = %s AND method = 'auto'",
        customer,
    )
    dispute = provider.knob("/sandbox/disputes", payment_intent=intent)
    wait_for(
        "the freeze", lambda: ask(books, "SELECT status = 'frozen' FROM accounts_customer WHERE id = %s", customer)
    )
    page.goto(f"{web}/wallet/")
    expect(page.get_by_text("This account is frozen")).to_be_visible()
    money_story.look(page, tmp_path / "frozen.png")
    charged = ask(books, "SELECT sum(charge_nano_usd) FROM billing_usage WHERE customer_id = %s", customer)
    assert _wallet(books, customer) == (30 + 10 - 5) * 10**9 - charged
    provider.knob(f"/sandbox/disputes/{dispute['id']}", outcome="won")
    wait_for(
        "the release", lambda: ask(books, "SELECT status = 'active' FROM accounts_customer WHERE id = %s", customer)
    )
    assert _wallet(books, customer) == (30 + 10 + 20 - 5) * 10**9 - charged
    kinds = books.execute("SELECT kind FROM billing_document WHERE customer_id = %s ORDER BY id", [customer]).fetchall()
    assert [kind for (kind,) in kinds] == ["receipt", "receipt", "receipt", "credit_note"]
    wait_for("the poster", lambda: not ask(books, "SELECT count(*) FROM billing_usage WHERE journal_id IS NULL"))
    assert not any(demo.invariants().values())


def test_what_staff_do_with_money_takes_two_of_them_and_the_books_stay_right(
    demo: RunningDemo, browser: Browser, books: psycopg.Connection
) -> None:
    """By bank, in euros, as a gift, as a correction, paid out and given up: each under the rights of its process."""
    web, provider = demo.facts["web_url"], money_story.Provider.of(demo)
    staff = staff_money_story.TwoPeople.signed_in(demo, browser, books)
    page = browser.new_context(viewport=DESK).new_page()
    sign_up(page, web, email="ayuda@example.com", account="Ayuda")
    customer = ask(books, "SELECT id FROM accounts_customer WHERE name = 'Ayuda'")

    staff_money_story.transfer_by_bank(page, staff, 1_200)
    assert _wallet(books, customer) == 1_200 * 10**9
    staff_money_story.give_credit(staff, customer, "grant", 25, "hackathon")
    assert _wallet(books, customer) == 1_225 * 10**9
    staff_money_story.pay_in(page, web, 40, "eur")
    euros = "SELECT credit_nano_usd FROM billing_topup WHERE customer_id = %s AND balance_transaction_id IS NOT NULL"
    credited = wait_for("the euros' fee", lambda: ask(books, euros, customer))
    assert _wallet(books, customer) == 1_225 * 10**9 + credited
    assert not any(demo.invariants().values())

    # More than all refunds of other stories took from what the provider has to pay out.
    staff_money_story.pay_in(page, web, 500)
    staff_money_story.pay_out(provider, staff, 1_500, "usd")
    assert not any(demo.invariants().values())
    staff_money_story.give_credit(staff, customer, "take", (1_695 * 10**9 + credited) // 10**9, "Paid twice")
    intent = ask(
        books,
        "SELECT payment_intent_id FROM billing_topup WHERE customer_id = %s AND currency = 'usd' AND method <> 'bank'",
        customer,
    )
    dispute = provider.knob("/sandbox/disputes", payment_intent=intent)
    stage = "SELECT stage FROM billing_dispute WHERE customer_id = %s"
    wait_for("the dispute", lambda: ask(books, stage, customer) == "open")
    provider.knob(f"/sandbox/disputes/{dispute['id']}", outcome="lost")
    wait_for("the verdict", lambda: ask(books, stage, customer) == "lost")
    page.goto(f"{web}/wallet/")
    expect(page.get_by_text("owes").first).to_be_visible()
    staff_money_story.give_a_debt_up(staff, customer)
    assert ask(books, "SELECT debt_nano_usd FROM billing_wallet WHERE customer_id = %s", customer) == 0
    wait_for("the letter of the write-off's hold", lambda: "Your account is on hold" in _mails(page, web))
    for subject in ("is disputed, and your account is frozen", "the money went back"):
        assert subject in _mails(page, web)
    assert not any(demo.invariants().values())


def _mails(page: Page, web: str) -> str:
    return page.request.get(f"{web}/demo/mail/").text()


def _wallet(books: psycopg.Connection, customer: int) -> int:
    return int(ask(books, "SELECT available_nano_usd FROM billing_wallet WHERE customer_id = %s", customer))


def test_after_ctrl_c_nothing_runs_and_a_second_start_agrees_with_books_and_chain(demo: RunningDemo) -> None:
    """The demo that the newcomer came to, or one that nobody used yet when this story is told alone."""
    facts = demo.facts
    assert not any(demo.invariants().values())
    killed = next(process for process in demo.family() if "signing.signer" in process.cmdline())
    killed.kill()
    wait_for("the dead signer to be reported", lambda: "signer was ended by signal 9" in demo.output.read_text())
    assert demo.stop() == []
    assert not (demo.local_dir / "demo.json").exists()
    before = time.monotonic()
    with running_demo(demo.local_dir) as second:
        print(f"second start: {time.monotonic() - before:.1f} s")
        for name in ("api_key", "customer_email", "customer_password", "sender_address", "controller_address"):
            assert second.facts[name] == facts[name]
        assert not any(second.invariants().values())
        second.process.send_signal(signal.SIGTERM)
        second.process.wait(timeout=60)
    assert second.process.returncode == 0


# -- the steps ---------------------------------------------------------------------------------------------


def sign_up(page: Page, web: str, *, email: str = EMAIL, account: str = "Newcomer Media") -> None:
    page.goto(f"{web}/accounts/signup/")
    page.get_by_label("Company or project").fill(account)
    page.get_by_label("Work email").fill(email)
    page.locator("#id_password1").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.goto(f"{web}/demo/mail/")
    page.locator("a.rowlink").first.click()
    page.goto(page.locator("a[href*='confirm-email']").first.get_attribute("href") or "")
    page.get_by_role("button", name="Confirm address").click()
    page.wait_for_load_state()
    page.goto(f"{web}/")
    if "login" in page.url:
        page.locator("#id_login").fill(email)
        page.locator("#id_password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Overview")


def pay_in(page: Page, web: str) -> None:
    page.goto(f"{web}/wallet/")
    page.get_by_label("Other").first.check()
    page.locator("#id_other").fill(str(PAID_IN_DOLLARS))
    page.get_by_role("button", name="Continue to payment").click()
    page.locator("input[name=number]").fill("4242 4242 4242 4242")
    page.locator("input[name=expiry]").fill("12 / 34")
    page.locator("input[name=cvc]").fill("123")
    name = page.locator("input[name=name]")
    if name.count():
        name.fill("New Comer")
    page.locator("#pay").click()
    page.wait_for_url(f"{web}/wallet/top-ups/**")
    expect(page.get_by_text("was added to your balance")).to_be_visible(timeout=30_000)
    page.goto(f"{web}/wallet/")
    expect(page.locator("dl.strip")).to_contain_text("25.00")


def create_key(page: Page, web: str) -> str:
    page.goto(f"{web}/keys/?new")
    page.locator("dialog#create #id_name").fill("sdk")
    page.get_by_role("button", name="Create key").click()
    key = page.locator("#key-text").inner_text().strip()
    assert key.startswith("ch_live_")
    return key


def run_sdk_session(
    demo: RunningDemo, orchestrator: RunningOrchestrator, api_key: str, books: psycopg.Connection, customer: int
) -> None:
    """The unmodified SDK holds a live session until five of its payments are booked, and stops between two.

    It pays about every three seconds: just after the orchestrator took a payment none is on its way.
    """
    gateway = subprocess.Popen(
        [
            *(sys.executable, "-m", "sandbox.gateway", "--kind", "live", "--session-seconds", "60"),
            *("--signer-url", demo.facts["signer_url"], "--orchestrator-url", orchestrator.url),
        ],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_API_KEY": api_key},
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        billed = "SELECT count(*), coalesce(sum(tickets), 0) FROM signing_payment WHERE customer_id = %s"
        wait_for("four payments", lambda: ask(books, billed, customer)[0] >= 4, seconds=90)
        four = ask(books, billed, customer)[1]
        wait_for(
            "the fifth payment at the orchestrator",
            lambda: ask(books, billed, customer)[1] == orchestrator.status()["tickets_accepted"] > four,
            seconds=30,
        )
    finally:
        gateway.terminate()
        gateway.wait(timeout=20)


def check_every_ticket_was_billed(orchestrator: RunningOrchestrator, books: psycopg.Connection, customer: int) -> int:
    """Accepted = billed, received = charged for, wallet = paid in less charges; returns the charges in nano-dollars."""
    billed, cost_wei, charged = ask(
        books,
        "SELECT sum(quantity), sum(cost_wei), sum(charge_nano_usd) FROM billing_usage WHERE customer_id = %s",
        customer,
    )
    status = wait_for(
        "the orchestrator to have every ticket",
        lambda: (found := orchestrator.status()) and found["tickets_accepted"] >= billed and found,
        seconds=10,
    )
    assert status["tickets_rejected"] == 0, status["rejected"]
    assert status["tickets_accepted"] == billed
    payments = ask(books, "SELECT count(*) FROM signing_payment WHERE customer_id = %s", customer)
    received = Fraction(status["received_wei"])
    assert received <= cost_wei < received + payments, "each payment is rounded up to whole wei, once"
    available = ask(books, "SELECT available_nano_usd FROM billing_wallet WHERE customer_id = %s", customer)
    assert available == PAID_IN_DOLLARS * 10**9 - charged
    return int(charged)


def check_pages_show_it(page: Page, web: str, charged: int) -> None:
    page.goto(f"{web}/usage/")
    page.locator("#sessions a.rowlink").first.click()
    expect(page.get_by_text("Booked").first).to_be_visible()
    answer = page.request.get(f"{web}/api/v1/balance").json()
    assert answer["available_nano_usd"] == str(PAID_IN_DOLLARS * 10**9 - charged)


def download_statement(page: Page, web: str) -> int:
    """The sum of the month's usage lines in the CSV, in nano-dollars; opening plus lines is closing."""
    page.goto(f"{web}/statements/")
    month = time.strftime("%Y-%m", time.gmtime())
    statement = page.request.get(f"{web}/statements/{month}.csv").text()
    pdf = page.request.get(f"{web}/statements/{month}.pdf").body()
    assert pdf.startswith(b"%PDF")
    assert "25.000000000" in statement
    return _usage_nano_usd(statement)


def fund_deposit(staff: Page, demo: RunningDemo, books: psycopg.Connection) -> None:
    """An admin adds to deposit and reserve on the page; the worker sends it; chain and ledger agree on the wei."""
    web = demo.facts["web_url"]
    chain = SandboxChain.from_folder(demo.local_dir / "chain")
    sender = demo.facts["sender_address"]
    (deposit, _), (reserve, _) = chain.read("TicketBroker", "getSenderInfo", sender)
    staff.goto(f"{web}/accounts/login/")
    staff.locator("#id_login").fill(demo.facts["admin_email"])
    staff.locator("#id_password").fill(demo.facts["admin_password"])
    staff.get_by_role("button", name="Sign in").click()
    staff.wait_for_load_state()
    staff.goto(f"{web}/treasury/")
    staff.locator("#id_deposit").fill("0.5")
    staff.locator("#id_reserve").fill("0.25")
    staff.get_by_role("button", name="Review").click()
    dialog = staff.locator("dialog#approve")
    dialog.locator("input[type=checkbox]").check()
    dialog.get_by_role("button", name="Fund with").click()
    wait_for(
        "the funding to be booked",
        lambda: ask(
            books,
            "SELECT count(*) FROM signing_chainevent WHERE name = 'DepositFunded' AND booked_at IS NOT NULL"
            " AND (arguments ->> 'amount')::numeric = 5e17",
        ),
        seconds=60,
    )
    (after_deposit, _), (after_reserve, _) = chain.read("TicketBroker", "getSenderInfo", sender)
    paid = ask(books, "SELECT coalesce(sum(paid_wei), 0) FROM signing_redemption")
    assert deposit + 5 * 10**17 - paid <= after_deposit <= deposit + 5 * 10**17
    assert after_reserve == reserve + 25 * 10**16


def export_as_finance(staff: Page, web: str, charged: int, folder: Path) -> None:
    """The month's statements in one file hold the newcomer's total; the general ledger adds up to nothing."""
    month = time.strftime("%Y-%m", time.gmtime())
    staff.goto(f"{web}/finance/")
    archive = zipfile.ZipFile(io.BytesIO(staff.request.get(f"{web}/finance/{month}/statements.zip").body()))
    manifest = json.loads(archive.read("manifest.json"))
    sums = [_usage_nano_usd(archive.read(name).decode()) for name in archive.namelist() if name.endswith(".csv")]
    assert charged in sums
    assert all(hashlib.sha256(archive.read(file["name"])).hexdigest() == file["sha256"] for file in manifest["files"])
    ledger = csv.DictReader(io.StringIO(staff.request.get(f"{web}/finance/{month}/general-ledger.csv").text()))
    totals: dict[str, Decimal] = defaultdict(Decimal)
    lines = 0
    for line in ledger:
        totals[line["asset"]] += Decimal(line["debit"] or 0) - Decimal(line["credit"] or 0)
        lines += 1
    assert lines > 10
    assert totals == {"USD": 0, "ETH": 0}


def _usage_nano_usd(statement: str) -> int:
    rows = csv.DictReader(io.StringIO(statement))
    return int(-sum(Decimal(row["amount_usd"] or 0) for row in rows if row["type"] == "usage") * 10**9)
