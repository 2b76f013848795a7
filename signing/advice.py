"""Reading recent payments for the adviser, and its advice in words: for a customer's page and for staff."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any

from django.db import connection

from accounts import moments
from billing import display
from signing.pm import adviser
from signing.pm.adviser import Advice, Misfit
from signing.pm.tickets import expected_value

_PAYMENTS_OF_A_CUSTOMER = 200
_CUSTOMERS = 100
# The table's own order, customer first: the last payments of each customer are read from its end.
_OF_CUSTOMER = """
    SELECT c.id, c.name, s.orchestrator, s.kind, s.initial_price_per_unit, s.initial_pixels_per_unit,
           p.face_value_wei, p.win_prob, p.tickets
    FROM accounts_customer c
    CROSS JOIN LATERAL (
        SELECT * FROM signing_payment WHERE customer_id = c.id AND issued_at > now() - interval '1 day'
        ORDER BY id DESC LIMIT %s
    ) p
    JOIN signing_session s ON s.customer_id = p.customer_id AND s.id = p.session_id
    WHERE c.id = ANY (%s)
    ORDER BY c.id, p.id DESC
"""
_ACTIVE = """
    SELECT customer_id FROM billing_usage_by_day WHERE day >= (now() AT TIME ZONE 'UTC')::date - 1
    GROUP BY customer_id ORDER BY sum(charge_nano_usd) DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Advice about the tickets one customer gets from one orchestrator."""

    customer_id: int
    customer_name: str
    orchestrator: str
    title: str
    text: str


def of_pair(customer_id: int, orchestrator: str) -> Told | None:
    """Advice for one customer at one orchestrator, from the payments of the last day."""
    return next((told for told in _of_customers([customer_id]) if told.orchestrator == orchestrator), None)


def of_all() -> list[Told]:
    """Advice for the customers that spent most since yesterday."""
    with connection.cursor() as cursor:
        cursor.execute(_ACTIVE, [_CUSTOMERS])
        return list(_of_customers([row[0] for row in cursor.fetchall()]))


def title(advice: Advice) -> str:
    if advice.misfit is Misfit.TOO_LARGE:
        return f"One ticket pays {moments.duration(timedelta(seconds=advice.seconds or 0))} in advance"
    return f"One payment took {advice.tickets} tickets"


def text(advice: Advice) -> str:
    """What follows, and what to ask the orchestrator for."""
    worth = display.eth_text(round(advice.expected_value_wei))
    fitting = display.eth_text(advice.fitting_wei)
    if advice.misfit is Misfit.TOO_LARGE:
        return (
            f"Each ticket of this orchestrator is worth {worth}. Tickets are paid whole, so a session that ends early"
            f" has paid for time it did not use. Tickets worth {fitting} would last half a minute: ask the"
            " orchestrator for a lower ticket value."
        )
    return (
        f"Each ticket of this orchestrator is worth only {worth}. More than 100 in one payment are refused, and every"
        f" ticket takes time on both sides. With tickets worth {fitting} three would do: ask the orchestrator for a"
        " higher ticket value."
    )


def _of_customers(customer_ids: list[int]) -> Iterable[Told]:
    pairs: dict[tuple[int, str, str], list[tuple[Any, ...]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_OF_CUSTOMER, [_PAYMENTS_OF_A_CUSTOMER, customer_ids])
        for customer_id, name, orchestrator, *payment in cursor.fetchall():
            pairs.setdefault((customer_id, name, orchestrator), []).append(tuple(payment))
    for (customer_id, name, orchestrator), payments in pairs.items():
        advice = _advise(payments)
        if advice:
            yield Told(
                customer_id=customer_id,
                customer_name=name,
                orchestrator=orchestrator,
                title=title(advice),
                text=text(advice),
            )


def _advise(payments: list[tuple[Any, ...]]) -> Advice | None:
    """By the newest payment's tickets and price; only payments with such tickets count."""
    kind, price, pixels, face_value, win_prob, _ = payments[0]
    return adviser.advise(
        expected_value_wei=expected_value(int(face_value), int(win_prob)),
        kind=kind,
        price_per_unit=Fraction(price, pixels),
        tickets=[payment[5] for payment in payments if payment[3:5] == (face_value, win_prob)],
    )
