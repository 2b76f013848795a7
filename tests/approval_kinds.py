"""A kind of approval for tests: it gives a customer another name."""

from typing import Any

from accounts import audit
from accounts.approvals import Kind, NotPossible
from accounts.models import Approval, Customer


def check(payload: dict[str, Any]) -> None:
    if not payload["name"]:
        raise NotPossible("A customer needs a name.")
    if not Customer.objects.filter(pk=payload["customer"]).exists():
        raise NotPossible("There is no such customer.")


def carry_out(approval: Approval) -> None:
    payload = approval.payload
    before = Customer.objects.get(pk=payload["customer"]).name
    Customer.objects.filter(pk=payload["customer"]).update(name=payload["name"])
    audit.write(
        "customer.renamed",
        subject=f"customer:{payload['customer']}",
        actor=approval.asked_by,
        customer=approval.customer,
        before={"name": before},
        after={"name": payload["name"]},
    )
    if payload["name"] == "Refused at the last moment":
        raise NotPossible("The name is taken.")
    if payload["name"] == "Broken":
        Customer.objects.raw("SELECT broken")[0]


def describe(payload: dict[str, Any]) -> list[tuple[str, str]]:
    return [("Account", str(payload["customer"])), ("Name then", payload["name"])]


KINDS = {
    "test.rename": Kind(
        title="Another name",
        ask_permission="refunds.ask",
        decide_permission="refunds.decide",
        describe=describe,
        check=check,
        carry_out=carry_out,
    )
}
