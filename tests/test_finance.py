"""The finance page: a month that ties out to the nano-dollar and the wei, and the files that leave the house."""

import csv
import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, Customer
from billing import ledger, month_end, postings
from billing.money import WEI_PER_ETH
from billing.month_end import MonthEnd
from billing.postings import Account
from billing.statements import is_closed, next_month
from tests import builders

RATE = 3_000 * 10**9
WALLET, SENDER = "0x" + "aa" * 20, "0x" + "5e" * 20


@pytest.fixture
def staff(client: Client, settings: Settings) -> Client:
    settings.STAFF_MFA_REQUIRED = False
    client.force_login(builders.staff("finance"))
    return client


def this_month() -> date:
    return timezone.now().date().replace(day=1)


def month_before(month: date) -> date:
    return (month - timedelta(days=1)).replace(day=1)


def book(kind: str, transfers: list[postings.Transfer], *, at: datetime) -> None:
    assert ledger.book(kind=kind, reference=f"{kind}:{uuid.uuid4()}", occurred_at=at, transfers=transfers)


def pay_in(customer: Customer, nano_usd: int, *, at: datetime) -> None:
    assert ledger.credit(
        customer_id=customer.pk,
        amount_nano_usd=nano_usd,
        kind="top_up",
        reference=f"stripe:pi_{uuid.uuid4().hex}",
        occurred_at=at,
        transfers=postings.top_up(customer_id=customer.pk, gross_nano_usd=nano_usd),
    )


def fund_pool(*, at: datetime, deposit_wei: int, reserve_wei: int) -> None:
    """Ether arrives in the treasury wallet and most of it goes on into the pool, at cost."""
    wallet = Account(postings.TREASURY_WALLET, WALLET)
    total_wei = deposit_wei + reserve_wei
    arrived = [
        postings.usd(wallet, Account(postings.EQUITY), total_wei * RATE // WEI_PER_ETH),
        postings.eth(wallet, Account(postings.ETH_WORLD), total_wei),
    ]
    book("wallet_arrival", arrived, at=at)
    for number, wei in ((postings.DEPOSIT, deposit_wei), (postings.RESERVE, reserve_wei)):
        account = Account(number, SENDER)
        book(
            "funding",
            [postings.usd(account, wallet, wei * RATE // WEI_PER_ETH), postings.eth(account, wallet, wei)],
            at=at,
        )


def redeem(wei: int, *, at: datetime) -> None:
    liability, deposit = Account(postings.ACCRUED_TICKETS, "0x" + "0a" * 20), Account(postings.DEPOSIT, SENDER)
    book(
        "redemption",
        [postings.usd(liability, deposit, wei * RATE // WEI_PER_ETH), postings.eth(liability, deposit, wei)],
        at=at,
    )


@pytest.fixture
def two_months(one_day: None) -> tuple[date, date]:
    """The month before with a top-up and funding, this one with top-ups, usage posted and not, and a redemption."""
    month = this_month()
    before = month_before(month)
    first, now = datetime(before.year, before.month, 3, 9, tzinfo=UTC), timezone.now()
    ann, bob = builders.customer("Ann"), builders.customer("Bob")
    pay_in(ann, 70 * 10**9, at=first)
    fund_pool(at=first, deposit_wei=3 * WEI_PER_ETH, reserve_wei=WEI_PER_ETH + 7)
    pay_in(ann, 30 * 10**9, at=now)
    pay_in(bob, 12 * 10**9 + 1, at=now)
    for customer in (ann, bob, ann):
        builders.debit(customer, cost_wei=2_500_000_000_001, markup_bps=1_500)
    assert ledger.post_usage() == 3
    builders.debit(bob, cost_wei=777, markup_bps=1_500)
    redeem(WEI_PER_ETH // 3, at=now)
    return before, month


def ties_out(figures: MonthEnd) -> None:
    for balance in (figures.usd, figures.eth):
        assert balance.opening == balance.closing == 0
        assert balance.debits == balance.credits
    assert figures.liability.difference_nano_usd == 0
    assert [pool.difference_wei for pool in figures.pools] == [0, 0]
    assert figures.agrees


# -- the figures -------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_is_owed_rolls_forward_to_the_wallets_to_the_nano_dollar(two_months: tuple[date, date]) -> None:
    before, month = two_months
    charge = 8_625_001  # 2,500,000,000,001 wei at 3,000 dollars and 15 % are 8,625,000.00345 nano-dollars
    old, new = month_end.read(before), month_end.read(month)
    ties_out(old)
    ties_out(new)
    assert (old.liability.opening_nano_usd, old.liability.closing_nano_usd) == (0, 70 * 10**9)
    assert old.liability.wallets_nano_usd == 70 * 10**9
    assert new.liability.opening_nano_usd == 70 * 10**9
    assert new.liability.top_ups_nano_usd == 42 * 10**9 + 1
    assert new.liability.usage_nano_usd == 3 * charge
    assert new.liability.unposted_nano_usd == 1, "777 wei cost the smallest part of a dollar"
    assert new.liability.closing_nano_usd == 112 * 10**9 + 1 - 3 * charge
    assert new.liability.wallets_nano_usd == new.liability.closing_nano_usd - 1


@pytest.mark.django_db
def test_the_pool_rolls_forward_to_the_wei(two_months: tuple[date, date]) -> None:
    before, month = two_months
    old, new = month_end.read(before), month_end.read(month)
    deposit, reserve = new.pools
    assert [pool.closing_wei for pool in old.pools] == [3 * WEI_PER_ETH, WEI_PER_ETH + 7]
    assert [pool.funded_wei for pool in old.pools] == [3 * WEI_PER_ETH, WEI_PER_ETH + 7]
    assert (deposit.opening_wei, deposit.redeemed_wei) == (3 * WEI_PER_ETH, WEI_PER_ETH // 3)
    assert deposit.closing_wei == 3 * WEI_PER_ETH - WEI_PER_ETH // 3
    assert (reserve.opening_wei, reserve.closing_wei) == (WEI_PER_ETH + 7, WEI_PER_ETH + 7)


@pytest.mark.django_db
def test_one_month_closes_where_the_next_one_opens(two_months: tuple[date, date]) -> None:
    before, month = (month_end.read(each) for each in two_months)
    for old, new in ((before.usd, month.usd), (before.eth, month.eth)):
        closed = {line.number: line.closing for line in old.lines if line.closing}
        assert {line.number: line.opening for line in new.lines if line.opening} == closed


@pytest.mark.django_db
def test_a_wallet_that_was_tampered_with_is_told(two_months: tuple[date, date], staff: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_wallet SET available_nano_usd = available_nano_usd + 5")
    figures = month_end.read(two_months[1])
    assert figures.liability.difference_nano_usd == 10
    assert not figures.agrees
    page = staff.get("/finance/").content.decode()
    assert "do not tie out" in page
    assert "Differs" in page
    checked = staff.post("/finance/check/", headers={"HX-Request": "true"}).content.decode()
    assert "wallets_differ_from_account_2100_nano_usd" in checked
    assert "Differs" in checked


@pytest.mark.django_db
def test_an_empty_house_has_a_month_that_agrees(staff: Client, one_day: None) -> None:
    page = staff.get("/finance/").content.decode()
    assert "Nothing was booked yet" in page
    assert "Differs" not in page
    ties_out(month_end.read(this_month()))


# -- the page ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_month_is_picked_from_those_the_books_have(staff: Client, two_months: tuple[date, date]) -> None:
    before, month = two_months
    assert month_end.months(now=timezone.now()) == [month, before]
    answer = staff.get("/finance/", {"month": f"{before:%Y-%m}"})
    assert answer.headers["Location"] == f"/finance/{before:%Y-%m}/"
    stands = "closed" if is_closed(before, now=timezone.now()) else "over; closes"
    assert f"{before:%B %Y}, {stands}" in staff.get(answer.headers["Location"]).content.decode()
    assert f"{month:%B %Y}, running" in staff.get("/finance/", {"month": "1999-01"}).content.decode()
    for outside in (month_before(before), next_month(month)):
        assert staff.get(f"/finance/{outside:%Y-%m}/").status_code == 404
        assert staff.get(f"/finance/{outside:%Y-%m}/statements.zip").status_code == 404
    assert not AuditEntry.objects.filter(action="finance.exported").exists()


@pytest.mark.django_db
def test_every_check_runs_at_the_press_of_a_button(staff: Client) -> None:
    builders.top_up(builders.customer(), 10)
    assert "figures are 0" in staff.post("/finance/check/").content.decode()
    part = staff.post("/finance/check/", headers={"HX-Request": "true"}).content.decode()
    assert "figures are 0" in part
    assert "<html" not in part
    assert staff.get("/finance/check/").status_code == 405


# -- the files ---------------------------------------------------------------------------------------------


def taken(staff: Client, month: date, name: str) -> bytes:
    answer: Any = staff.get(f"/finance/{month:%Y-%m}/{name}")
    assert answer.status_code == 200
    stem, ending = name.split(".")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{stem}-{month:%Y-%m}.{ending}"'
    return b"".join(answer.streaming_content)


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def whole(cells: Iterable[str]) -> int:
    return sum(int(cell) for cell in cells if cell)


@pytest.mark.django_db
def test_the_general_ledger_adds_up_to_nothing_in_each_asset(staff: Client, two_months: tuple[date, date]) -> None:
    for month in two_months:
        lines = rows(taken(staff, month, "general-ledger.csv"))
        assert {line["asset"] for line in lines} == {"USD", "ETH"}
        for asset in ("USD", "ETH"):
            debits, credits = (
                whole(line[side] for line in lines if line["asset"] == asset)
                for side in ("debit_nano_usd_or_wei", "credit_nano_usd_or_wei")
            )
            assert debits == credits > 0


@pytest.mark.django_db
def test_the_trial_balance_adds_up_to_nothing_and_agrees_with_the_page(
    staff: Client, two_months: tuple[date, date]
) -> None:
    lines = rows(taken(staff, two_months[1], "trial-balance.csv"))
    figures = month_end.read(two_months[1])
    for balance in (figures.usd, figures.eth):
        closings = [line["closing_nano_usd_or_wei"] for line in lines if line["asset"] == balance.asset]
        assert [int(closing) for closing in closings] == [line.closing for line in balance.lines]
        assert whole(closings) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["statements.zip", "books.zip"])
def test_an_archive_opens_and_its_manifest_names_every_file_by_its_sum(
    staff: Client, two_months: tuple[date, date], name: str
) -> None:
    with zipfile.ZipFile(io.BytesIO(taken(staff, two_months[1], name))) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert {entry["name"] for entry in manifest["files"]} | {"manifest.json"} == set(archive.namelist())
        for entry in manifest["files"]:
            content = archive.read(entry["name"])
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
            assert entry["bytes"] == len(content)


@pytest.mark.django_db
def test_the_archive_of_the_books_holds_the_ledger_and_the_tie_outs(
    staff: Client, two_months: tuple[date, date]
) -> None:
    ledger_alone = taken(staff, two_months[0], "general-ledger.csv")
    with zipfile.ZipFile(io.BytesIO(taken(staff, two_months[0], "books.zip"))) as archive:
        assert archive.read("general-ledger.csv") == ledger_alone
        assert json.loads(archive.read("manifest.json"))["agrees"] is True
        differences = [row for row in rows(archive.read("roll-forward.csv")) if row["line"] == "difference"]
        assert [row["amount_nano_usd_or_wei"] for row in differences] == ["0", "0", "0"]


@pytest.mark.django_db
def test_the_same_closed_month_is_the_same_archive_twice(staff: Client, two_months: tuple[date, date]) -> None:
    assert taken(staff, two_months[0], "books.zip") == taken(staff, two_months[0], "books.zip")


@pytest.mark.django_db
def test_who_took_which_file_is_kept(staff: Client, two_months: tuple[date, date]) -> None:
    names = ["statements.zip", "books.zip", "general-ledger.csv", "trial-balance.csv"]
    for name in names:
        taken(staff, two_months[0], name)
    found = AuditEntry.objects.filter(action="finance.exported").order_by("id")
    assert [entry.subject.rsplit("-", 2)[0] for entry in found] == [name.split(".")[0] for name in names]
    assert all(entry.actor is not None for entry in found)
    assert set(found[1].after["sha256"]) == {"general-ledger.csv", "trial-balance.csv", "roll-forward.csv"}
