"""Customers: who pays, as the merchant keeps them here."""

from typing import Any

from sandbox.psp import events, params, reading
from sandbox.psp.errors import JSON
from sandbox.psp.world import Call, World, new_id

SPEC: params.Spec = {
    "address": params.nested(params.ADDRESS),
    "description": params.string(),
    "email": params.email,
    "metadata": params.metadata,
    "name": params.string(256),
    "phone": params.string(20),
    "preferred_locales": params.array(params.string()),
    "tax_exempt": params.one_of("none", "exempt", "reverse"),
}


def create(call: Call) -> JSON:
    return reading.show(call.world, add(call.world, params.read(call.params, SPEC)), call.expand)


def add(world: World, given: dict[str, Any]) -> JSON:
    id = new_id("cus_", 14)
    customer = {
        "id": id,
        "object": "customer",
        "address": given.get("address"),
        "balance": 0,
        "created": world.now(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": given.get("description"),
        "discount": None,
        "email": given.get("email"),
        "invoice_prefix": id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": params.merge_metadata({}, given.get("metadata")),
        "name": given.get("name"),
        "next_invoice_sequence": 1,
        "phone": given.get("phone"),
        "preferred_locales": given.get("preferred_locales") or [],
        "shipping": None,
        "tax_exempt": given.get("tax_exempt") or "none",
        "test_clock": None,
    }
    world.store.insert(customer)
    events.emit(world, "customer.created", customer)
    return customer


def update(call: Call) -> JSON:
    given = params.read(call.params, SPEC)
    customer = call.world.need("customer", call.id)
    changes = {**given, "metadata": params.merge_metadata(customer["metadata"], given.get("metadata"))}
    previous = {name: customer[name] for name, value in changes.items() if customer[name] != value}
    call.world.store.save(customer | changes)
    if previous:
        events.emit(call.world, "customer.updated", customer | changes, previous=previous)
    return reading.show(call.world, customer | changes, call.expand)


def retrieve(call: Call) -> JSON:
    return reading.retrieve("customer", call)


def index(call: Call) -> JSON:
    return reading.page("customer", call, url="/v1/customers", filters={"email": params.string()})
