"""Markups and price ceilings need a second person; a ceiling that only gets lower does not."""

from datetime import datetime
from fractions import Fraction
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import moments
from accounts.approvals import Kind, NotPossible
from accounts.models import ApiKey, Approval, Customer
from billing.models import Markup
from signing import prices
from signing.models import PriceCeiling

MARKUP, CEILING = "signing.markup", "signing.price_ceiling"
SUBJECT = ("scope", "capability", "model", "customer", "api_key")
LIMIT = ("unit", "limit_wei", "limit_nano_usd", "per_units")
_CHANGED = "It was changed since this was asked for. Ask again from what holds now."


# -- markups -----------------------------------------------------------------------------------------------------


def markup_payload(*, customer: Customer | None, bps: int | None, valid_from: datetime | None) -> dict[str, Any]:
    """What a request for a markup holds; `before` is the row in force, which must still be in force when it is done."""
    before = _markup_in_force(customer.pk if customer else None)
    return {
        "customer": customer.pk if customer else None,
        "bps": bps,
        "valid_from": valid_from.isoformat() if valid_from else None,
        "before": before.pk if before else None,
    }


def describe_markup(payload: dict[str, Any]) -> list[tuple[str, str]]:
    customer = Customer.objects.filter(pk=payload["customer"]).first() if payload["customer"] else None
    before = Markup.objects.filter(pk=payload["before"]).first() if payload["before"] else None
    nothing = "The default" if payload["customer"] else "The setting"
    after = Markup(customer_id=payload["customer"], bps=payload["bps"])
    return [
        ("For", f"{customer.name} (account {customer.pk})" if customer else "All customers without their own"),
        ("Markup before", prices.markup_text(before) if before else nothing),
        ("Markup after", prices.markup_text(after)),
        ("In force from", _from_text(payload)),
    ]


def check_markup(payload: dict[str, Any]) -> None:
    if payload["bps"] is not None and not 0 <= payload["bps"] <= 100_000:
        raise NotPossible("A markup is between 0 and 1,000 percent.")
    before = _markup_in_force(payload["customer"])
    if (before.pk if before else None) != payload["before"]:
        raise NotPossible(_CHANGED)


def carry_out_markup(approval: Approval) -> None:
    payload = approval.payload
    prices.add_markup(
        user=approval.asked_by,
        customer=Customer.objects.get(pk=payload["customer"]) if payload["customer"] else None,
        bps=payload["bps"],
        reason=approval.reason[:200],
        valid_from=_later(payload),
    )


def _markup_in_force(customer_id: int | None) -> Markup | None:
    whose = Q(customer_id=customer_id) if customer_id else Q(customer=None)
    found = Markup.objects.filter(whose, valid_from__lte=timezone.now())
    return found.order_by("-valid_from", "-id").first()


# -- ceilings ----------------------------------------------------------------------------------------------------


def ceiling_payload(given: dict[str, Any], *, valid_from: datetime | None) -> dict[str, Any]:
    """What a request for a ceiling holds; `given` are its columns, people and keys as rows."""
    payload = {name: given.get(name) for name in (*SUBJECT, *LIMIT)}
    payload["model"] = payload["model"] or ""
    for name in ("customer", "api_key"):
        row: Customer | ApiKey | None = payload[name]
        payload[name] = row.pk if row else None
    payload["valid_from"] = valid_from.isoformat() if valid_from else None
    before = _ceiling_in_force(payload)
    return {**payload, "before": before.pk if before else None}


def is_lower(payload: dict[str, Any]) -> bool:
    """Whether nobody pays more for it from now on: one may do that alone, as the database knows as well.

    That is a lower limit in the same currency than the one in force, or a first limit for a customer or a key, which
    stands beside the others. A capability's stands in place of the one for everything, so its first is not lower.
    """
    if payload["valid_from"] or (payload["limit_wei"] is None and payload["limit_nano_usd"] is None):
        return False
    before = PriceCeiling.objects.filter(pk=payload["before"]).first() if payload["before"] else None
    if before is None or (before.limit_wei is None and before.limit_nano_usd is None):
        return payload["scope"] in (PriceCeiling.Scope.CUSTOMER, PriceCeiling.Scope.API_KEY)
    for column in ("limit_wei", "limit_nano_usd"):
        was, now = getattr(before, column), payload[column]
        if was is not None and now is not None:
            return Fraction(now, payload["per_units"]) <= Fraction(was, before.per_units)
    return False


def describe_ceiling(payload: dict[str, Any]) -> list[tuple[str, str]]:
    row = _row(payload)
    before = PriceCeiling.objects.filter(pk=payload["before"]).first() if payload["before"] else None
    return [
        ("What", prices.subject_text(row)),
        ("At most before", prices.limit_text(before) if before else "No ceiling of its own"),
        ("At most after", prices.limit_text(row)),
        ("In force from", _from_text(payload)),
    ]


def check_ceiling(payload: dict[str, Any]) -> None:
    if payload["limit_wei"] is not None and payload["limit_nano_usd"] is not None:
        raise NotPossible("A ceiling is in one currency.")
    before = _ceiling_in_force(payload)
    if (before.pk if before else None) != payload["before"]:
        raise NotPossible(_CHANGED)


def carry_out_ceiling(approval: Approval) -> None:
    payload = approval.payload
    prices.add_ceiling(user=approval.asked_by, valid_from=_later(payload), **columns(payload))


def columns(payload: dict[str, Any]) -> dict[str, Any]:
    """The columns of the row that a payload asks for."""
    row = {name: payload[name] for name in (*SUBJECT, *LIMIT)}
    row["customer"] = Customer.objects.get(pk=payload["customer"]) if payload["customer"] else None
    row["api_key"] = ApiKey.objects.get(pk=payload["api_key"]) if payload["api_key"] else None
    return row


def _row(payload: dict[str, Any]) -> PriceCeiling:
    return PriceCeiling(**columns(payload))


def _ceiling_in_force(payload: dict[str, Any]) -> PriceCeiling | None:
    found: QuerySet[PriceCeiling] = PriceCeiling.objects.filter(
        scope=payload["scope"],
        unit=payload["unit"],
        capability=payload["capability"],
        model=payload["model"],
        customer_id=payload["customer"],
        api_key_id=payload["api_key"],
        valid_from__lte=timezone.now(),
    )
    return found.order_by("-valid_from", "-id").first()


# -- both --------------------------------------------------------------------------------------------------------


def _later(payload: dict[str, Any]) -> datetime | None:
    """The moment that was asked for, or None for now when it is over: what was charged stays as it was charged."""
    wanted = datetime.fromisoformat(payload["valid_from"]) if payload["valid_from"] else None
    return wanted if wanted and wanted > timezone.now() else None


def _from_text(payload: dict[str, Any]) -> str:
    if not payload["valid_from"]:
        return "The approval"
    wanted = moments.minute(datetime.fromisoformat(payload["valid_from"]))
    return f"{wanted} UTC, or the approval when that is later"


KINDS = {
    MARKUP: Kind(
        title="Markup",
        ask_permission="markups.ask",
        decide_permission="markups.decide",
        describe=describe_markup,
        check=check_markup,
        carry_out=carry_out_markup,
    ),
    CEILING: Kind(
        title="Price ceiling",
        ask_permission="ceilings.ask",
        decide_permission="ceilings.decide",
        describe=describe_ceiling,
        check=check_ceiling,
        carry_out=carry_out_ceiling,
    ),
}
