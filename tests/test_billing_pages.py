"""The customer's pages: what they say, whom they let in, how they look, and how fast they are with many payments."""

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiKey, Customer
from billing import ledger, tasks, topups
from billing.models import TopUp, Usage
from billing.templatetags.work import kind_word, work_name
from sandbox.psp.client import Psp, running_psp
from signing.models import ChainEvent, Redemption
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow

ORCHESTRATOR = "0x" + "0a" * 20
ONE_IN_TEN_MILLION = (2**256 - 1) // 10_000_000
SECRET = "whsec_sandbox"


@pytest.fixture
def member(client: Client, payer: Customer) -> Client:
    client.force_login(payer.members.get())
    return client


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


def opened(
    payer: Customer, key: ApiKey, *, app: str = "daydream", ago: timedelta = timedelta(), at_random: bool = False
) -> uuid.UUID:
    """A session of the signer, as its commit leaves it; `at_random` was numbered so, as sessions of before were."""
    at = timezone.now() - ago
    session_id = uuid.uuid4()
    if not at_random:
        session_id = uuid.UUID(f"{int(at.timestamp() * 1000):012x}7{session_id.hex[13:]}")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO signing_session VALUES (%s, %s, %s, %s, %s, 'https://orch:8935', %s, %s, 'live', 'm', 3,"
            " '\\x01', 3, '0/1', 100, 1, %s, %s, '\\x02', '\\x03', '\\x04', '\\x05')",
            [payer.pk, session_id, key.pk, "0x" + "5e" * 20, ORCHESTRATOR, ORCHESTRATOR, app, at, timezone.now()],
        )
    return session_id


def paid(payer: Customer, key: ApiKey, session_id: uuid.UUID, *, tickets: int = 3, app: str = "daydream") -> int:
    """A payment of the session with its tickets; returns the id of its charge."""
    face_value = 36_100_000_000_000_000
    cost = -(-face_value * ONE_IN_TEN_MILLION * tickets // (2**256 - 1))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_id FROM billing_debit(%s, %s, %s, %s, 'live', %s, %s, 'ticket', 10, %s, %s, %s, 800)",
            [payer.pk, key.pk, session_id, app, ORCHESTRATOR, tickets, cost, cost, builders.rate(3_128_440_000_000)],
        )
        (usage_id,) = cursor.fetchone()
        assert usage_id is not None
        cursor.execute(
            "INSERT INTO signing_payment (customer_id, session_id, usage_id, sender, recipient, recipient_rand_hash,"
            " first_nonce, tickets, face_value_wei, win_prob, creation_round, creation_round_block_hash)"
            " VALUES (%s, %s, %s, %s, %s, uuid_send(%s), 7, %s, %s, %s, 3400, '\\xbb')",
            [
                *(payer.pk, session_id, usage_id, "0x" + "5e" * 20, ORCHESTRATOR),
                *(uuid.uuid4(), tickets, face_value, ONE_IN_TEN_MILLION),
            ],
        )
    return int(usage_id)


def redeemed(payer: Customer, charge_id: int) -> Redemption:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM signing_payment WHERE usage_id = %s", [charge_id])
        (payment_id,) = cursor.fetchone()
    event = ChainEvent.objects.create(
        chain_id=1,
        block_number=9,
        block_hash="0x" + "b1" * 32,
        block_time=timezone.now(),
        tx_hash="0x" + "7a" * 32,
        log_index=1,
        sender="0x" + "5e" * 20,
        name="WinningTicketRedeemed",
        arguments={},
        booked_at=timezone.now(),
    )
    return Redemption.objects.create(
        event=event,
        ticket_hash="0x" + "71" * 32,
        sender="0x" + "5e" * 20,
        recipient=ORCHESTRATOR,
        face_value_wei=36_100_000_000_000_000,
        paid_wei=36_100_000_000_000_000,
        payment_id=payment_id,
        customer=payer,
        sender_nonce=8,
    )


def text_of(answer: Any) -> str:
    """What a person reads: no tags, one space between words."""
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", "", answer.content.decode(), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", "", page).replace("&#x27;", "'").split())


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/usage/", "/wallet/", "/statements/"])
def test_a_new_account_is_told_what_to_do_first_on_every_page(member: Client, path: str) -> None:
    answer = member.get(path)
    assert answer.status_code == 200
    words = text_of(answer)
    first_steps = {
        "/": "Three steps to the first payment",
        "/usage/": "make a key and point a gateway at the signer",
        "/wallet/": "Choose an amount to make the first one",
        "/statements/": "Running",
    }
    assert first_steps[path] in words


@pytest.mark.django_db
def test_the_first_steps_make_room_for_sessions_with_the_first_payment(member: Client, payer: Customer) -> None:
    builders.top_up(payer, 100)
    key = builders.api_key(payer)
    before = text_of(member.get("/", headers={"HX-Request": "true"}))
    assert "Done: $100.00 can be spent" in before
    assert "Copy the lines for your client" in before
    assert "Live sessions" not in before
    paid(payer, key, opened(payer, key))
    after = text_of(member.get("/", headers={"HX-Request": "true"}))
    assert "Three steps" not in after
    assert "Live sessions" in after


@pytest.mark.django_db
def test_work_is_called_by_its_name_and_its_kind_in_words(member: Client, payer: Customer) -> None:
    builders.top_up(payer, 100)
    key = builders.api_key(payer)
    session_id = opened(payer, key)
    charge = Usage.objects.get(id=paid(payer, key, session_id))
    for path in ("/", "/usage/"):
        words = text_of(member.get(path))
        assert re.search(f"{work_name(charge.label, charge.kind)} ?{kind_word(charge.kind)}", words)
    assert (work_name("", "lv2v"), work_name("", ""), kind_word("new")) == ("Live video to video", "Transcoding", "new")


@pytest.mark.django_db
def test_pages_open_to_members_alone_and_show_only_their_own(member: Client, payer: Customer) -> None:
    other = builders.customer("Other")
    builders.top_up(other, 77)
    key = builders.api_key(other)
    session_id = opened(other, key)
    charge_id = paid(other, key, session_id)
    top_up = TopUp.objects.get()
    month = f"{timezone.now():%Y-%m}"
    foreign = [
        f"/usage/{session_id}/",
        f"/usage/{session_id}/payments/{charge_id}/",
        f"/wallet/top-ups/{top_up.id}/",
        "/statements/2020-01/",
    ]
    assert [member.get(path).status_code for path in foreign] == [404] * len(foreign)
    own = ["/", "/usage/", "/usage/payments.csv", "/wallet/", f"/statements/{month}/", f"/statements/{month}.csv"]
    for path in own:
        assert member.get(path).status_code == 200
        assert "77.00" not in str(member.get(path))
        assert Client().get(path).status_code == 302
    assert Client().post("/wallet/top-ups/").status_code == 302


@pytest.mark.django_db
def test_a_session_tells_every_payment_and_the_sum_behind_each(member: Client, payer: Customer) -> None:
    builders.top_up(payer, 100)
    key = builders.api_key(payer)
    session_id = opened(payer, key)
    charges = [paid(payer, key, session_id, tickets=n) for n in (1, 3)]
    charge = Usage.objects.get(id=charges[1])

    page = text_of(member.get(f"/usage/{session_id}/"))
    assert "No winner redeemed so far" in page
    assert "Live" in page
    drawer = text_of(member.get(f"/usage/{session_id}/payments/{charge.id}/", headers={"hx-request": "true"}))
    exact = f"${charge.charge_nano_usd / 10**9:.9f}"
    assert drawer.count(exact) == 2
    for words in (
        "3 tickets",
        "1 in 10 million",
        "1 in 10,000,000",
        "10.83 gwei",
        "$3,128.44",
        "8\N{NO-BREAK SPACE}%".replace("\N{NO-BREAK SPACE}", " "),
        "No winner redeemed so far; tickets can be redeemed until round 3,401",
        "7 to 9",
    ):
        assert words in drawer, words
    assert "<html" in member.get(f"/usage/{session_id}/payments/{charge.id}/").content.decode()

    redeemed(payer, charge.id)
    drawer = text_of(member.get(f"/usage/{session_id}/payments/{charge.id}/"))
    assert "The ticket with sender nonce 8 won" in drawer
    assert "No winner" not in drawer
    assert "0.0361 ETH" in text_of(member.get("/"))
    assert "Booked" in text_of(member.get(f"/usage/{session_id}/"))


@pytest.mark.django_db
def test_the_overview_says_what_is_left_and_how_long_it_lasts(member: Client, payer: Customer) -> None:
    builders.top_up(payer, 100)
    key = builders.api_key(payer)
    session_id = opened(payer, key)
    paid(payer, key, session_id)
    words = text_of(member.get("/"))
    assert "$99.99" in words
    assert "More than a month at this pace" in words
    assert "1 running" in words
    assert "daydream" in words
    part = member.get("/", headers={"hx-request": "true"})
    assert "<html" not in part.content.decode()
    assert "Balance" in text_of(part)


@pytest.mark.django_db
@pytest.mark.parametrize("numbered_by_time", [0, 12, 28, 40])
def test_sessions_can_be_paged_and_filtered_by_key_and_time(
    member: Client, payer: Customer, numbered_by_time: int
) -> None:
    builders.top_up(payer, 100)
    one, two = builders.api_key(payer), builders.api_key(payer)
    for n in range(30):
        opened(payer, one, app=f"app-{n:02}", ago=timedelta(minutes=n), at_random=n >= numbered_by_time)
    opened(payer, two, app="from-the-other-key")
    opened(payer, one, app="last-week", ago=timedelta(days=3), at_random=numbered_by_time < 40)
    first = member.get("/usage/").content.decode()
    older = re.search(r'href="(\?[^"]*before[^"]*)"', first)
    assert older
    second = member.get("/usage/" + older[1].replace("&amp;", "&")).content.decode()
    names = re.findall(r"app-\d\d|from-the-other-key", first) + re.findall(r"app-\d\d", second)
    assert names == ["from-the-other-key", *(f"app-{n:02}" for n in range(30))]
    assert "last-week" not in first + second
    assert "from-the-other-key" in member.get(f"/usage/?key={two.prefix}").content.decode()
    assert "app-00" not in member.get(f"/usage/?key={two.prefix}").content.decode()
    for nonsense in ("?before=x", "?before=2026-01-01 x", "?range=all&key=ch_live_nobody", "?before=%00"):
        assert member.get("/usage/" + nonsense).status_code == 200


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
def test_a_statement_page_agrees_with_the_wallet_and_gives_its_files(member: Client, payer: Customer) -> None:
    builders.top_up(payer, 100)
    key = builders.api_key(payer)
    charge_id = paid(payer, key, opened(payer, key))
    ledger.post_usage()
    month = f"{timezone.now():%Y-%m}"
    words = text_of(member.get(f"/statements/{month}/"))
    assert "Agrees" in words
    assert f"${Usage.objects.get(id=charge_id).charge_nano_usd / 10**9:.9f}" in words
    assert "not a tax invoice" in words
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
