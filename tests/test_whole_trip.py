"""The whole trip once: sign up, pay in, pay an orchestrator with the official SDK, redeem, fund, export."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from sandbox.chain.client import SandboxChain
from sandbox.orchestrator.client import RunningOrchestrator, running_orchestrator
from tests import money_story, staff_money_story
from tests.browser import DESK, open_browser
from tests.demo import RunningDemo, running_demo, wait_for
from tests.trip_steps import (
    EMAIL,
    ask,
    check_every_ticket_was_billed,
    check_pages_show_it,
    create_key,
    download_statement,
    export_as_finance,
    fund_deposit,
    pay_in,
    run_sdk_session,
    sign_up,
)


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
