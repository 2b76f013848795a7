"""The pages of an account's work: its first steps, sessions, each payment and the sum behind it, for members alone."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Customer
from billing.models import TopUp, Usage
from billing.templatetags.work import kind_word, work_name
from tests import builders
from tests.pages_stage import member, opened, paid, redeemed, text_of

__all__ = ["member"]


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
def test_pages_open_to_members_alone_and_show_only_their_own(member: Client, payer: Customer, one_day: None) -> None:
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
