"""Every door of the house says who may pass, and every role was tried at every door of staff."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import models
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts import roles
from accounts.admin import Guarded
from accounts.models import AuditEntry, Customer, User
from signing.models import Stop
from tests import builders

ROLES = list(roles.ROLES)
# Doors without a guard of ours: to enter, to look into a demo's mailbox, for the provider and for programs, which show
# a key. Whatever is added here lets everybody in.
OPEN_TO_ALL = {
    *("api_docs", "api_schema", "api_schema_json", "stripe_webhook", "mails", "mail", "mail_html"),
    # These ask for a signed-in user themselves.
    *("settings", "save_profile", "choose_customer", "open_account", "accept_invitation"),
}
PACKAGES = ("allauth.", "django.contrib.admin.", "unfold.", "django.views.generic.base")
# What stands for a parameter in a path: the first that its converter takes.
SAMPLES = ["1", "00000000-0000-4000-8000-000000000001", f"{timezone.now():%Y-%m}", "CH-2026-R-000001", "x"]


def doors(patterns: list[Any] | None = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Each path of the site, with examples for its parameters, and its pattern."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":  # the console's rooms have a test of their own
                yield from doors(pattern.url_patterns, prefix + example(pattern.pattern))
        else:
            yield "/" + prefix + example(pattern.pattern), pattern


def example(pattern: Any) -> str:
    text = str(pattern)
    for name, converter in pattern.converters.items():
        fitting = [sample for sample in SAMPLES if re.fullmatch(converter.regex, sample)]
        assert fitting, f"SAMPLES has nothing for <{name}> of {text}"
        value = fitting[0]
        text = text.replace(f"<{pattern_kind(text, name)}{name}>", value)
    return text


def pattern_kind(text: str, name: str) -> str:
    """`int:` of `<int:name>`"""
    before = text[: text.index(f"{name}>")]
    return before[before.rindex("<") + 1 :]


def guard_of(pattern: URLPattern) -> str:
    return str(getattr(pattern.callback, "guard", ""))


STAFF_DOORS = [(path, guard_of(pattern)) for path, pattern in doors() if guard_of(pattern) not in ("", "customer")]


def in_role(*given: str) -> Client:
    client = Client()
    client.force_login(builders.staff(*given))
    return client


def knock(client: Client, path: str) -> int:
    answer = client.get(path)
    answer = client.post(path) if answer.status_code == 405 else answer
    # Some hold a file; closing the answer itself would end the test's own connection.
    for close in getattr(answer, "_resource_closers", []):
        close()
    return answer.status_code


@pytest.fixture(autouse=True)
def _no_second_factor(settings: Settings, static_files: None) -> None:
    settings.STAFF_MFA_REQUIRED = False


# -- the table ---------------------------------------------------------------------------------------------------


def test_the_table_names_known_roles_and_admins_hold_every_right() -> None:
    for right, holders in roles.MATRIX.items():
        assert holders <= set(ROLES), right
        assert roles.ADMIN in holders, right
    assert roles.rights_of([roles.ADMIN]) == set(roles.MATRIX)
    assert roles.rights_of(["nobody", ""]) == frozenset()
    assert roles.rights_of([roles.SUPPORT]) | roles.rights_of([roles.RISK]) == roles.rights_of(
        [roles.SUPPORT, roles.RISK]
    )


def test_no_role_but_admin_touches_prices_or_roles_and_money_belongs_to_finance() -> None:
    for right in ("markups.ask", "markups.decide", "ceilings.ask", "ceilings.decide", "roles.ask", "roles.decide"):
        assert roles.MATRIX[right] == {roles.ADMIN}
    for right in ("refunds.decide", "grants.decide", "adjustments.decide", "bank_transfers.decide", "books.see"):
        assert roles.MATRIX[right] == {roles.FINANCE, roles.ADMIN}


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_a_role_comes_to_its_line_of_the_table_and_to_nothing_else(role: str) -> None:
    person = builders.staff(role)
    assert {right for right in roles.MATRIX if person.has_perm(right)} == roles.rights_of([role])
    for change in ({"is_active": False}, {"is_staff": False}):
        User.objects.filter(pk=person.pk).update(**{"is_active": True, "is_staff": True, **change})
        someone = User.objects.get(pk=person.pk)
        assert not any(map(someone.has_perm, roles.MATRIX)), change


@pytest.mark.django_db
def test_a_superuser_may_what_an_admin_may() -> None:
    root = User.objects.create_superuser("root@example.com", "x" * 12)
    assert all(map(root.has_perm, roles.MATRIX))


# -- the doors ---------------------------------------------------------------------------------------------------


def test_every_door_says_who_may_pass() -> None:
    unguarded = [
        path
        for path, pattern in doors()
        if not guard_of(pattern)
        and pattern.name not in OPEN_TO_ALL
        and not (pattern.callback.__module__ or "").startswith(PACKAGES)
        and not issubclass(getattr(pattern.callback, "cls", object), api_view())
        and not getattr(getattr(pattern.callback, "view_class", object), "__module__", "").startswith(
            ("allauth.", "accounts.entrance", "django.views.generic.base")
        )
    ]
    assert unguarded == []
    assert len(STAFF_DOORS) >= 14


def api_view() -> type[Any]:
    from rest_framework.views import APIView

    return APIView


@pytest.mark.django_db
@pytest.mark.parametrize("role", [*ROLES, "none"])
def test_each_role_opens_its_doors_and_no_other(role: str) -> None:
    client = in_role(*([] if role == "none" else [role]))
    held = roles.rights_of([role])
    for path, right in STAFF_DOORS:
        status = knock(client, path)
        if right in held:
            assert status not in (403, 405), (path, right)
        else:
            assert status == 403, (path, right)


@pytest.mark.django_db
def test_guests_sign_in_first_and_customers_find_every_staff_door_shut() -> None:
    customer = Client()
    customer.force_login(builders.customer().members.get())
    for path, _ in STAFF_DOORS:
        assert knock(customer, path) == 403, path
        assert knock(Client(), path) == 302, path


@pytest.mark.django_db
def test_a_role_opens_nothing_before_the_second_factor(settings: Settings) -> None:
    settings.STAFF_MFA_REQUIRED = True
    client = in_role("admin")
    for path, _ in [*STAFF_DOORS, ("/staff/login/", "")]:
        answer = client.get(path)
        answer = client.post(path) if answer.status_code == 405 else answer
        assert answer.headers.get("Location", "").startswith("/accounts/2fa/"), path


@pytest.mark.django_db
def test_what_staff_were_refused_is_in_the_audit_log() -> None:
    client = in_role("support")
    assert client.get("/finance/").status_code == 403
    assert client.post("/treasury/fund/").status_code == 403
    entries = list(AuditEntry.objects.filter(action="staff.refused").order_by("id"))
    assert [(entry.subject, entry.after) for entry in entries] == [
        ("page:/finance/", {"method": "GET", "right": "books.see"}),
        ("page:/treasury/fund/", {"method": "POST", "right": "treasury.fund"}),
    ]


@pytest.mark.django_db
def test_staff_come_out_where_they_may_be() -> None:
    for role in [*ROLES, "none"]:
        client = in_role(*([] if role == "none" else [role]))
        assert client.get("/", follow=True).status_code == 200, role
        page = client.get("/settings/").content.decode()
        for path, right in (("/treasury/", "treasury.see"), ("/finance/", "books.see"), ("/stops/", "stops.see")):
            assert (f'href="{path}"' in page) == (right in roles.rights_of([role])), (role, path)


# -- the console -------------------------------------------------------------------------------------------------


def rooms() -> list[tuple[type[models.Model], Any]]:
    return sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label)


@pytest.mark.django_db
@pytest.mark.parametrize("role", [*ROLES, "none"])
def test_each_role_sees_its_rooms_of_the_console(role: str) -> None:
    client = in_role(*([] if role == "none" else [role]))
    held = roles.rights_of([role])
    assert client.get(reverse("admin:index")).status_code == (200 if held else 302)
    for model, room in rooms():
        assert isinstance(room, Guarded), model
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        seen = client.get(path).status_code
        assert seen == (200 if room.right in held else 403 if held else 302), (path, room.right)


ADDED = {"PriceCeiling", "Markup", "Recipient", "TaxMode", "TaxRegistration"}
CHANGED = {"Customer", "User", "Recipient"}


@pytest.mark.django_db
@pytest.mark.parametrize("role", [*ROLES, "superuser"])
def test_nobody_writes_in_the_console_but_where_it_is_meant(role: str) -> None:
    request = RequestFactory().get("/staff/")
    request.user = (
        User.objects.create_superuser("root@example.com", "x" * 12) if role == "superuser" else builders.staff(role)
    )
    for model, room in rooms():
        assert not room.has_delete_permission(request), model
        assert room.has_add_permission(request) is False or model.__name__ in ADDED, model
        assert room.has_change_permission(request) is False or model.__name__ in CHANGED, model
        for inline in room.get_inline_instances(request):
            assert not inline.has_add_permission(request, None)
            assert not inline.has_change_permission(request, None)
            assert not inline.has_delete_permission(request, None)


@pytest.mark.django_db
def test_the_console_gives_nobody_a_role(client: Client) -> None:
    person = builders.user()
    client.force_login(User.objects.create_superuser("root@example.com", "x" * 12))
    wish = {"name": "Bo", "is_active": "on", "is_staff": "on", "is_superuser": "on", "groups": ["1", "2"]}
    assert client.post(f"/staff/accounts/user/{person.pk}/change/", wish).status_code == 302
    person.refresh_from_db()
    assert (person.name, person.is_staff, person.is_superuser, person.groups.count()) == ("Bo", False, False, 0)
    assert AuditEntry.objects.get(action="user.changed_by_staff").after == {"name": "Bo", "is_active": True}


# -- what depends on more than the page --------------------------------------------------------------------------


@pytest.mark.django_db
def test_who_may_stop_what_and_who_may_lift_it() -> None:
    owner = builders.customer()
    recipient = "0x" + "ab" * 20
    targets = {"customer": str(owner.pk), "recipient": recipient, "all": ""}
    thrown = {
        "support": {"customer"},
        "finance": {"customer"},
        "treasury": {"customer", "recipient", "all"},
        "risk": {"customer", "recipient", "all"},
    }
    lifted = {"support": set(), "finance": set(), "treasury": {"recipient", "all"}, "risk": set(targets)}
    for role, may in thrown.items():
        client = in_role(role)
        for scope, subject in targets.items():
            wish = {"scope": scope, "subject": subject, "reason": "drill", "typed": "STOP"}
            assert client.post("/stops/throw/", wish).status_code == (302 if scope in may else 403), (role, scope)
            stop = Stop.objects.filter(lifted_at=None).first() or Stop.objects.create(
                scope=scope, subject=subject, reason="drill", set_by=owner.members.get()
            )
            done = client.post(f"/stops/{stop.pk}/lift/").status_code
            assert done == (302 if scope in lifted[role] else 403), (role, scope)
            if done == 403:
                assert in_role("risk").post(f"/stops/{stop.pk}/lift/").status_code == 302
    assert Customer.objects.count() == 1
