"""What every page's shell needs to know: where one is, who one is, and which doors there are."""

import contextlib
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string

from accounts import access, approvals
from accounts.models import Membership, User


@dataclass(frozen=True, kw_only=True)
class Door:
    """A link of the shell; `here` when the page lies behind it."""

    url: str
    icon: str
    label: str
    short: str
    here: bool
    waiting: int = 0


@dataclass(frozen=True, kw_only=True)
class Shell:
    """The frame around a signed-in page."""

    groups: list[tuple[str, list[Door]]]
    tabs: list[Door]
    rest: list[Door]
    foot: list[Door]
    settings: Door
    membership: Membership | None
    seats: list[Membership]


WORK = [
    ("overview", "home", "Overview"),
    ("usage", "bars", "Usage"),
    ("orchestrators", "live", "Orchestrators"),
    ("api_keys", "key", "API keys"),
]
MONEY = [
    ("wallet", "wallet", "Wallet"),
    ("budgets", "lock", "Budgets"),
    ("statements", "doc", "Statements"),
    ("documents", "ticket", "Documents"),
]
STAFF = [  # with the right that each asks for
    ("approvals.open", ("approvals", "okc", "Approvals")),
    ("treasury.see", ("treasury", "vault", "Treasury")),
    ("books.see", ("finance", "ledger", "Finance")),
    ("refunds.see", ("staff_refunds", "card", "Refunds")),
    ("stops.see", ("stops", "lock", "Kill switch")),
    ("risk.see", ("risk", "shield", "Risk")),
    ("recipients.see", ("recipients", "ticket", "Recipients")),
    ("grants.see", ("credits", "wallet", "Credits")),
    ("people.see", ("people", "people", "Staff")),
    ("audit.see", ("audit_log", "log", "Audit log")),
    ("console.open", ("admin:index", "home", "Console")),
]
SETTINGS = ("settings", "gear", "Settings")
FOOT = [("api_docs", "book", "API docs"), SETTINGS]
SHORT = {"API keys": "Keys"}
TABS = {
    "customer": ["Overview", "Usage", "API keys", "Wallet"],
    "staff": ["Approvals", "Treasury", "Finance", "Kill switch"],
}


def _door(request: HttpRequest, name: str, icon: str, label: str) -> Door:
    url = reverse(name)
    here = request.path == url or (url != "/" and request.path.startswith(url))
    if name == "settings":  # the pages about one's own sign-in belong to the settings
        here = here or request.path.startswith("/accounts/")
    waiting = 0
    if name == "approvals" and isinstance(request.user, User):
        waiting = approvals.waiting_for(request.user).count()
    elif name in settings.STAFF_WAITING:
        waiting = import_string(settings.STAFF_WAITING[name])()
    return Door(url=url, icon=icon, label=label, short=SHORT.get(label, label), here=here, waiting=waiting)


def _doors(request: HttpRequest, entries: list[tuple[str, str, str]]) -> list[Door]:
    doors = []
    for entry in entries:
        with contextlib.suppress(NoReverseMatch):  # a house without this room has no door to it
            doors.append(_door(request, *entry))
    return doors


def _shell(request: HttpRequest) -> Shell:
    membership = access.membership_of(request)
    groups: list[tuple[str, list[Door]]] = []
    if membership:
        groups += [("", _doors(request, WORK)), ("Money", _doors(request, MONEY))]
    if request.user.is_staff:
        allowed = [entry for right, entry in STAFF if request.user.has_perm(right)]
        groups.append(("Staff" if membership else "", _doors(request, allowed)))
    doors = [door for _, group in groups for door in group]
    wanted = TABS["customer" if membership else "staff"]
    seats = []
    if membership:
        seats = list(
            Membership.objects.filter(user=membership.user_id).select_related("customer").order_by("customer__name")
        )
    return Shell(
        groups=groups,
        tabs=[door for door in doors if door.label in wanted],
        rest=[door for door in doors if door.label not in wanted],
        foot=_doors(request, FOOT),
        settings=_door(request, *SETTINGS),
        membership=membership,
        seats=seats,
    )


def shell(request: HttpRequest) -> dict[str, Any]:
    """`shell` (only worked out by templates that show it) and `mail_page`, whether the demo's mails can be read."""
    return {"shell": SimpleLazyObject(lambda: _shell(request)), "mail_page": settings.MAIL_PAGE}
