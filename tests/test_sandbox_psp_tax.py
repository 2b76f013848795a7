"""The sandbox provider's tax: rates by place, numbers of customers, Checkout, calculations and what was recorded."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from sandbox.psp import tax_rates
from sandbox.psp.client import Psp, running_psp

ADDRESS = {"line1": "x", "city": "x", "postal_code": "1"}


@pytest.fixture(scope="module")
def psp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psp]:
    with running_psp(tmp_path_factory.mktemp("psp")) as running:
        running.settings(settle_after_seconds=0)
        yield running


@pytest.fixture
def client(psp: Psp) -> stripe.StripeClient:
    psp.settings(tax_head_office=tax_rates.HEAD_OFFICE, tax_registrations=tax_rates.REGISTRATIONS)
    return stripe.StripeClient(psp.secret_key, base_addresses={"api": psp.url}, max_network_retries=0)


def place(country: str, state: str = "") -> Any:
    return {**ADDRESS, "country": country, **({"state": state} if state else {})}


def calculate(client: stripe.StripeClient, address: Any, *ids: tuple[str, str], amount: int = 10_000) -> Any:
    details: Any = {"address": address, "address_source": "billing"}
    details["tax_ids"] = [{"type": kind, "value": value} for kind, value in ids]
    return client.v1.tax.calculations.create(
        {
            "currency": "usd",
            "customer_details": details,
            "line_items": [{"amount": amount, "reference": "top-up", "tax_behavior": "exclusive"}],
        }
    )


@pytest.mark.parametrize(
    ("address", "ids", "tax", "reasons"),
    [
        (place("DE"), (), 1_900, ["standard_rated"]),
        (place("DE"), (("eu_vat", "DE136695976"),), 1_900, ["standard_rated"]),
        (place("FR"), (), 2_000, ["standard_rated"]),
        (place("FR"), (("eu_vat", "FR40303265045"),), 0, ["reverse_charge"]),
        (place("GB"), (), 2_000, ["standard_rated"]),
        (place("GB"), (("gb_vat", "GB980780684"),), 0, ["reverse_charge"]),
        (place("NO"), (), 2_500, ["standard_rated"]),
        (place("US", "CA"), (), 725, ["standard_rated"]),
        (place("US", "NY"), (), 888, ["standard_rated", "standard_rated"]),
        (place("US", "OR"), (), 0, ["not_subject_to_tax"]),
        (place("US", "FL"), (), 0, ["not_collecting"]),
        (place("JP"), (), 0, []),
    ],
)
def test_a_calculation_knows_what_a_place_takes(
    client: stripe.StripeClient, address: Any, ids: tuple[tuple[str, str], ...], tax: int, reasons: list[str]
) -> None:
    made = calculate(client, address, *ids)
    assert (made.tax_amount_exclusive, made.amount_total) == (tax, 10_000 + tax)
    assert [line.taxability_reason for line in made.tax_breakdown] == reasons
    assert sum(line.amount for line in made.tax_breakdown) == tax
    assert client.v1.tax.calculations.retrieve(made.id).amount_total == made.amount_total


def test_registrations_and_the_head_office_decide(psp: Psp, client: stripe.StripeClient) -> None:
    psp.settings(tax_registrations=["US-CA"], tax_head_office="US")
    assert calculate(client, place("DE")).tax_breakdown[0].taxability_reason == "not_collecting"
    assert calculate(client, place("US", "CA")).tax_amount_exclusive == 725


def test_checkout_adds_tax_to_the_order_and_charges_the_whole(psp: Psp, client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"email": "a@example.com", "address": place("FR")})
    order: Any = {
        "mode": "payment",
        "customer": customer.id,
        "automatic_tax": {"enabled": True},
        "line_items": [
            {
                "quantity": 2,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": 2_500,
                    "tax_behavior": "exclusive",
                    "product_data": {"name": "Balance"},
                },
            }
        ],
        "success_url": "http://127.0.0.1/ok",
        "expand": ["total_details.breakdown"],
    }
    session = client.v1.checkout.sessions.create(order)
    assert (session.amount_subtotal, session.amount_total) == (5_000, 6_000)
    assert session.total_details is not None
    assert session.total_details.amount_tax == 1_000
    assert session.total_details.breakdown is not None
    [line] = session.total_details.breakdown.taxes
    assert (line.amount, line.taxable_amount, line.taxability_reason) == (1_000, 5_000, "standard_rated")
    assert (line.rate.display_name, line.rate.percentage, line.rate.country) == ("VAT", 20, "FR")
    assert session.automatic_tax.status == "complete"
    assert psp.pay(session.id).status == 303
    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert isinstance(paid.payment_intent, stripe.PaymentIntent)
    assert paid.payment_intent.amount_received == 6_000

    number = client.v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "FR40303265045"})
    assert client.v1.checkout.sessions.create(order).amount_total == 5_000
    client.v1.customers.tax_ids.delete(customer.id, number.id)
    assert client.v1.checkout.sessions.create(order).amount_total == 6_000
    assert client.v1.customers.tax_ids.list(customer.id).data == []

    nowhere = client.v1.customers.create({"email": "b@example.com"})
    order["customer"] = nowhere.id
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.checkout.sessions.create(order)
    assert refused.value.code == "customer_tax_location_invalid"


def test_numbers_of_the_wrong_shape_are_refused_and_magic_ones_stay_unverified(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"email": "a@example.com"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.tax_ids.create(customer.id, {"type": "ch_vat", "value": "CHE1"})
    assert refused.value.code == "tax_id_invalid"
    made = client.v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "DE111111111"})
    assert made.verification is not None
    assert made.verification.status == "unverified"


def test_what_was_collected_is_recorded_once_and_taken_back_in_parts(client: stripe.StripeClient) -> None:
    made = calculate(client, place("DE"))
    wish: Any = {"calculation": made.id, "reference": "receipt-1"}
    recorded = client.v1.tax.transactions.create_from_calculation(wish)
    assert (recorded.type, recorded.reference) == ("transaction", "receipt-1")
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.tax.transactions.create_from_calculation(wish)
    back = client.v1.tax.transactions.create_reversal(
        {"mode": "partial", "original_transaction": recorded.id, "reference": "note-1", "flat_amount": -4_760}
    )
    assert back.reversal is not None
    assert back.reversal.original_transaction == recorded.id
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.tax.transactions.create_reversal(
            {"mode": "partial", "original_transaction": recorded.id, "reference": "note-2", "flat_amount": -99_999}
        )
    assert client.v1.tax.transactions.retrieve(back.id).type == "reversal"
