"""Charges, and the balance transactions that tell what of them reaches the merchant."""

from sandbox.psp import balance, cards, events, params, payment_methods, reading
from sandbox.psp.errors import JSON
from sandbox.psp.world import Call, World, new_id


def add(world: World, intent: JSON, method: JSON, *, paid: bool, authenticated: bool) -> JSON:
    """A charge of a card that went through or was refused. Its balance transaction follows a moment later."""
    card = payment_methods.behaviour(method)
    charge = _body(world, intent, method, paid=paid, code=card.code, decline=card.decline_code, message=card.message)
    charge["payment_method_details"] = {
        "card": _card_details(method, _three_d_secure(intent, authenticated)),
        "type": "card",
    }
    charge["_at_once"] = card.available_at_once
    world.store.insert(charge)
    events.emit(world, "charge.succeeded" if paid else "charge.failed", charge)
    if paid:
        due = _schedule_settlement(world, charge)
        if card.sequel:
            world.schedule(due=due, kind=card.sequel, subject=charge["id"])
    return charge


def add_pending(world: World, intent: JSON, method: JSON) -> JSON:
    """A charge of a bank account: nobody knows yet whether it will be paid."""
    charge = _body(world, intent, method, paid=False, code=None, decline=None, message=None)
    kind = method["type"]
    charge |= {"status": "pending", "payment_method_details": {kind: method[kind], "type": kind}}
    world.store.insert(charge)
    events.emit(world, "charge.pending", charge)
    return charge


def end_pending(world: World, charge: JSON, *, code: str, message: str) -> JSON:
    """The bank answered: paid, or sent back with a code."""
    if code:
        ended = world.store.save(charge | {"failure_code": code, "failure_message": message, "status": "failed"})
        events.emit(world, "charge.failed", ended)
        return ended
    url = f"{world.url}/receipts/{charge['id']}"
    changes = {"amount_captured": charge["amount"], "captured": True, "paid": True, "receipt_url": url}
    ended = world.store.save(charge | changes | {"status": "succeeded"})
    events.emit(world, "charge.succeeded", ended)
    _schedule_settlement(world, ended)
    return ended


def _schedule_settlement(world: World, charge: JSON) -> float:
    due = world.exact_now() + float(world.store.setting("settle_after_seconds", 0.2))
    world.schedule(due=due, kind="settle_charge", subject=charge["id"])
    return due


def _three_d_secure(intent: JSON, authenticated: bool) -> JSON | None:
    """What the bank said about its holder: asked and confirmed, or never enrolled though the merchant asked."""
    requested = intent["payment_method_options"]["card"]["request_three_d_secure"] != "automatic"
    if not authenticated and not requested:
        return None
    return {
        "authentication_flow": "challenge" if authenticated else "frictionless",
        "result": "authenticated" if authenticated else "attempt_acknowledged",
        "result_reason": None,
        "version": "2.2.0",
    }


def _body(
    world: World,
    intent: JSON,
    method: JSON,
    *,
    paid: bool,
    code: str | None,
    decline: str | None,
    message: str | None,
) -> JSON:
    outcome = {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None if paid else "05",
        "network_status": "approved_by_network" if paid else "declined_by_network",
        "reason": None if paid else decline or code,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "Payment complete." if paid else "The bank did not say why it declined.",
        "type": "authorized" if paid else "issuer_declined",
    }
    id = new_id("ch_")
    return {
        "id": id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if paid else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": world.merchant.upper()[:22],
        "captured": paid,
        "created": world.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None if paid else code,
        "failure_message": None if paid else message,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": outcome,
        "paid": paid,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {},
        "presentment_details": None,
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": f"{world.url}/receipts/{id}" if paid else None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "succeeded" if paid else "failed",
        "transfer_data": None,
        "transfer_group": None,
    }


def settle(world: World, charge_id: str) -> None:
    """Books the charge on the merchant's balance: fee taken, net available in two days or with a quick card now."""
    charge = world.need("charge", charge_id)
    if charge["balance_transaction"] is not None:
        return
    transaction = balance.add(
        world,
        category="charge",
        source=charge_id,
        amount=charge["amount"],
        currency=charge["currency"],
        fee=cards.card_fee(charge["amount"]),
        fee_words="Sandbox Pay processing fees",
        description=charge["description"],
        at_once=charge.get("_at_once", False),
    )
    settled = world.store.save(charge | {"balance_transaction": transaction["id"]})
    events.emit(world, "charge.updated", settled, previous={"balance_transaction": None})


def retrieve(call: Call) -> JSON:
    return reading.retrieve("charge", call)


def index(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {"customer": params.string(), "payment_intent": params.string()}
    return reading.page("charge", call, url="/v1/charges", filters=filters)


def retrieve_transaction(call: Call) -> JSON:
    return reading.retrieve("balance_transaction", call)


def index_transactions(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {
        "currency": params.currency,
        "payout": params.string(),
        "source": params.string(),
        "type": params.string(),
    }
    return reading.page("balance_transaction", call, url="/v1/balance_transactions", filters=filters)


def _card_details(method: JSON, three_d_secure: JSON | None) -> JSON:
    shown = (
        "brand",
        "country",
        "exp_month",
        "exp_year",
        "fingerprint",
        "funding",
        "last4",
        "regulated_status",
    )
    card = {name: method["card"][name] for name in shown}
    return card | {
        "checks": method["card"]["checks"],
        "network": method["card"]["brand"],
        "three_d_secure": three_d_secure,
        "wallet": None,
    }
