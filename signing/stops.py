"""Kill switches: throwing one and lifting it, each with an entry in the audit log."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import ApiKey, Customer, User
from signing.models import SenderPin, Stop


class AlreadyStopped(Exception):
    """A stop of the same thing stands."""


def throw(*, scope: str, subject: str, reason: str, user: User) -> Stop:
    """Every signer refuses what it names within two seconds. Raises AlreadyStopped."""
    try:
        with transaction.atomic(durable=True):
            stop = Stop.objects.create(scope=scope, subject=subject, reason=reason, set_by=user)
            _note(stop, user, "stop.set", after={"scope": scope, "subject": subject, "reason": reason})
    except IntegrityError as error:
        raise AlreadyStopped from error
    return stop


def lift(stop: Stop, *, user: User) -> bool:
    """False when somebody was first."""
    with transaction.atomic(durable=True):
        lifted = Stop.objects.filter(pk=stop.pk, lifted_at=None).update(lifted_at=Now(), lifted_by=user)
        if lifted:
            _note(stop, user, "stop.lifted", before={"scope": stop.scope, "subject": stop.subject})
    return lifted == 1


def standing() -> QuerySet[Stop]:
    """What is stopped now, the newest first."""
    return Stop.objects.filter(lifted_at=None).select_related("set_by").order_by("-set_at", "-id")


def lifted(*, limit: int) -> QuerySet[Stop]:
    """What was stopped before, the last lifted first."""
    found = Stop.objects.exclude(lifted_at=None).select_related("set_by", "lifted_by")
    return found.order_by("-lifted_at", "-id")[:limit]


def customer_of(scope: str, subject: str) -> Customer | None:
    """Whose payments a stop of a customer or a key ends."""
    if scope == Stop.Scope.CUSTOMER:
        return Customer.objects.filter(pk=subject).first()
    if scope == Stop.Scope.API_KEY:
        key = ApiKey.objects.filter(pk=subject).select_related("customer").first()
        return key.customer if key else None
    return None


def stops_customer(customer_id: int) -> bool:
    """Whether nothing is signed for this customer: nobody is charged for what he cannot use."""
    return first_of_customer(customer_id) is not None


def first_of_customer(customer_id: int) -> Stop | None:
    """The oldest stop that stands of all signing, of this customer's, or of the sender that signs for him."""
    named = Q(scope=Stop.Scope.ALL) | Q(scope=Stop.Scope.CUSTOMER, subject=str(customer_id))
    named |= Q(scope=Stop.Scope.SENDER, subject__in=SenderPin.objects.filter(customer=customer_id).values("address"))
    return Stop.objects.filter(named, lifted_at=None).order_by("set_at", "id").first()


def _note(stop: Stop, user: User, action: str, **change: dict[str, Any]) -> None:
    customer = customer_of(stop.scope, stop.subject)
    audit.write(action, subject=f"stop:{stop.pk}", actor=user, customer=customer, **change)
