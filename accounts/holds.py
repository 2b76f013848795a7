"""Holds: each is a reason why an account is frozen; placed and lifted once, both with an entry in the audit log."""

from collections.abc import Sequence

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts import audit, hold_letters, notices
from accounts.models import Customer, Hold, User

Code = Hold.Code


def place(
    *, customer: Customer, code: str, reference: str, reason: str, user: User | None = None, tell: bool = True
) -> Hold | None:
    """Freezes the account; every signer refuses its keys within two seconds.

    None when the reference was held before: what somebody lifted is not placed again by a late event. The owners get
    a letter when this hold froze the account; whoever has a letter of his own for it says `tell=False`.
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
        if tell and not standing(customer).exclude(pk=hold.pk).exists() and not _is_closed(customer):
            notices.write(
                customer, reference=f"hold:{hold.pk}:placed", letter=hold_letters.placed(customer, code=hold.code)
            )
    return hold


def lift(hold: Hold, *, reason: str, user: User | None = None, tell: bool = True) -> bool:
    """The account thaws with its last hold, and its owners get a letter; False when somebody was first."""
    with transaction.atomic():
        lifted = bool(
            _call("SELECT accounts_lift_hold(%s, %s, %s)", [hold.pk, reason[:500], user.pk if user else None])
        )
        if lifted:
            _note("hold.lifted", hold, user, reason)
            if tell and is_active(hold.customer):
                letter = hold_letters.lifted(hold.customer)
                notices.write(hold.customer, reference=f"hold:{hold.pk}:lifted", letter=letter)
    return lifted


def lift_reference(reference: str, *, reason: str, tell: bool = True) -> bool:
    """What the product placed, it lifts by the same reference; False when none stands."""
    hold = Hold.objects.filter(reference=reference, lifted_at=None).select_related("customer").first()
    return hold is not None and lift(hold, reason=reason, tell=tell)


def standing(customer: Customer) -> QuerySet[Hold]:
    """Why the account is frozen, the newest reason first."""
    return Hold.objects.filter(customer=customer, lifted_at=None).select_related("placed_by").order_by("-id")


def is_active(customer: Customer) -> bool:
    """As it is in the database now, neither frozen nor closed."""
    return Customer.objects.filter(pk=customer.pk, status=Customer.Status.ACTIVE).exists()


def _is_closed(customer: Customer) -> bool:
    return Customer.objects.filter(pk=customer.pk, status=Customer.Status.CLOSED).exists()


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
