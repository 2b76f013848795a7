"""Checkout Sessions: an order the customer pays on the provider's own page."""

import dataclasses
from typing import Any

from sandbox.psp import (
    bank_accounts,
    cards,
    customers,
    events,
    params,
    payment_intents,
    payment_methods,
    reading,
    setup_intents,
    tax,
)
from sandbox.psp.errors import JSON, ApiError, invalid, missing, wrong_state
from sandbox.psp.world import Call, World, new_id

LONGEST_SECONDS = 24 * 3600
SHORTEST_SECONDS = 30 * 60
PRODUCT: params.Spec = {
    "description": params.string(),
    "images": params.array(params.url),
    "metadata": params.metadata,
    "name": params.string(250),
    "tax_code": params.string(),
}
PRICE: params.Spec = {
    "currency": params.currency,
    "product_data": params.nested(PRODUCT, required=("name",)),
    "tax_behavior": params.one_of("exclusive", "inclusive", "unspecified"),
    "unit_amount": params.integer(most=cards.MOST_MINOR),
}
LINE: params.Spec = {
    "price_data": params.nested(PRICE, required=("currency", "product_data", "unit_amount")),
    "quantity": params.integer(least=1, most=999_999),
}
SPEC: params.Spec = {
    "allow_promotion_codes": params.boolean,
    "automatic_tax": params.nested({"enabled": params.boolean}),
    "billing_address_collection": params.one_of("auto", "required"),
    "cancel_url": params.url,
    "client_reference_id": params.string(200),
    "customer": params.string(),
    "customer_creation": params.one_of("always", "if_required"),
    "customer_email": params.email,
    "currency": params.currency,
    "expires_at": params.integer(),
    "line_items": params.array(params.nested(LINE, required=("price_data", "quantity"))),
    "locale": params.string(10),
    "metadata": params.metadata,
    "mode": params.one_of("payment", "setup"),
    "payment_intent_data": params.nested(payment_intents.DATA),
    "payment_method_options": payment_intents.CARD_OPTIONS,
    "payment_method_types": params.array(payment_methods.KINDS),
    "setup_intent_data": params.nested({"description": params.string(1000), "metadata": params.metadata}),
    "submit_type": params.one_of("auto", "book", "donate", "pay"),
    "success_url": params.url,
    "ui_mode": params.one_of("hosted_page"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Payer:
    """What the customer typed on the page: a card with its expiry, or a bank account."""

    card: cards.TestCard | None = None
    account: bank_accounts.TestAccount | None = None
    exp_month: int = 0
    exp_year: int = 0
    email: str | None
    name: str | None


def create(call: Call) -> JSON:
    given = params.read(call.params, SPEC, required=("mode", "success_url"))
    setup = given["mode"] == "setup"
    if not setup and not given.get("line_items"):
        raise missing("line_items")
    _check(call.world, given)
    items = [] if setup else [_line_item(line) for line in given["line_items"]]
    taxes = _taxes(call.world, given, items)
    total = None if setup else sum(item["amount_total"] for item in items)
    if total is not None:
        payment_intents.check_amount(total, items[0]["currency"], param="line_items")
    session = call.world.store.insert(_body(call.world, given, items, total) | taxes)
    call.world.schedule(due=session["expires_at"], kind="expire_session", subject=session["id"])
    return reading.show(call.world, session, call.expand)


def update(call: Call) -> JSON:
    given = params.read(call.params, {"metadata": params.metadata})
    session = call.world.need("checkout.session", call.id)
    session["metadata"] = params.merge_metadata(session["metadata"], given.get("metadata"))
    return reading.show(call.world, call.world.store.save(session), call.expand)


def expire(call: Call) -> JSON:
    params.read(call.params, {})
    session = call.world.need("checkout.session", call.id)
    if session["status"] != "open":
        raise wrong_state(f"Only an open Checkout Session can be expired. This one is {session['status']}.")
    return reading.show(call.world, close(call.world, session), call.expand)


def retrieve(call: Call) -> JSON:
    return reading.retrieve("checkout.session", call, param="session")


def index(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {
        "customer": params.string(),
        "payment_intent": params.string(),
        "status": params.one_of("complete", "expired", "open"),
    }
    return reading.page("checkout.session", call, url="/v1/checkout/sessions", filters=filters)


def line_items(call: Call) -> JSON:
    params.read(call.params, {"limit": params.integer(least=1, most=100)})
    session = call.world.need("checkout.session", call.id, param="session")
    return reading.whole_list(session["_line_items"], f"/v1/checkout/sessions/{call.id}/line_items")


def pay(world: World, session: JSON, payer: Payer) -> tuple[JSON, JSON]:
    """One press of Pay (or Save) on an open session: the session and its intent as they stand afterwards.

    An intent that already waits for 3-D Secure keeps waiting, so a second press starts nothing.
    """
    intent = _intent_of(world, session)
    if intent["status"] == "requires_action":
        return world.need("checkout.session", session["id"]), intent
    email = session["_known_email"] or payer.email
    method = _method_of(world, payer, {"email": email, "name": payer.name})
    session = world.store.save(
        session | {intent["object"]: intent["id"], "_payer": {"email": email, "name": payer.name}}
    )
    attempt = setup_intents.attempt if session["mode"] == "setup" else payment_intents.attempt
    intent = attempt(world, intent, method)
    return settle(world, session, intent), intent


def settle(world: World, session: JSON, intent: JSON) -> JSON:
    """Completes the session when its intent has succeeded, or when a bank has the payment on its way."""
    if intent["status"] not in ("succeeded", "processing") or session["status"] != "open":
        return session
    payer = session["_payer"]
    customer = session["customer"]
    if customer is None and session["customer_creation"] == "always":
        customer = customers.add(world, payer)["id"]
    details = {
        "address": None,
        "business_name": None,
        "individual_name": None,
        "phone": None,
        "tax_exempt": "none",
    }
    changes = {
        "customer": customer,
        "customer_details": details | {"email": payer["email"], "name": payer["name"], "tax_ids": []},
        "payment_status": _payment_status(session, intent),
        "status": "complete",
    }
    complete = world.store.save(session | changes)
    events.emit(world, "checkout.session.completed", complete)
    return complete


def finish_delayed(world: World, intent_id: str) -> None:
    """The bank's answer to a payment on its way, told to the session that it began on, if there is one."""
    intent = payment_intents.finish(world, intent_id)
    session = world.store.find(intent["_checkout_session"] or "", "checkout.session")
    if session is None:
        return
    session = world.store.save(session | {"payment_status": _payment_status(session, intent)})
    ended = "succeeded" if intent["status"] == "succeeded" else "failed"
    events.emit(world, f"checkout.session.async_payment_{ended}", session)


def close(world: World, session: JSON) -> JSON:
    """Expires an open session and ends the intent it may have begun."""
    expired = world.store.save(session | {"status": "expired"})
    if session["setup_intent"]:
        setup_intents.end(world, world.need("setup_intent", session["setup_intent"]))
    if session["payment_intent"]:
        payment_intents.end(world, world.need("payment_intent", session["payment_intent"]), "expired")
    events.emit(world, "checkout.session.expired", expired)
    return expired


def expire_when_due(world: World, session_id: str) -> None:
    session = world.need("checkout.session", session_id)
    if session["status"] == "open":
        close(world, session)


def success_url(session: JSON) -> str:
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _check(world: World, given: dict[str, Any]) -> None:
    if given.get("customer") and given.get("customer_email"):
        raise ApiError("You may only specify one of these parameters: customer, customer_email.")
    if given.get("customer"):
        world.need("customer", given["customer"], param="customer")
    currencies = {line["price_data"]["currency"] for line in given.get("line_items") or []}
    if len(currencies) > 1:
        raise invalid("All line items must have the same currency.", param="line_items")
    if given["mode"] == "setup" and given.get("line_items"):
        raise invalid("You can not pass `line_items` in `setup` mode.", param="line_items")
    for kind in given.get("payment_method_types") or []:
        wanted = bank_accounts.CURRENCIES.get(kind)
        if wanted is not None and currencies != {wanted}:
            raise invalid(f"{kind} pays in {wanted} only.", param="payment_method_types")
    expires = given.get("expires_at")
    now = world.now()
    if expires is not None and not now + SHORTEST_SECONDS <= expires + 5 <= now + LONGEST_SECONDS + 10:
        raise invalid("expires_at must be between 30 minutes and 24 hours from now.", param="expires_at")


def _payment_status(session: JSON, intent: JSON) -> str:
    if session["mode"] == "setup":
        return "no_payment_required"
    return "paid" if intent["status"] == "succeeded" else "unpaid"


def _method_of(world: World, payer: Payer, billing: JSON) -> JSON:
    if payer.account is not None:
        return payment_methods.add_account(world, payer.account, billing=billing)
    assert payer.card is not None
    return payment_methods.add(world, payer.card, exp_month=payer.exp_month, exp_year=payer.exp_year, billing=billing)


def _intent_of(world: World, session: JSON) -> JSON:
    if session["mode"] == "setup":
        if session["setup_intent"]:
            return world.need("setup_intent", session["setup_intent"])
        given = {
            **session["_setup_intent_data"],
            "customer": session["customer"],
            "payment_method_options": session["payment_method_options"],
        }
        intent = setup_intents.add(world, given, checkout_session=session["id"])
        world.store.save(session | {"setup_intent": intent["id"]})
        return intent
    if session["payment_intent"]:
        return world.need("payment_intent", session["payment_intent"])
    given = {
        **session["_payment_intent_data"],
        "amount": session["amount_total"],
        "currency": session["currency"],
        "customer": session["customer"],
        "payment_method_options": session["payment_method_options"],
        "payment_method_types": session["payment_method_types"],
    }
    intent = payment_intents.add(world, given, checkout_session=session["id"])
    world.store.save(session | {"payment_intent": intent["id"]})
    return intent


def _line_item(line: dict[str, Any]) -> JSON:
    price, quantity = line["price_data"], line["quantity"]
    amount = price["unit_amount"] * quantity
    product = price["product_data"]
    return {
        "id": new_id("li_"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": product["name"],
        "metadata": {},
        "price": {
            "id": new_id("price_"),
            "object": "price",
            "active": False,
            "currency": price["currency"],
            "livemode": False,
            "metadata": {},
            "product": new_id("prod_", 14),
            "type": "one_time",
            "unit_amount": price["unit_amount"],
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        "quantity": quantity,
    }


def _taxes(world: World, given: dict[str, Any], items: list[JSON]) -> JSON:
    """The session's members about tax, when it is to be worked out; the lines take their part of it."""
    if not (given.get("automatic_tax") or {}).get("enabled"):
        return {}
    subtotal = sum(item["amount_subtotal"] for item in items)
    customer = world.store.find(given["customer"], "customer") if given.get("customer") else None
    breakdown = tax.on_checkout(world, customer, items)
    amount = sum(line["amount"] for line in breakdown)
    return {
        "amount_subtotal": subtotal,
        "automatic_tax": {
            "enabled": True,
            "liability": {"type": "self"},
            "provider": "stripe",
            "status": "complete",
        },
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": amount},
        "_taxes": breakdown,
    }


def _body(world: World, given: dict[str, Any], items: list[JSON], total: int | None) -> JSON:
    now = world.now()
    known = world.need("customer", given["customer"])["email"] if given.get("customer") else given.get("customer_email")
    creation = None if given.get("customer") else given.get("customer_creation") or "if_required"
    return {
        "id": new_id("cs_test_", 58),
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": given.get("allow_promotion_codes"),
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": given.get("billing_address_collection"),
        "cancel_url": given.get("cancel_url"),
        "client_reference_id": given.get("client_reference_id"),
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": now,
        "currency": items[0]["currency"] if items else given.get("currency"),
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": given.get("customer"),
        "customer_account": None,
        "customer_creation": creation,
        "customer_details": None,
        "customer_email": given.get("customer_email"),
        "discounts": [],
        "expires_at": given.get("expires_at") or now + LONGEST_SECONDS,
        "invoice": None,
        "invoice_creation": {"enabled": False},
        "livemode": False,
        "locale": given.get("locale"),
        "metadata": params.merge_metadata({}, given.get("metadata")),
        "mode": given["mode"],
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": payment_intents.requested_3ds(given)}},
        "payment_method_types": given.get("payment_method_types") or ["card"],
        "payment_status": "unpaid" if items else "no_payment_required",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": given.get("submit_type"),
        "subscription": None,
        "success_url": given["success_url"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": None,
        "wallet_options": None,
        "_known_email": known,
        "_line_items": items,
        "_merchant": world.merchant,
        "_payer": {},
        "_payment_intent_data": given.get("payment_intent_data") or {},
        "_setup_intent_data": given.get("setup_intent_data") or {},
    }
