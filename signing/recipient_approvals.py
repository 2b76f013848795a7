"""What loosens a rule about a recipient needs a second person: listing one, and lifting what restrains one."""

from typing import Any

from accounts import moments
from accounts.approvals import Kind, NotPossible
from accounts.models import Approval
from signing import recipients
from signing.models import RecipientRule

KIND = "signing.recipient"
LIST, LIFT = "list", "lift"


def describe(payload: dict[str, Any]) -> list[tuple[str, str]]:
    if payload["act"] == LIST:
        return [
            ("Recipient", payload["address"]),
            ("What", "List it: it may be paid with promotional credit, and much more money that is not aged yet"),
            ("Called", payload["label"] or "-"),
        ]
    row = RecipientRule.objects.filter(pk=payload["rule"]).first()
    if row is None:
        return [("What", "Lift a rule that is not there")]
    return [
        ("Recipient", row.address),
        ("What", f"Lift: {row.get_standing_display().lower()} since {moments.minute(row.set_at)} UTC"),
        ("It stands because", row.reason),
    ]


def check(payload: dict[str, Any]) -> None:
    if payload["act"] == LIFT:
        if not RecipientRule.objects.filter(pk=payload["rule"], lifted_at=None).exists():
            raise NotPossible("The rule was lifted already.")
        return
    if not recipients.ADDRESS.fullmatch(payload["address"]):
        raise NotPossible("Must be an address: 0x and 40 hexadecimal digits.")
    if recipients.stands(payload["address"], RecipientRule.Standing.LISTED):
        raise NotPossible("It is listed already.")
    if recipients.stands(payload["address"], RecipientRule.Standing.SANCTIONED):
        raise NotPossible("It is sanctioned.")


def carry_out(approval: Approval) -> None:
    payload = approval.payload
    if payload["act"] == LIFT:
        row = RecipientRule.objects.get(pk=payload["rule"])
        if not recipients.lift(row, reason=approval.reason[:200], user=approval.asked_by):
            raise NotPossible("The rule was lifted already.")
        return
    try:
        recipients.rule(
            address=payload["address"],
            standing=RecipientRule.Standing.LISTED,
            reason=approval.reason[:200],
            label=payload["label"],
            reference=f"approval:{approval.pk}",
            user=approval.asked_by,
        )
    except recipients.AlreadyRuled:
        raise NotPossible("It is listed already.") from None


KINDS = {
    KIND: Kind(
        title="Recipient",
        ask_permission="recipients.ask",
        decide_permission="recipients.decide",
        describe=describe,
        check=check,
        carry_out=carry_out,
    )
}
