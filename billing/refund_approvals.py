"""What of the money that goes back needs a second person: a large refund, and a debt that is given up."""

import uuid
from typing import Any

from django.utils import timezone

from accounts.approvals import Kind, NotPossible
from accounts.models import Approval, Customer
from billing import disputes, refunds
from billing.display import usd_text
from billing.models import Refund, Wallet

REFUND, WRITE_OFF = "billing.refund", "billing.write_off"


def describe_refund(payload: dict[str, Any]) -> list[tuple[str, str]]:
    refund = _refund(payload)
    parts = refund.parts.select_related("top_up").order_by("created_at")
    cards = ", ".join(part.top_up.card or "card" for part in parts)
    return [
        ("Account", f"{refund.customer.name} (account {refund.customer_id})"),
        ("What", f"Refund {usd_text(refund.amount_nano_usd)} of unused credit"),
        ("To", cards),
        ("Customer says", refund.reason or "Nothing"),
    ]


def check_refund(payload: dict[str, Any]) -> None:
    refund = _refund(payload)
    if refund.status != Refund.Status.REQUESTED or refund.stopped_at:
        raise NotPossible("This refund is over.")
    if refund.approved_at or not refunds.needs_second_person(refund):
        raise NotPossible("This refund needs nobody’s approval.")
    if refund.customer.status == Customer.Status.FROZEN:
        raise NotPossible("The account is frozen.")


def carry_out_refund(approval: Approval) -> None:
    """The worker's clock sends it next."""
    refund = _refund(approval.payload)
    Refund.objects.filter(id=refund.id, approved_at=None).update(approved_at=timezone.now(), approval=approval)


def describe_write_off(payload: dict[str, Any]) -> list[tuple[str, str]]:
    customer = Customer.objects.get(pk=payload["customer"])
    return [
        ("Account", f"{customer.name} (account {customer.pk})"),
        ("What", f"Give up {usd_text(payload['amount_nano_usd'])} that it owes, as a loss"),
        ("Then", "The account stays frozen"),
    ]


def check_write_off(payload: dict[str, Any]) -> None:
    wallet = Wallet.objects.filter(customer_id=payload["customer"]).first()
    owed = wallet.debt_nano_usd if wallet else 0
    if not 0 < payload["amount_nano_usd"] <= owed:
        raise NotPossible(f"The account owes {usd_text(owed)}.")


def carry_out_write_off(approval: Approval) -> None:
    disputes.give_up_debt(
        customer_id=approval.payload["customer"],
        nano_usd=approval.payload["amount_nano_usd"],
        reference=f"approval:{approval.pk}",
    )


def _refund(payload: dict[str, Any]) -> Refund:
    found = Refund.objects.select_related("customer").filter(id=uuid.UUID(payload["refund"])).first()
    if found is None:
        raise NotPossible("There is no such refund.")
    return found


KINDS = {
    REFUND: Kind(
        title="Refund",
        ask_permission="refunds.ask",
        decide_permission="refunds.decide",
        describe=describe_refund,
        check=check_refund,
        carry_out=carry_out_refund,
    ),
    WRITE_OFF: Kind(
        title="Give up a debt",
        ask_permission="adjustments.ask",
        decide_permission="adjustments.decide",
        describe=describe_write_off,
        check=check_write_off,
        carry_out=carry_out_write_off,
    ),
}
