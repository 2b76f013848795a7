"""Signs of fraud: each is written once with a plain reason and a weight; heavy ones hold the account at once."""

import logging

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts import holds
from accounts.models import Customer, User
from billing.models import FraudSignal

log = logging.getLogger(__name__)

Code = FraudSignal.Code
# How much each sign weighs; 100 are enough to hold an account (RISK_HOLD_SCORE).
SCORES: dict[str, int] = {
    Code.SHARED_CARD: 40,
    Code.MANY_CARDS: 20,
    Code.CARD_COUNTRY: 20,
    Code.LOCATION: 5,
    Code.BLOCKED_COUNTRY: 100,
    Code.SIGN_UPS: 30,
    Code.ALIAS_ADDRESS: 30,
    Code.DISPOSABLE_MAIL: 30,
    Code.FRAUD_WARNING: 80,
    Code.INQUIRY: 30,
    Code.DISPUTE: 25,
    Code.DISPUTE_LOST: 40,
    Code.DEBT: 20,
}


def note(customer: Customer, *, code: str, reference: str, reason: str) -> bool:
    """Writes the sign down, once per reference; an account whose signs weigh enough is held. False when known."""
    with transaction.atomic():
        before = FraudSignal.objects.filter(reference=reference).exists()
        if before:
            return False
        signal = FraudSignal(customer=customer, code=code, reference=reference, reason=reason[:300], score=SCORES[code])
        FraudSignal.objects.bulk_create([signal], ignore_conflicts=True)
        total = score(customer)
        if total >= settings.RISK_HOLD_SCORE:
            holds.place(
                customer=customer,
                code=holds.Code.FRAUD,
                reference=_hold(reference),
                reason=f"Signs of fraud weigh {total}; the last one: {reason}",
            )
    return True


def score(customer: Customer) -> int:
    """The weight of all signs that nobody dismissed."""
    counted = FraudSignal.objects.filter(customer=customer, dismissed_at=None)
    total: int | None = counted.aggregate(total=Sum("score"))["total"]
    return total or 0


def clear(reference: str, *, reason: str) -> None:
    """What turned out well no longer counts, and the hold that it brought about ends, unless the rest is enough for it.

    Whoever clears a sign writes the letter.
    """
    with transaction.atomic():
        for signal in FraudSignal.objects.filter(reference=reference, dismissed_at=None).select_related("customer"):
            signal.dismissed_at, signal.dismiss_reason = timezone.now(), reason[:300]
            signal.save(update_fields=["dismissed_at", "dismiss_reason"])
            if score(signal.customer) < settings.RISK_HOLD_SCORE:
                holds.lift_reference(_hold(reference), reason=reason, tell=False)


def dismiss(signal: FraudSignal, *, user: User, reason: str) -> bool:
    """The sign no longer counts; False when somebody was first."""
    values = {"dismissed_at": timezone.now(), "dismissed_by": user, "dismiss_reason": reason[:300]}
    return bool(FraudSignal.objects.filter(id=signal.id, dismissed_at=None).update(**values))


def _hold(reference: str) -> str:
    """The name of the hold that a sign brought about."""
    return f"fraud:{reference}"
