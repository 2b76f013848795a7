"""The roles of staff: given with a second person's approval, taken away by one alone."""

from typing import Any

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts import audit, roles
from accounts.approvals import Kind, NotPossible
from accounts.models import Approval, User

GIVE = "accounts.role"


def staff() -> QuerySet[User]:
    """Everybody with a key to a staff page, the active first."""
    found = User.objects.filter(Q(is_staff=True) | Q(is_superuser=True)).prefetch_related("groups")
    return found.order_by("-is_active", "name", "email")


def roles_of(user: User) -> list[str]:
    """The names of a person's roles, in the order of the table."""
    held = {group.name for group in user.groups.all()}
    return [role for role in roles.ROLES if role in held]


def give(user: User, role: str, *, actor: User | None) -> None:
    """Makes somebody staff with this role. Called by the worker after an approval, or from a terminal."""
    before = roles_of(user)
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    _note("role.given", user, actor, before=before)


def take(user: User, role: str, *, actor: User) -> bool:
    """Takes a role away, at once; who keeps none is staff no more. False when it was gone. Raises NotPossible."""
    with transaction.atomic(durable=True):
        people = User.objects.select_for_update().filter(is_staff=True).order_by("pk")
        admins = [
            each.pk
            for each in people
            if each.is_active and (each.is_superuser or roles.ADMIN in roles_of(each)) and each.pk != user.pk
        ]
        before = roles_of(user)
        if role not in before:
            return False
        if role == roles.ADMIN and len(admins) < 1:
            raise NotPossible("This is the last admin. Give somebody else the role first.")
        user.groups.remove(Group.objects.get(name=role))
        if before == [role] and not user.is_superuser:
            User.objects.filter(pk=user.pk).update(is_staff=False)
        _note("role.taken", user, actor, before=before)
    return True


def payload(user: User, role: str) -> dict[str, Any]:
    """What a request for a role holds; `before` are the roles at that time, which must be the same when it is done."""
    return {"user": user.pk, "role": role, "before": roles_of(user)}


def describe(payload: dict[str, Any]) -> list[tuple[str, str]]:
    person = User.objects.filter(pk=payload["user"]).first()
    if person is None:
        return [("Person", "Nobody")]
    return [
        ("Person", f"{person.name} ({person.email})" if person.name else person.email),
        ("Roles before", ", ".join(payload["before"]) or "None"),
        ("Role to give", payload["role"]),
        ("What it may", roles.ROLES.get(payload["role"], "Nothing")),
    ]


def check(payload: dict[str, Any]) -> None:
    person = User.objects.filter(pk=payload["user"], is_active=True).first()
    if person is None:
        raise NotPossible("There is no active person with this address.")
    if payload["role"] not in roles.ROLES:
        raise NotPossible("There is no such role.")
    if person.is_staff and payload["role"] in roles_of(person):
        raise NotPossible("This person has the role already.")
    if roles_of(person) != payload["before"]:
        raise NotPossible("The roles were changed since this was asked for. Ask again from what holds now.")


def carry_out(approval: Approval) -> None:
    person = User.objects.get(pk=approval.payload["user"])
    if approval.decided_by_id == person.pk:
        raise NotPossible("Nobody decides on a role of his own.")
    give(person, approval.payload["role"], actor=approval.asked_by)


def _note(action: str, user: User, actor: User | None, *, before: list[str]) -> None:
    after = roles_of(User.objects.get(pk=user.pk))
    audit.write(action, subject=f"user:{user.pk}", actor=actor, before={"roles": before}, after={"roles": after})


KINDS = {
    GIVE: Kind(
        title="Role",
        ask_permission="roles.ask",
        decide_permission="roles.decide",
        describe=describe,
        check=check,
        carry_out=carry_out,
    )
}
