"""The page of orchestrators: the gateways' own list, priced in dollars as the customer pays them."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Customer
from billing import ledger
from billing.markups import markup_bps
from billing.models import Markup
from signing.discovery import prices
from signing.models import Orchestrator, OrchestratorSource, PriceCeiling, RecipientRule, Stop
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.held_chain import ETHER, HeldChain
from tests.signer_stage import running_signer
from tests.treasury_stage import SENDER, snapshot

ALICE, BOB = "0x" + "0a" * 20, "0x" + "0b" * 20
PIXELS_PER_HOUR = 27_648_000 * 3600


@pytest.fixture(autouse=True)
def _settings(settings: Settings) -> None:
    settings.MARKUP_BPS = 1_500
    settings.ETH_USD_FEED_ADDRESS = "0x" + "FE" * 20
    settings.RECIPIENT_POLICY, settings.MAX_PRICE_PER_UNIT = "registered", 0
    settings.SENDER_ADDRESS = SENDER


@pytest.fixture
def payer(db: None) -> Customer:
    return builders.customer("Payer")


@pytest.fixture
def member(client: Client, payer: Customer) -> Client:
    client.force_login(payer.members.get())
    return client


def registry(*members: tuple[str, str]) -> None:
    OrchestratorSource.objects.update_or_create(name="registry", defaults={"members": [list(each) for each in members]})


def info(recipient: str, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "recipient": recipient,
        "service_uri": "",
        "ticket_ev_wei": "1",
        "price": None,
        "capabilities": [],
    }
    return {**given, **changes}


def runner(name: str, price: str, unit: str, **changes: Any) -> dict[str, Any]:
    return {"url": f"https://{name}.example:1/x", "app": f"studio/{name}", "price": price, "unit": unit, **changes}


def orchestrator(name: str, info: dict[str, Any] | None, *runners: dict[str, Any], age_seconds: int = 0) -> None:
    read_at = timezone.now() - timedelta(seconds=age_seconds)
    Orchestrator.objects.create(
        address=f"https://{name}.example:8935",
        info=info,
        info_read_at=read_at if info else None,
        runners=list(runners),
        runners_read_at=read_at,
    )


def a_market() -> None:
    """Two orchestrators on the chain, one of them also with runners, at $3,000 per ETH."""
    builders.rate()
    registry((ALICE, "https://alice.example:8935"), (BOB, ""))
    capabilities = [[35, "noop", "1675", True], [27, "sd", "3/2", True]]
    orchestrator("alice", info(ALICE, price="1200", capabilities=capabilities))
    orchestrator(
        "bob",
        info(BOB),
        runner("camera", "46300000000", "seconds", gpu={"name": "H100"}, capacity=3, capacity_available=2),
        runner("restyle", "1675.5", "720p-pixel-seconds", capacity=1, capacity_used=1),
        runner("caption", "1000000000000", "fixed"),
    )


def shown(member: Client, query: str = "") -> str:
    answer = member.get("/orchestrators/" + query)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def charge(wei: int) -> int:
    """Nano-dollars at $3,000 and 15 %, rounded up."""
    return -(-wei * 3_000 * 11_500 // (10**9 * 10_000))


def test_prices_are_by_the_hour_the_job_and_the_million_pixels_with_our_fee(payer: Customer) -> None:
    a_market()
    found = prices.market(payer.pk)
    assert {(offer.work, offer.unit): offer.price_nano_usd for offer in found.offers} == {
        ("live-video-to-video/noop", "hour"): charge(1675 * PIXELS_PER_HOUR),
        ("text-to-image/sd", "million pixels"): charge(1_500_000),
        ("transcoding", "million pixels"): charge(1_200_000_000),
        ("studio/camera", "hour"): charge(46_300_000_000 * 3600),
        ("studio/restyle", "hour"): charge(16755 * PIXELS_PER_HOUR // 10),
        ("studio/caption", "job"): charge(10**12),
    }
    assert (found.orchestrators, found.markup_bps) == (2, 1_500)


def test_the_page_shows_every_offer_and_one_kind_of_work_when_asked(member: Client) -> None:
    a_market()
    text = shown(member)
    assert "live-video-to-video/noop alice.example:8935" in text
    assert "studio/camera bob.example:8935 H100 Free 2 of 3 $0.5750 per hour" in text
    assert "studio/restyle bob.example:8935 – Full $0.5753 per hour" in text
    assert "studio/caption bob.example:8935 – Free $0.0034 per job" in text
    assert "transcoding alice.example:8935 – Free $0.0000041 per million pixels" in text
    assert "6 offers of 2 orchestrators" in text
    assert "Our fee of 15" in text
    only = shown(member, "?work=studio/camera")
    assert "1 offer of 1 orchestrator" in only
    assert "$0.5750" in only
    assert "$0.0034" not in only
    assert "Nobody offers this now" in shown(member, "?work=nothing/of-the-kind")


def test_an_empty_market_says_what_will_stand_there(member: Client) -> None:
    assert "No orchestrators yet" in shown(member)
    a_market()
    Orchestrator.objects.update(info_read_at=Now() - timedelta(hours=1), runners_read_at=Now() - timedelta(hours=1))
    assert "No orchestrators yet" in shown(member)


def test_without_an_exchange_rate_there_are_offers_but_no_dollars(member: Client, settings: Settings) -> None:
    a_market()
    settings.ETH_USD_FEED_ADDRESS = "0x" + "11" * 20
    text = shown(member)
    assert "Prices in dollars come with the next exchange rate" in text
    assert "studio/caption bob.example:8935 – Free – per job" in text


def test_what_orchestrators_write_is_shown_as_text(member: Client) -> None:
    builders.rate()
    registry((ALICE, ""))
    hostile = runner("x", "5", "fixed", app="<script>alert(1)</script>", gpu={"name": '"><img src=x>'})
    orchestrator("alice", info(ALICE), hostile)
    page = member.get("/orchestrators/").content.decode()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_is_for_members_and_has_a_door_in_every_shell(member: Client) -> None:
    assert Client().get("/orchestrators/").status_code == 302
    assert member.post("/orchestrators/").status_code == 405
    page = member.get("/").content.decode()
    assert page.count('href="/orchestrators/"') == 2


def test_a_customer_s_own_markup_is_in_its_prices(payer: Customer) -> None:
    a_market()
    staff = builders.user()
    Markup.objects.create(customer=None, bps=1_000, reason="all", made_by=staff)
    assert markup_bps(payer.pk, at=timezone.now()) == 1_000
    Markup.objects.create(customer=payer, bps=0, reason="friend", made_by=staff)
    Markup.objects.create(
        customer=payer, bps=9_999, reason="later", made_by=staff, valid_from=timezone.now() + timedelta(days=1)
    )
    assert markup_bps(payer.pk, at=timezone.now()) == 0
    assert markup_bps(builders.customer().pk, at=timezone.now()) == 1_000
    Markup.objects.create(customer=payer, bps=None, reason="over", made_by=staff)
    assert markup_bps(payer.pk, at=timezone.now()) == 1_000


def addresses() -> list[str]:
    return [entry.address for entry in prices.entries(prices.latest_rate())]


RULES: list[dict[str, Any]] = [
    {},
    {"policy": "any"},
    {"policy": "listed"},
    {"policy": "listed", "listed": [ALICE]},
    {"frozen": [ALICE]},
    {"policy": "any", "sanctioned": [BOB]},
    {"policy": "any", "stopped": [ALICE]},
    {"listed": [BOB], "stopped": [BOB]},
    {"max_price": 1674},
    {"max_price": 1675, "capability": 1000},
    {"max_price": 10, "capability": 2000},
    {"dollars": 1},
    {"dollars": 10**9},
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_people_and_gateways_are_shown_the_same_list(rules: dict[str, Any], settings: Settings) -> None:
    a_market()
    orchestrator("stranger", info("0x" + "0c" * 20), runner("x", "5", "fixed"))
    orchestrator("dear", info(ALICE, ticket_ev_wei="9" * 30), runner("x", "5", "fixed"))
    covered = snapshot(deposit_wei=ETHER).deposit_wei // 20
    orchestrator("full", info(ALICE, face_value_wei=str(covered)), runner("x", "5", "fixed"))
    orchestrator("over", info(ALICE, face_value_wei=str(covered + 1)), runner("x", "5", "fixed"))
    orchestrator("quiet", None, runner("x", "5", "fixed"))
    orchestrator("old", info(ALICE), runner("x", "5", "fixed"), age_seconds=10_000)
    staff = builders.user()
    for standing in ("listed", "frozen", "sanctioned"):
        for address in rules.get(standing, ()):
            RecipientRule.objects.create(address=address, standing=standing, reason="drill")
    for address in rules.get("stopped", ()):
        Stop.objects.create(scope="recipient", subject=address, reason="x", set_by=staff)
    if "capability" in rules:
        PriceCeiling.objects.create(
            scope="capability", capability=35, model="noop", unit="pixel", limit_wei=rules["capability"], made_by=staff
        )
    if "dollars" in rules:
        PriceCeiling.objects.create(scope="global", unit="job", limit_nano_usd=rules["dollars"], made_by=staff)
    settings.RECIPIENT_POLICY = rules.get("policy", "registered")
    settings.MAX_PRICE_PER_UNIT = rules.get("max_price", 0)
    chain = HeldChain(
        active_recipients=frozenset(bytes.fromhex(each[2:]) for each in (ALICE, BOB)),
        orchestrators=((ALICE, "https://alice.example:8935"), (BOB, "")),
    )
    with running_signer(
        chain, RECIPIENT_POLICY=settings.RECIPIENT_POLICY, MAX_PRICE_PER_UNIT=settings.MAX_PRICE_PER_UNIT
    ) as stage:
        gateway, _ = stage.gateway(dollars_nano=0)
        deadline = time.monotonic() + 10
        while (answer := gateway.request("GET", "/discover-orchestrators")).status == 503:
            if answer.code == "no_orchestrators":
                break
            assert time.monotonic() < deadline, answer.body
    told = answer.json if answer.status == 200 else []
    assert {entry["address"]: entry["capabilities"] for entry in told} == {
        entry.address: entry.names for entry in prices.entries(3_000 * 10**9)
    }


@pytest.mark.django_db(transaction=True)
def test_the_page_fits_a_phone_and_a_desk_in_light_and_dark(live_server: LiveServer, client: Client) -> None:
    a_market()
    long = runner(
        "x", "123456789012345678", "seconds", app="studio/" + "long-name-" * 19, gpu={"name": "NVIDIA H100 80GB HBM3"}
    )
    orchestrator("a-rather-long-name-of-a-machine.in-a-data-centre-of.frankfurt", info(ALICE), long)
    owner = builders.customer("Looker")
    client.force_login(owner.members.get())
    cookie = client.cookies["sessionid"].value
    with open_browser() as browser:
        for size in (PHONE, DESK):
            context = browser.new_context(base_url=live_server.url, viewport=size)
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
            page = context.new_page()
            watch = Watch(page, origin=live_server.url)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.goto("/orchestrators/")
                assert overflow(page) == []
            page.get_by_label("Work").select_option("studio/camera")
            page.wait_for_url("**/orchestrators/?work=studio*")
            assert page.locator("tbody tr").count() == 1
            assert watch.troubles == []


def test_the_newest_answer_of_the_feed_counts(payer: Customer) -> None:
    builders.rate(2_000 * 10**9, feed_round=2)
    ledger.record_rate(
        feed_address="0x" + "fe" * 20,
        feed_round=3,
        nano_usd_per_eth=10**12,
        updated_at=datetime(2026, 11, 2, tzinfo=UTC),
    )
    assert prices.latest_rate() == 10**12
