"""The treasury page: what it shows, whom it lets in, and funding that is asked for exactly once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client
from pytest_django.fixtures import Settings

from accounts.models import AuditEntry
from billing import display
from signing.models import TreasuryTransaction
from signing.pm.wire import checksum_address
from tests import builders
from tests.treasury_stage import ETH, SENDER, _our_sender, price, snapshot, staff, staff_member, wish

__all__ = ["_our_sender", "staff"]


DOORS = ["/treasury/", "/treasury/figures/", "/treasury/requests/", "/finance/", "/finance/2026-11/"]


FILES = ["statements.zip", "books.zip", "general-ledger.csv", "trial-balance.csv"]


POSTS = ["/treasury/fund/", "/finance/check/"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", [*DOORS, *(f"/finance/2026-11/{name}" for name in FILES), *POSTS, "/staff/"])
def test_only_staff_enter_the_staff_pages(client: Client, path: str) -> None:
    call = client.post if path in POSTS else client.get
    answer = call(path, wish())
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(("/accounts/login/", "/staff/login/"))
    client.force_login(builders.customer().members.get())
    answer = call(path, wish(), follow=True)
    assert answer.status_code == 403
    assert not TreasuryTransaction.objects.exists()
    assert not AuditEntry.objects.filter(action__in=["finance.exported", "treasury.funding_requested"]).exists()


@pytest.mark.django_db
def test_staff_without_a_second_factor_are_sent_to_set_it_up(staff: Client, settings: Settings) -> None:
    settings.STAFF_MFA_REQUIRED = True
    snapshot()
    for path in (*DOORS, "/staff/"):
        answer = staff.get(path, follow=True)
        assert answer.redirect_chain[-1][0].startswith("/accounts/"), path
    assert staff.post("/treasury/fund/", wish()).status_code == 302
    assert not TreasuryTransaction.objects.exists()


@pytest.mark.django_db
def test_a_page_of_the_treasury_allows_nothing_inline(staff: Client) -> None:
    snapshot()
    answer = staff.get("/treasury/")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert " style=" not in answer.content.decode()
    assert "<style" not in answer.content.decode()


@pytest.mark.django_db
def test_before_the_chain_was_read_the_page_says_what_will_stand_here(staff: Client, settings: Settings) -> None:
    assert "The chain was not read yet" in staff.get("/treasury/").content.decode()
    settings.SENDER_ADDRESS = ""
    assert "No sender is set" in staff.get("/treasury/").content.decode()
    assert staff.get("/treasury/figures/").status_code == 204


@pytest.mark.django_db
def test_ether_stands_first_and_dollars_beneath_at_the_recorded_price(staff: Client, settings: Settings) -> None:
    price(settings)
    snapshot()
    page = staff.get("/treasury/").content.decode()
    assert "$31,284.40" in page
    assert "$25,027.52" in page
    assert "$3,128.44" in page
    assert "2.0000 <i>ETH</i>" in page, "a quarter of the reserve for one of four orchestrators"
    assert page.index("10.0000 <i>ETH</i>") < page.index("$31,284.40")


@pytest.mark.django_db
def test_the_page_lives_without_a_price(staff: Client) -> None:
    snapshot()
    page = staff.get("/treasury/").content.decode()
    assert "No ETH price was recorded yet" in page
    assert "no price yet" in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("deposit", "reserve", "words"),
    [
        ("ten", "0", "Must be a number of ETH"),
        ("1e3", "0", "Must be a number of ETH"),
        ("1,5", "0", "Must be a number of ETH"),
        ("0x10", "0", "Must be a number of ETH"),
        ("NaN", "0", "Must be a number of ETH"),
        ("١", "0", "Must be a number of ETH"),
        ("-1", "2", "Must be 0 or more."),
        ("−1", "2", "Must be 0 or more."),
        ("0.0000000000000000001", "0", "Must have 18 decimals at most"),
        ("0", "0", "Must be more than 0 in at least one of them."),
        ("", "", "Must be more than 0 in at least one of them."),
        ("0", "0.000000000000000000", "Must be more than 0 in at least one of them."),
        ("3", "2", "is more than the treasury wallet can send"),
        ("999999999", "0", "is more than the treasury wallet can send"),
    ],
)
def test_an_amount_that_can_not_be_sent_gets_one_clear_error(
    staff: Client, deposit: str, reserve: str, words: str
) -> None:
    snapshot()
    for answer in (
        staff.get("/treasury/", {"deposit": deposit, "reserve": reserve}),
        staff.post("/treasury/fund/", wish(deposit=deposit, reserve=reserve)),
    ):
        assert answer.status_code == 422
        page = answer.content.decode()
        assert page.count('<p class="err">') == 1
        assert words in page
        assert '<dialog id="approve"' not in page
    assert not TreasuryTransaction.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db
def test_amounts_are_read_to_the_wei(staff: Client) -> None:
    snapshot()
    page = staff.get("/treasury/", {"deposit": "1.000000000000000001", "reserve": ".5"}).content.decode()
    assert "Fund with 1.500000000000000001 ETH" in page
    whole = display.whole_address(checksum_address(bytes.fromhex(SENDER[2:])))
    assert f"<code>{whole}</code>" in page
    answer = staff.post("/treasury/fund/", wish(deposit="1.000000000000000001", reserve=".5"))
    assert answer.status_code == 302
    row = TreasuryTransaction.objects.get()
    assert (row.deposit_wei, row.reserve_wei) == (ETH + 1, ETH // 2)
    assert (row.sender, row.status) == (SENDER, TreasuryTransaction.Status.REQUESTED)


@pytest.mark.django_db
def test_the_address_has_to_be_compared(staff: Client) -> None:
    snapshot()
    answer = staff.post("/treasury/fund/", {**wish(), "compared": ""})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Must be ticked" in page
    assert '<dialog id="approve" data-show' in page
    assert not TreasuryTransaction.objects.exists()


@pytest.mark.django_db
def test_a_request_is_told_in_the_audit_log(client: Client) -> None:
    snapshot()
    user = staff_member()
    client.force_login(user)
    client.post("/treasury/fund/", wish())
    row = TreasuryTransaction.objects.get()
    entry = AuditEntry.objects.get(action="treasury.funding_requested")
    assert (entry.actor, entry.subject) == (user, f"treasury_transaction:{row.pk}")
    assert entry.after == {"sender": SENDER, "deposit_wei": str(3 * ETH // 2), "reserve_wei": str(ETH // 4)}


@pytest.mark.django_db
def test_the_same_form_sent_twice_is_one_request(staff: Client) -> None:
    snapshot()
    form = wish()
    assert staff.post("/treasury/fund/", form).status_code == 302
    assert staff.post("/treasury/fund/", {**form, "deposit": "2"}).status_code == 302
    row = TreasuryTransaction.objects.get()
    assert row.deposit_wei == 3 * ETH // 2
    assert AuditEntry.objects.count() == 1


@pytest.mark.django_db
def test_nobody_sends_the_form_of_somebody_else(staff: Client) -> None:
    snapshot()
    form = wish()
    staff.post("/treasury/fund/", form)
    other = Client()
    other.force_login(staff_member())
    assert other.post("/treasury/fund/", form).status_code == 403
    assert TreasuryTransaction.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_form_that_arrives_eight_times_at_once_is_one_request(client: Client) -> None:
    snapshot()
    user = staff_member()
    form, start = wish(), threading.Barrier(8)

    def send(_: int) -> int:
        try:
            own = Client()
            own.force_login(user)
            start.wait()
            return own.post("/treasury/fund/", form).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(8))) == {302}
    assert TreasuryTransaction.objects.count() == 1
    assert AuditEntry.objects.filter(action="treasury.funding_requested").count() == 1


@pytest.mark.django_db
def test_ether_that_is_promised_already_is_not_promised_again(staff: Client) -> None:
    snapshot()
    staff.post("/treasury/fund/", wish(deposit="4", reserve="0"))
    answer = staff.post("/treasury/fund/", wish(deposit="2", reserve="0"))
    assert answer.status_code == 422
    assert "Must be 0.998 ETH at most" in answer.content.decode()
    TreasuryTransaction.objects.update(status=TreasuryTransaction.Status.FAILED)
    assert staff.post("/treasury/fund/", wish(deposit="2", reserve="0")).status_code == 302


@pytest.mark.django_db
def test_a_request_shows_how_far_it_got_and_is_asked_again_until_it_ends(staff: Client) -> None:
    snapshot()
    staff.post("/treasury/fund/", wish())
    row = TreasuryTransaction.objects.get()
    for status, reached in (("requested", 1), ("signed", 2), ("sent", 3)):
        TreasuryTransaction.objects.update(status=status)
        part = staff.get("/treasury/requests/").content.decode()
        assert part.count('<li class="on">') == reached
        assert 'hx-trigger="every 2s"' in part
    TreasuryTransaction.objects.update(
        status="confirmed", block_number=271_884_200, tx_hash="0x" + "ab" * 32, gas_cost_wei=10**13
    )
    part = staff.get("/treasury/requests/").content.decode()
    assert part.count('<li class="on">') == 4
    assert "Block 271,884,200" in part
    assert "hx-trigger" not in part
    TreasuryTransaction.objects.filter(pk=row.pk).update(status="failed", error="The contract refuses: paused")
    part = staff.get("/treasury/requests/").content.decode()
    assert "The contract refuses: paused" in part
    assert "hx-trigger" not in part
