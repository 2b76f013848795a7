"""A rate of a currency by hand: recorded once a second person has compared it with its source."""

from typing import Any

from django.conf import settings

from accounts.approvals import Kind, NotPossible
from accounts.models import Approval
from billing import fx
from billing.display import nano_text

RATE = "billing.fx_rate"
# Beyond this, against the rate in force, it is taken for a slip of the pen.
MOST_PERCENT = 20


def describe(payload: dict[str, Any]) -> list[tuple[str, str]]:
    before = fx.latest_now(payload["currency"])
    return [
        ("What", f"{payload['currency'].upper()} 1 counts as {_text(payload['nano_usd_per_cent'])} from then on"),
        ("Source", payload["source"]),
        ("Now", f"{_text(before.nano_usd_per_cent)}, from {before.source}" if before else "No rate was recorded"),
    ]


def check(payload: dict[str, Any]) -> None:
    rate, before = payload["nano_usd_per_cent"], fx.latest_now(payload["currency"])
    if payload["currency"] not in settings.TOP_UP_CURRENCIES:
        raise NotPossible("Nobody can pay in this currency here.")
    if rate <= 0:
        raise NotPossible("A rate is more than nothing.")
    if not payload["source"].strip():
        raise NotPossible("Must name where the rate comes from.")
    if before and abs(rate - before.nano_usd_per_cent) * 100 > before.nano_usd_per_cent * MOST_PERCENT:
        raise NotPossible(
            f"This is more than {MOST_PERCENT} % away from the rate in force, {_text(before.nano_usd_per_cent)}. "
            "If it is right, an operator records it with manage.py fx_rate."
        )


def carry_out(approval: Approval) -> None:
    payload = approval.payload
    fx.record(
        currency=payload["currency"],
        nano_usd_per_cent=payload["nano_usd_per_cent"],
        source=payload["source"].strip(),
        user=approval.asked_by,
    )


def _text(nano_usd_per_cent: int) -> str:
    return nano_text(nano_usd_per_cent * 100, trim=True)


KINDS = {
    RATE: Kind(
        title="Exchange rate",
        ask_permission="fx.ask",
        decide_permission="fx.decide",
        describe=describe,
        check=check,
        carry_out=carry_out,
    )
}
