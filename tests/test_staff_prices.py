"""The console's price ceilings and markups: typed as people speak, kept exactly, added and never changed."""

from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from django.db import connection
from django.forms import ValidationError
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import AuditEntry, User
from billing.models import Markup
from signing import prices
from signing.models import PriceCeiling
from signing.price_forms import PER, limit
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.test_staff_console import address
from tests.test_staff_treasury import staff_member


@pytest.fixture
def user() -> User:
    return staff_member()


@pytest.fixture
def staff(client: Client, user: User, settings: Settings) -> Client:
    settings.STAFF_MFA_REQUIRED = False
    client.force_login(user)
    return client


def ceiling(**more: Any) -> dict[str, Any]:
    return {"scope": "global", "amount": "1.10", "currency": "usd", "per": "hour", **more}


@given(
    digits=st.integers(1, 10**18 - 1),
    decimals=st.integers(0, 12),
    per=st.sampled_from(sorted(PER)),
    currency=st.sampled_from(["usd", "wei"]),
)
def test_no_digit_of_what_is_typed_is_lost(digits: int, decimals: int, per: str, currency: str) -> None:
    decimals = min(decimals, 12 if currency == "usd" else 6)
    text = str(digits).zfill(decimals + 1)
    typed = f"{text[: len(text) - decimals]}.{text[len(text) - decimals :]}" if decimals else text
    if currency == "usd" and digits // 10**decimals >= 10**6:
        with pytest.raises(ValidationError):
            limit(typed, currency, per)
        return
    kept = limit(typed, currency, per)
    amount = kept["limit_nano_usd"] if currency == "usd" else kept["limit_wei"]
    assert kept["limit_wei" if currency == "usd" else "limit_nano_usd"] is None
    assert (kept["limit_nano_usd"] or 0) < 2**63
    assert kept["per_units"] < 2**63
    parts = 10**9 if currency == "usd" else 1
    assert Fraction(amount, kept["per_units"]) == Fraction(digits, 10**decimals) * parts / PER[per][1]


@pytest.mark.parametrize(
    "typed", ["-1", "1e3", "1,5", "0", "0.00", "١", "NaN", "1.", ".5", "1234567", "0.1234567890123"]
)
def test_a_price_that_is_none_is_refused(typed: str) -> None:
    with pytest.raises(ValidationError):
        limit(typed, "usd", "hour")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "columns", "words"),
    [
        ({}, ("second", None, 1_100_000_000, 3_600), "$1.10 per hour"),
        ({"amount": "0.0000000036", "per": "pixel"}, ("pixel", None, 36, 10), "$0.0036 per million pixels"),
        ({"amount": "2", "per": "million_pixels"}, ("pixel", None, 2 * 10**9, 10**6), "$2.00 per million pixels"),
        ({"amount": "1212.5", "currency": "wei", "per": "pixel"}, ("pixel", 12_125, None, 10), "1,212.5 wei per pixel"),
        ({"amount": "", "per": "job"}, ("job", None, None, 1), "No ceiling per job"),
    ],
)
def test_staff_add_a_ceiling_in_the_units_people_use(
    staff: Client, user: User, given: dict[str, str], columns: tuple[Any, ...], words: str
) -> None:
    answer = staff.post(address(PriceCeiling, "add"), ceiling(**given))
    assert answer.status_code == 302, answer.content.decode()
    row = PriceCeiling.objects.get()
    assert (row.unit, row.limit_wei, row.limit_nano_usd, row.per_units) == columns
    assert row.made_by == user
    assert prices.limit_text(row) == words
    assert words in staff.get(address(PriceCeiling, "changelist")).content.decode()
    assert words in staff.get(address(PriceCeiling, "change", row.pk)).content.decode()
    entry = AuditEntry.objects.get(action="price_ceiling.added")
    assert (entry.actor, entry.after["limit"], entry.after["subject"]) == (user, words, "Everything")


@pytest.mark.django_db
def test_a_ceiling_names_what_it_is_for(staff: Client) -> None:
    owner = builders.customer("Acme")
    key = builders.api_key(owner)
    subjects: list[tuple[dict[str, Any], str]] = [
        ({"scope": "customer", "customer": owner.pk}, f"Acme (account {owner.pk})"),
        ({"scope": "api_key", "api_key": key.pk}, f"Key {key}"),
        ({"scope": "capability", "capability": 35, "model": "x"}, "Capability 35, model x"),
        ({"scope": "capability", "capability": 35}, "Capability 35"),
    ]
    for more, words in subjects:
        assert staff.post(address(PriceCeiling, "add"), ceiling(**more)).status_code == 302
        assert prices.subject_text(PriceCeiling.objects.order_by("-id")[0]) == words
    made = PriceCeiling.objects.count()
    wrong: list[dict[str, Any]] = [
        {"scope": "customer"},
        {"scope": "api_key", "customer": owner.pk},
        {"scope": "capability", "model": "x"},
        {"scope": "global", "customer": owner.pk},
        {"scope": "customer", "customer": owner.pk, "model": "x"},
        {"amount": "much"},
        {"valid_from_0": "2020-01-01", "valid_from_1": "00:00:00"},
    ]
    for more in wrong:
        answer = staff.post(address(PriceCeiling, "add"), ceiling(**more))
        assert answer.status_code == 200
        assert "Must be" in answer.content.decode(), more
    assert PriceCeiling.objects.count() == made


@pytest.mark.django_db
def test_staff_add_a_markup_in_percent_from_now_or_later_on(staff: Client, user: User) -> None:
    owner = builders.customer("Acme")
    later = timezone.now() + timedelta(days=2)
    at = {"valid_from_0": f"{later:%Y-%m-%d}", "valid_from_1": "12:00:00"}
    for more in (
        {"percent": "12.5"},
        {"percent": "0", "customer": owner.pk, **at},
        {"percent": "", "customer": owner.pk},
    ):
        answer = staff.post(address(Markup, "add"), {"reason": "contract", **more})
        assert answer.status_code == 302, answer.content.decode()
    rows = list(Markup.objects.order_by("id"))
    assert [(row.bps, row.customer, row.made_by) for row in rows] == [
        (1_250, None, user),
        (0, owner, user),
        (None, owner, user),
    ]
    assert rows[1].valid_from.date() == later.date()
    page = staff.get(address(Markup, "changelist")).content.decode()
    assert "12.5" in page
    assert "The default again" in page
    assert AuditEntry.objects.filter(action="markup.added").count() == 3
    for more in ({"percent": "-1"}, {"percent": "1000.01"}, {"percent": "1.234"}, {"percent": "x"}):
        assert staff.post(address(Markup, "add"), {"reason": "contract", **more}).status_code == 200
    assert staff.post(address(Markup, "add"), {"percent": "1", "reason": ""}).status_code == 200
    past = {"valid_from_0": "2020-01-01", "valid_from_1": "00:00:00"}
    assert staff.post(address(Markup, "add"), {"percent": "1", "reason": "x", **past}).status_code == 200
    assert Markup.objects.count() == 3


@pytest.mark.django_db
def test_nobody_changes_or_deletes_a_price(staff: Client, user: User) -> None:
    for row in (
        prices.add_markup(user=user, customer=None, bps=1, reason="x"),
        prices.add_ceiling(user=user, scope="global", unit="job", limit_wei=1),
    ):
        model = type(row)
        assert staff.post(address(model, "change", row.pk), {"percent": "9", **ceiling()}).status_code == 403
        assert staff.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_the_web_s_own_rights_suffice_to_add_prices(user: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE clearinghouse_web")
    try:
        assert prices.add_markup(user=user, customer=None, bps=1, reason="x").pk
        assert prices.add_ceiling(user=user, scope="global", unit="job", limit_wei=1).pk
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


# -- a customer's own ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_customer_sets_the_highest_price_of_a_key_and_of_no_other_s(client: Client) -> None:
    owner, stranger = builders.customer(), builders.customer()
    key, other = builders.api_key(owner), builders.api_key(stranger)
    client.force_login(owner.members.get())
    path = f"/keys/{key.pk}/prices/"
    assert path in client.get(f"/keys/{key.pk}/").content.decode()
    assert "No highest price" in client.get(path).content.decode()
    given = {"amount": "1.10", "currency": "usd", "per": "hour"}
    assert client.post(path, given).status_code == 302
    assert client.post(path, {**given, "amount": "0.90"}).status_code == 302
    page = client.get(path).content.decode()
    assert page.index("$0.90 per hour") < page.index("$1.10 per hour")
    assert (page.count("Holds"), page.count("Replaced")) == (1, 1)
    row = PriceCeiling.objects.latest("id")
    assert (row.scope, row.api_key, row.limit_nano_usd, row.per_units) == ("api_key", key, 900_000_000, 3_600)
    assert AuditEntry.objects.filter(action="price_ceiling.added", customer=owner).count() == 2
    answer = client.post(path, {**given, "amount": "a lot"})
    assert answer.status_code == 422
    assert "Must be a number" in answer.content.decode()
    assert client.post(f"/keys/{other.pk}/prices/", given).status_code == 404
    key.revoked_at = timezone.now()
    key.save()
    assert client.post(path, given).status_code == 200
    assert PriceCeiling.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_price_pages_fit_a_phone_and_a_desk(live_server: LiveServer, user: User, settings: Settings) -> None:
    settings.STAFF_MFA_REQUIRED = False
    owner = builders.customer("Example Gateway")
    key = builders.api_key(owner)
    prices.add_ceiling(
        user=user, scope="api_key", api_key=key, unit="second", limit_nano_usd=11 * 10**8, per_units=3_600
    )
    prices.add_markup(user=user, customer=owner, bps=1_000, reason="Contract of November")
    seen = [
        (owner.members.get(), [f"/keys/{key.pk}/", f"/keys/{key.pk}/prices/"]),
        (user, [address(model, page) for model in (PriceCeiling, Markup) for page in ("changelist", "add")]),
    ]
    with open_browser() as browser:
        for person, paths in seen:
            signed_in = Client()
            signed_in.force_login(person)
            for size in (PHONE, DESK):
                context = browser.new_context(viewport=size)
                value = signed_in.cookies["sessionid"].value
                context.add_cookies([{"name": "sessionid", "value": value, "url": live_server.url}])
                page = context.new_page()
                watch = Watch(page, origin=live_server.url)
                for path in paths:
                    page.goto(live_server.url + path)
                    assert overflow(page) == [], path
                assert watch.troubles == []
                context.close()
