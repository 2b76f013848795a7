"""Holds: each is a reason why an account is frozen; placed and lifted once, both with an entry in the audit log."""

from collections.abc import Sequence

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.models import Customer, Hold, User

Code = Hold.Code


def place(*, customer: Customer, code: str, reference: str, reason: str, user: User | None = None) -> Hold | None:
    """Freezes the account; every signer refuses its keys within two seconds.

    None when the reference was held before: what somebody lifted is not placed again by a late event.
    """
    with transaction.atomic():
        placed = _call(
            "SELECT accounts_place_hold(%s, %s, %s, %s, %s)",
            [customer.pk, code, reference, reason[:500], user.pk if user else None],
        )
        if placed is None:
            return None
        hold = Hold.objects.get(pk=placed)
        _note("hold.placed", hold, user, reason)
    return hold


def lift(hold: Hold, *, reason: str, user: User | None = None) -> bool:
    """The account thaws with its last hold; False when somebody was first."""
    with transaction.atomic():
        lifted = bool(
            _call("SELECT accounts_lift_hold(%s, %s, %s)", [hold.pk, reason[:500], user.pk if user else None])
        )
        if lifted:
            _note("hold.lifted", hold, user, reason)
    return lifted


def lift_reference(reference: str, *, reason: str) -> bool:
    """What the product placed, it lifts by the same reference; False when none stands."""
    hold = Hold.objects.filter(reference=reference, lifted_at=None).first()
    return hold is not None and lift(hold, reason=reason)


def standing(customer: Customer) -> QuerySet[Hold]:
    """Why the account is frozen, the newest reason first."""
    return Hold.objects.filter(customer=customer, lifted_at=None).select_related("placed_by").order_by("-id")


def _note(action: str, hold: Hold, user: User | None, reason: str) -> None:
    audit.write(
        action,
        subject=f"hold:{hold.pk}",
        actor=user,
        customer=hold.customer,
        after={"code": hold.code, "reference": hold.reference, "reason": reason},
    )


def _call(statement: str, parameters: Sequence[str | int | None]) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])
