"""The steps of the whole trip: what a newcomer, staff and finance do, and one session of the official SDK."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg
from playwright.sync_api import Page, expect

from clearinghouse.embedded import die_with_parent
from sandbox.chain.client import SandboxChain
from sandbox.orchestrator.client import RunningOrchestrator
from tests.demo import ROOT, RunningDemo, wait_for

EMAIL, PASSWORD = "newcomer@example.com", "a long enough secret 42"
PAID_IN_DOLLARS = 25


def ask(books: psycopg.Connection, query: str, *parameters: object) -> Any:
    row = books.execute(query, parameters).fetchone()
    return None if row is None else row[0] if len(row) == 1 else row


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
