"""The console's price ceilings and markups: typed as people speak, kept exactly, added and never changed."""

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.forms import ValidationError
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from psycopg.errors import InsufficientPrivilege
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from accounts import approvals, people
from accounts.models import Approval, AuditEntry, User
from billing.models import Markup
from signing import price_approvals, prices
from signing.models import PriceCeiling
from signing.price_forms import PER, limit
from tests import builders
from tests.browser import DESK, PHONE, Watch, open_browser, overflow
from tests.test_staff_console import address
from tests.treasury_stage import staff_member


@pytest.fixture
def user() -> User:
    return staff_member()


@pytest.fixture
def staff(client: Client, user: User, settings: Settings) -> Client:
    settings.STAFF_MFA_REQUIRED = False
    client.force_login(user)
    return client


def ceiling(**more: Any) -> dict[str, Any]:
    return {"scope": "global", "amount": "1.10", "currency": "usd", "per": "hour", "reason": "contract", **more}


def second_person_agrees() -> None:
    """Approves everything that waits, and lets the worker do it."""
    second = builders.staff("admin")
    for row in Approval.objects.filter(status=Approval.Status.ASKED):
        approvals.decide(row.pk, second, approve=True)
    approvals.carry_out_waiting()
    assert not Approval.objects.exclude(status=Approval.Status.DONE).exists()


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
    assert not PriceCeiling.objects.exists(), "one person alone changes no price"
    assert "waiting for a second person" in staff.get(address(PriceCeiling, "changelist")).content.decode()
    second_person_agrees()
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
        second_person_agrees()
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
        assert answer.headers["Location"].startswith("/approvals/")
        second_person_agrees()
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


def as_role[T](role: str, call: Callable[[], T]) -> T:
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE clearinghouse_{role}")
    try:
        return call()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


def in_cents(limit: int | None, *, user: User, **more: Any) -> PriceCeiling:
    columns = {"scope": "global", "unit": "job", "limit_nano_usd": limit, **more}
    return prices.add_ceiling(user=user, **columns)


@pytest.mark.django_db(transaction=True)
def test_the_database_itself_lets_the_web_lower_a_ceiling_and_nothing_else(user: User) -> None:
    owner = builders.customer()
    in_cents(100, user=user)
    for refused in (
        lambda: prices.add_markup(user=user, customer=None, bps=1, reason="x"),
        lambda: in_cents(101, user=user),
        lambda: in_cents(None, user=user),
        lambda: in_cents(1, user=user, valid_from=timezone.now() + timedelta(days=1)),
        lambda: in_cents(None, user=user, limit_wei=1),
        lambda: in_cents(1, user=user, scope="capability", capability=35),
    ):
        with pytest.raises(DatabaseError) as caught:
            as_role("web", refused)
        assert isinstance(caught.value.__cause__, InsufficientPrivilege)
    assert as_role("web", lambda: in_cents(99, user=user)).pk
    assert as_role("web", lambda: in_cents(99, user=user, scope="customer", customer=owner)).pk
    key = builders.api_key(owner)
    assert as_role("web", lambda: in_cents(9_900, user=user, scope="api_key", api_key=key)).pk
    assert as_role("worker", lambda: prices.add_markup(user=user, customer=None, bps=1, reason="x")).pk
    assert as_role("worker", lambda: in_cents(101, user=user)).pk


@pytest.mark.django_db(transaction=True)
def test_web_asks_a_second_person_decides_and_the_worker_writes_each_with_its_own_rights(user: User) -> None:
    owner, second = builders.customer(), builders.staff("admin")
    joins = builders.user()
    builders.staff("risk")  # the group is there
    wishes: list[tuple[str, dict[str, Any]]] = [
        (price_approvals.MARKUP, price_approvals.markup_payload(customer=owner, bps=100, valid_from=None)),
        (price_approvals.CEILING, price_approvals.ceiling_payload(ONE_DOLLAR, valid_from=None)),
        (people.GIVE, people.payload(joins, "risk")),
    ]
    for kind, payload in wishes:
        row = as_role("web", partial(approvals.ask, kind=kind, payload=payload, reason="x", user=user))
        as_role("web", partial(approvals.decide, row.pk, second, approve=True))
    assert as_role("worker", approvals.carry_out_waiting) == 3
    assert (Markup.objects.get().bps, PriceCeiling.objects.get().limit_nano_usd) == (100, 10**9)
    assert User.objects.get(pk=joins.pk).has_perm("risk.see")
    with pytest.raises(DatabaseError, match="makes nobody staff"):
        as_role("web", lambda: User.objects.filter(is_staff=False).update(is_staff=True))
    with pytest.raises(DatabaseError, match="makes nobody staff"):
        as_role("web", lambda: User.objects.create_superuser("me@example.com", "x" * 12))
    with pytest.raises(DatabaseError):
        as_role("web", lambda: owner.members.get().groups.add(*joins.groups.all()))
    assert as_role("web", lambda: people.take(joins, "risk", actor=user))


ONE_DOLLAR = {"scope": "global", "unit": "job", "limit_wei": None, "limit_nano_usd": 10**9, "per_units": 1}


@pytest.mark.django_db
def test_a_ceiling_that_only_gets_lower_needs_nobody_else(staff: Client, user: User) -> None:
    owner = builders.customer()
    in_cents(1_100_000_000, user=user, unit="second", per_units=3_600)
    cases: list[tuple[dict[str, Any], bool]] = [
        ({"amount": "1.11"}, False),
        ({"amount": "1.10"}, True),
        ({"amount": "1.09"}, True),
        ({"amount": ""}, False),
        ({"amount": "1", "currency": "wei"}, False),
        ({"amount": "1.00", "per": "job"}, False),
        ({"scope": "customer", "customer": owner.pk, "amount": "5"}, True),
        ({"scope": "customer", "customer": owner.pk, "amount": "6"}, False),
        ({"scope": "capability", "capability": 35, "amount": "0.01"}, False),
    ]
    for more, alone in cases:
        rows, asked = PriceCeiling.objects.count(), Approval.objects.count()
        assert staff.post(address(PriceCeiling, "add"), ceiling(**more)).status_code == 302
        made = (PriceCeiling.objects.count() - rows, Approval.objects.count() - asked)
        assert made == ((1, 0) if alone else (0, 1)), more
    risk = Client()
    risk.force_login(builders.staff("risk"))
    rows = PriceCeiling.objects.count()
    assert risk.post(address(PriceCeiling, "add"), ceiling(amount="0.50")).status_code == 302
    assert risk.post(address(PriceCeiling, "add"), ceiling(amount="0.60")).status_code == 403
    assert PriceCeiling.objects.count() == rows + 1
    assert AuditEntry.objects.filter(action="staff.refused", after__right="ceilings.ask").count() == 1


@pytest.mark.django_db
def test_one_person_alone_changes_no_markup_and_what_changed_meanwhile_is_asked_anew(staff: Client, user: User) -> None:
    wish = {"reason": "contract", "percent": "1", "once": "form-1"}
    first = staff.post(address(Markup, "add"), wish).headers["Location"]
    assert staff.post(address(Markup, "add"), wish).headers["Location"] == first
    staff.post(address(Markup, "add"), {**wish, "percent": "2", "once": "form-2"})
    one, two = Approval.objects.order_by("id")
    for row in (one, two):
        with pytest.raises(approvals.OwnRequest):
            approvals.decide(row.pk, user, approve=True)
    approvals.carry_out_waiting()
    assert not Markup.objects.exists()
    second = builders.staff("admin")
    page = Client()
    page.force_login(second)
    shown = page.get(f"/approvals/{one.pk}/").content.decode()
    for words in ("Markup before", "The setting", "1\N{NO-BREAK SPACE}%", "contract"):
        assert words in shown
    approvals.decide(one.pk, second, approve=True)
    approvals.decide(two.pk, second, approve=True)
    assert approvals.carry_out_waiting() == 1
    two.refresh_from_db()
    assert "changed since" in two.error
    assert [row.bps for row in Markup.objects.all()] == [100]


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
