"""Tax at the provider: what it works out, whom it works it out for, and what it is told was collected."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import stripe

from billing.stripe_gateway.client import Translated, client
from billing.tax import TaxLine


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a customer is: country by two letters, region a state of the US."""

    line1: str
    line2: str
    postal_code: str
    city: str
    region: str
    country: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Calculation:
    """What the provider would take on top of a net amount, in minor units."""

    id: str
    total_cents: int
    tax_cents: int
    lines: tuple[TaxLine, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedTax:
    """What the provider's reports hold of one document: its id there, that of its one line, and the line's tax."""

    id: str
    line_id: str
    tax_cents: int


def tell_customer(customer_id: str, *, name: str, address: Address, tax_id: tuple[str, str] | None) -> None:
    """Makes the provider know name, address and the one tax id (kind, number) that counts; others are taken away.

    Only ids that a register confirmed belong here: the provider trusts what it is told. Asked twice it changes
    nothing. Raises NotConfigured, Unavailable, Refused.
    """
    with Translated():
        customers = client().v1.customers
        customers.update(customer_id, {"name": name, "address": _address(address)})
        known = customers.tax_ids.list(customer_id, {"limit": 100}).data
        wanted = (tax_id[0], told_number(*tax_id)) if tax_id else None
        for row in known:
            if (row.type, row.value) != wanted:
                customers.tax_ids.delete(customer_id, row.id)
        if wanted and wanted not in {(row.type, row.value) for row in known}:
            new: Any = {"type": wanted[0], "value": wanted[1]}
            customers.tax_ids.create(customer_id, new)


def calculate_tax(*, customer_id: str, reference: str, net_cents: int, currency: str) -> Calculation:
    """The tax on `net_cents` for a customer the provider knows. It moves nothing, so it may be asked again.

    Raises NotConfigured, Unavailable, Refused.
    """
    wish: Any = {
        "currency": currency,
        "customer": customer_id,
        "line_items": [{"amount": net_cents, "reference": reference, "tax_behavior": "exclusive"}],
    }
    with Translated():
        made = client().v1.tax.calculations.create(wish)
    return _read(made, net_cents)


def tax_calculation(calculation_id: str) -> Calculation:
    """A calculation that was made before. Raises NotConfigured, Unavailable, and Refused once it is 90 days old."""
    with Translated():
        made = client().v1.tax.calculations.retrieve(calculation_id)
    return _read(made, made.amount_total - made.tax_amount_exclusive)


def record_tax(*, calculation_id: str, reference: str, attempt: int) -> RecordedTax:
    """Tells the provider that a calculated tax was collected; the same reference and attempt give the same record.

    Raises as above, AnswerStuck, and Refused with the code resource_already_exists for a reference it has.
    """
    wish: Any = {"calculation": calculation_id, "reference": reference, "expand": ["line_items"]}
    with Translated():
        made = client().v1.tax.transactions.create_from_calculation(
            wish, {"idempotency_key": f"tax-{reference}-{attempt}"}
        )
    return _recorded(made)


def reverse_tax(
    *, original_id: str, line_id: str, reference: str, attempt: int, net_cents: int, tax_cents: int
) -> RecordedTax:
    """Tells the provider that so much of a recorded sale and its tax was given back. Raises as record_tax does."""
    wish: Any = {
        "mode": "partial",
        "original_transaction": original_id,
        "reference": reference,
        "line_items": [
            {
                "original_line_item": line_id,
                "reference": reference,
                "amount": -net_cents,
                "amount_tax": -tax_cents,
            }
        ],
        "expand": ["line_items"],
    }
    once: Any = {"idempotency_key": f"tax-{reference}-{attempt}"}
    with Translated():
        made = client().v1.tax.transactions.create_reversal(wish, once)
    return _recorded(made)


def checkout_lines(session: stripe.checkout.Session) -> tuple[TaxLine, ...]:
    """The taxes of an order whose breakdown was asked for; none where the provider works out none."""
    details = session.total_details
    breakdown = details.breakdown if details else None
    subtotal = session.amount_subtotal or 0
    return tuple(_ordered(line, subtotal) for line in (breakdown.taxes if breakdown else []))


def told_number(kind: str, number: str) -> str:
    """A number as the provider wants it: those of Switzerland with hyphen and dots."""
    if kind == "ch_vat" and number.startswith("CHE") and number[3:12].isdigit():
        return f"CHE-{number[3:6]}.{number[6:9]}.{number[9:12]} {number[12:]}"
    return number


def _read(made: stripe.tax.Calculation, net_cents: int) -> Calculation:
    return Calculation(
        id=made.id or "",
        total_cents=made.amount_total,
        tax_cents=made.tax_amount_exclusive,
        lines=tuple(_calculated(line, net_cents) for line in made.tax_breakdown or []),
    )


def _recorded(made: stripe.tax.Transaction) -> RecordedTax:
    [line] = made.line_items.data if made.line_items else []
    return RecordedTax(id=made.id, line_id=line.id, tax_cents=line.amount_tax)


def _address(address: Address) -> Any:
    return {
        "line1": address.line1,
        "line2": address.line2,
        "postal_code": address.postal_code,
        "city": address.city,
        "state": address.region,
        "country": address.country,
    }


def _ordered(line: Any, subtotal_cents: int) -> TaxLine:
    rate = line.rate
    return TaxLine(
        jurisdiction=_office(rate.country or "", rate.state or ""),
        name=_name(rate.display_name or "Tax", rate.jurisdiction or ""),
        percent=_percent(str(rate.percentage)),
        base_cents=line.taxable_amount or subtotal_cents,
        tax_cents=line.amount,
        reason=line.taxability_reason or "",
    )


def _calculated(line: Any, net_cents: int) -> TaxLine:
    rate = line.tax_rate_details
    kinds = {"vat": "VAT", "sales_tax": "Sales tax", "gst": "GST"}
    return TaxLine(
        jurisdiction=_office(rate.country or "", rate.state or ""),
        name=kinds.get(rate.tax_type or "", "Tax"),
        percent=_percent(rate.percentage_decimal),
        base_cents=line.taxable_amount or net_cents,
        tax_cents=line.amount,
        reason=line.taxability_reason,
    )


def _office(country: str, state: str) -> str:
    return f"US-{state}" if country == "US" and state else country


def _name(title: str, place: str) -> str:
    return f"{title} {place}".strip()


def _percent(text: str) -> str:
    """`19` from `19.0`, `8.875` as it is."""
    return f"{Decimal(text).normalize():f}"
