"""Tax: calculations by request and on Checkout, and the numbers customers give."""

from sandbox.psp import events, params, reading, tax_rates
from sandbox.psp.errors import JSON, ApiError, invalid, no_such
from sandbox.psp.tax_rates import Rate
from sandbox.psp.world import Call, World, new_id

EXPIRES_AFTER_SECONDS = 90 * 24 * 3600
ID_SPEC: params.Spec = {"type": params.one_of(*tax_rates.ID_FORMS), "value": params.string(40)}
DETAILS: params.Spec = {
    "address": params.nested(params.ADDRESS, required=("country",)),
    "address_source": params.one_of("billing", "shipping"),
    "ip_address": params.string(60),
    "tax_ids": params.array(params.nested(ID_SPEC, required=("type", "value"))),
    "taxability_override": params.one_of("none", "customer_exempt", "reverse_charge"),
}
LINE: params.Spec = {
    "amount": params.integer(),
    "quantity": params.integer(least=1),
    "reference": params.string(500),
    "tax_behavior": params.one_of("exclusive"),
    "tax_code": params.string(40),
}
SPEC: params.Spec = {
    "currency": params.currency,
    "customer": params.string(),
    "customer_details": params.nested(DETAILS),
    "line_items": params.array(params.nested(LINE, required=("amount",))),
}
# Numbers with which a test chooses what verification says; all others are verified at once.
VERIFICATION = {"111111111": "unverified", "222222222": "pending"}


# -- Numbers of customers --


def create_id(call: Call) -> JSON:
    given = params.read(call.params, ID_SPEC, required=("type", "value"))
    customer = call.world.need("customer", call.id)
    value = str(given["value"])
    if not tax_rates.ID_FORMS[given["type"]].fullmatch(value):
        raise invalid(f"Invalid value for {given['type']}.", param="value", code="tax_id_invalid")
    status = next((word for digits, word in VERIFICATION.items() if value.endswith(digits)), "verified")
    made = call.world.store.insert(
        {
            "id": new_id("txi_"),
            "object": "tax_id",
            "country": value[:2] if given["type"] == "eu_vat" else given["type"][:2].upper(),
            "created": call.world.now(),
            "customer": customer["id"],
            "livemode": False,
            "owner": {"customer": customer["id"], "type": "customer"},
            "type": given["type"],
            "value": value,
            "verification": {"status": status, "verified_address": None, "verified_name": None},
        }
    )
    events.emit(call.world, "customer.tax_id.created", made)
    return reading.show(call.world, made, call.expand)


def list_ids(call: Call) -> JSON:
    params.read(call.params, {"limit": params.integer(least=1, most=100)})
    call.world.need("customer", call.id)
    shown = [reading.show(call.world, row) for row in ids_of(call.world, call.id)]
    return reading.whole_list(shown, f"/v1/customers/{call.id}/tax_ids")


def delete_id(call: Call) -> JSON:
    params.read(call.params, {})
    found = call.world.need("tax_id", call.id)
    if found.get("_deleted"):
        raise no_such("tax_id", call.id, param="id")
    call.world.store.save(found | {"_deleted": True})
    events.emit(call.world, "customer.tax_id.deleted", found)
    return {"id": call.id, "object": "tax_id", "deleted": True}


def ids_of(world: World, customer: str) -> list[JSON]:
    where = " AND json_extract(body, '$.customer') = ? AND json_extract(body, '$._deleted') IS NULL"
    return world.store.select("tax_id", where, [customer], newest_first=True, limit=100)


# -- On Checkout --


def on_checkout(world: World, customer: JSON | None, items: list[JSON]) -> list[JSON]:
    """The breakdown of an order's tax, and each line's part of it written into the line."""
    address = (customer or {}).get("address") or {}
    if not address.get("country") or customer is None:
        raise ApiError(
            "Automatic tax calculation in Checkout requires a valid address on the Customer.",
            param="automatic_tax",
            code="customer_tax_location_invalid",
        )
    kinds = [row["type"] for row in ids_of(world, customer["id"])]
    breakdown = []
    for rate in _rates(world, address, kinds, customer["tax_exempt"]):
        amount = 0
        for item in items:
            part = rate.of(item["amount_subtotal"])
            item["amount_tax"] += part
            item["amount_total"] += part
            amount += part
        taxable = sum(item["amount_subtotal"] for item in items) if rate.reason == "standard_rated" else 0
        breakdown.append(
            {
                "amount": amount,
                "rate": _rate_object(world, rate),
                "taxability_reason": rate.reason,
                "taxable_amount": taxable,
            }
        )
    return breakdown


# -- By request --


def calculate(call: Call) -> JSON:
    given = params.read(call.params, SPEC, required=("currency", "line_items"))
    world = call.world
    customer = world.need("customer", given["customer"], param="customer") if given.get("customer") else None
    details = given.get("customer_details") or {}
    address = details.get("address") or (customer or {}).get("address")
    if not address or not address.get("country"):
        raise invalid("The customer's location isn't recognized.", param="customer_details[address]")
    ids = details.get("tax_ids") or [
        {"type": row["type"], "value": row["value"]} for row in (ids_of(world, customer["id"]) if customer else [])
    ]
    override = details.get("taxability_override") or "none"
    exempt = {"customer_exempt": "exempt", "reverse_charge": "reverse"}.get(override, "none")
    amounts = [line["amount"] for line in given["line_items"]]
    rates = _rates(world, address, [number["type"] for number in ids], exempt)
    parts = [
        (line["amount"], sum(rate.of(line["amount"]) for rate in rates), line.get("reference") or f"L{number}")
        for number, line in enumerate(given["line_items"], start=1)
    ]
    lines: list[JSON] = [
        {
            "amount": sum(rate.of(amount) for amount in amounts),
            "inclusive": False,
            "tax_rate_details": {
                "country": rate.country,
                "flat_amount": None,
                "percentage_decimal": rate.percent,
                "rate_type": "percentage",
                "state": rate.state,
                "tax_type": rate.kind,
            },
            "taxability_reason": rate.reason,
            "taxable_amount": sum(amounts) if rate.reason == "standard_rated" else 0,
        }
        for rate in rates
    ]
    tax, now = sum(line["amount"] for line in lines), world.now()
    calculation = {
        "id": new_id("taxcalc_"),
        "object": "tax.calculation",
        "amount_total": sum(amounts) + tax,
        "created": now,
        "currency": given["currency"],
        "customer": customer["id"] if customer else None,
        "customer_details": {
            "address": address,
            "address_source": details.get("address_source") or "billing",
            "ip_address": details.get("ip_address"),
            "tax_ids": ids,
            "taxability_override": override,
        },
        "expires_at": now + EXPIRES_AFTER_SECONDS,
        "livemode": False,
        "ship_from_details": None,
        "shipping_cost": None,
        "tax_amount_exclusive": tax,
        "tax_amount_inclusive": 0,
        "tax_breakdown": lines,
        "tax_date": now,
        "_lines": parts,
    }
    return reading.show(world, world.store.insert(calculation), call.expand)


def retrieve_calculation(call: Call) -> JSON:
    found = call.world.need("tax.calculation", call.id, param="calculation")
    if call.world.now() > found["expires_at"]:
        raise no_such("tax.calculation", call.id)
    return reading.retrieve("tax.calculation", call, param="calculation")


def _rates(world: World, address: JSON, tax_ids: list[str], exempt: str) -> list[Rate]:
    return tax_rates.rates(
        address=address,
        tax_ids=tax_ids,
        exempt=exempt,
        head_office=world.store.setting("tax_head_office", tax_rates.HEAD_OFFICE),
        registrations=world.store.setting("tax_registrations", tax_rates.REGISTRATIONS),
    )


def _rate_object(world: World, rate: Rate) -> JSON:
    percent = float(rate.percent)
    return {
        "id": new_id("txr_"),
        "object": "tax_rate",
        "active": False,
        "country": rate.country,
        "created": world.now(),
        "description": None,
        "display_name": rate.name,
        "effective_percentage": percent,
        "flat_amount": None,
        "inclusive": False,
        "jurisdiction": rate.jurisdiction,
        "jurisdiction_level": rate.level,
        "livemode": False,
        "metadata": {},
        "percentage": percent,
        "rate_type": "percentage",
        "state": rate.state,
        "tax_type": rate.kind,
    }
