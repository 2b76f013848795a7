"""Credit that needs a second person: promotional grants, and corrections of an account's paid money."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.utils import timezone

from accounts.approvals import Kind, NotPossible
from accounts.models import Approval, Customer
from billing import ledger, postings
from billing.display import usd_text
from billing.models import Wallet

GRANT, ADJUSTMENT = "billing.grant", "billing.adjustment"
MOST_NANO_USD = 1_000_000 * 10**9
_LONGEST_CAMPAIGN = 80


def end_of(day: str) -> datetime | None:
    """The moment after the ISO day `2026-12-31` in UTC; None for an empty text, which never ends."""
    if not day:
        return None
    return datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(), tzinfo=UTC)


def describe_grant(payload: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Account", _account(payload)),
        ("What", f"{usd_text(payload['amount_nano_usd'])} of promotional credit"),
        ("Campaign", payload["campaign"]),
        ("Used", "First of all" if payload["priority"] == 0 else f"With priority {payload['priority']}"),
        ("Ends", f"After {payload['last_day']}" if payload["last_day"] else "Never"),
    ]


def check_grant(payload: dict[str, Any]) -> None:
    _check_customer(payload)
    _check_amount(payload["amount_nano_usd"])
    if not payload["campaign"].strip() or len(payload["campaign"]) > _LONGEST_CAMPAIGN:
        raise NotPossible("Must name a campaign, which bears the cost.")
    if not 0 <= payload["priority"] <= 100:
        raise NotPossible("The priority is from 0 to 100.")
    try:
        ends = end_of(payload["last_day"])
    except (ValueError, OverflowError):
        raise NotPossible("The last day is a date such as 2026-12-31.") from None
    if ends is not None and ends <= timezone.now():
        raise NotPossible("Its last day is over.")


def carry_out_grant(approval: Approval) -> None:
    payload = approval.payload
    ledger.grant_promo(
        customer_id=payload["customer"],
        amount_nano_usd=payload["amount_nano_usd"],
        campaign=payload["campaign"].strip(),
        reference=f"approval:{approval.pk}",
        occurred_at=timezone.now(),
        description=f"Promotional credit, {payload['campaign'].strip()}",
        priority=payload["priority"],
        expires_at=end_of(payload["last_day"]),
    )


def describe_adjustment(payload: dict[str, Any]) -> list[tuple[str, str]]:
    amount = payload["amount_nano_usd"]
    what = f"Credit {usd_text(amount)}" if amount > 0 else f"Take {usd_text(-amount)}"
    return [
        ("Account", _account(payload)),
        ("What", f"{what} of paid money, against usage revenue"),
        ("On the statement", payload["description"]),
    ]


def check_adjustment(payload: dict[str, Any]) -> None:
    _check_customer(payload)
    amount = payload["amount_nano_usd"]
    _check_amount(abs(amount))
    if not payload["description"].strip() or len(payload["description"]) > 200:
        raise NotPossible("Must say what the customer reads on the statement, in at most 200 characters.")
    wallet = Wallet.objects.filter(customer_id=payload["customer"]).first()
    paid = wallet.available_nano_usd - wallet.promo_nano_usd if wallet else 0
    if amount < 0 and paid < -amount:
        raise NotPossible(f"The account holds {usd_text(paid)} of paid money.")


def carry_out_adjustment(approval: Approval) -> None:
    payload = approval.payload
    amount = payload["amount_nano_usd"]
    move = ledger.credit if amount > 0 else ledger.take
    try:
        move(
            customer_id=payload["customer"],
            amount_nano_usd=abs(amount),
            kind="adjustment",
            reference=f"approval:{approval.pk}",
            occurred_at=timezone.now(),
            transfers=postings.adjustment(customer_id=payload["customer"], nano_usd=amount),
            description=payload["description"].strip(),
        )
    except ledger.NotEnough:
        raise NotPossible("The account holds less paid money than that.") from None


def _account(payload: dict[str, Any]) -> str:
    customer = Customer.objects.filter(pk=payload["customer"]).first()
    return (
        f"{customer.name} (account {customer.pk})" if customer else f"Account {payload['customer']}, which is not there"
    )


def _check_customer(payload: dict[str, Any]) -> None:
    customer = Customer.objects.filter(pk=payload["customer"]).first()
    if customer is None:
        raise NotPossible("There is no such account.")
    if customer.status == Customer.Status.CLOSED:
        raise NotPossible("The account is closed.")


def _check_amount(nano_usd: int) -> None:
    if not 0 < nano_usd <= MOST_NANO_USD:
        raise NotPossible(f"The amount is more than nothing and at most {usd_text(MOST_NANO_USD)}.")


KINDS = {
    GRANT: Kind(
        title="Promotional credit",
        ask_permission="grants.ask",
        decide_permission="grants.decide",
        describe=describe_grant,
        check=check_grant,
        carry_out=carry_out_grant,
    ),
    ADJUSTMENT: Kind(
        title="Correction of a balance",
        ask_permission="adjustments.ask",
        decide_permission="adjustments.decide",
        describe=describe_adjustment,
        check=check_adjustment,
        carry_out=carry_out_adjustment,
    ),
}
