"""Payment intents: one wish to be paid, through its attempts, to the one charge that succeeds."""

from typing import Any

from sandbox.psp import cards, charges, events, params, payment_methods, reading
from sandbox.psp.errors import JSON, Answer, ApiError, invalid, missing, wrong_state
from sandbox.psp.world import Call, World, new_id

DATA: params.Spec = {
    "description": params.string(1000),
    "metadata": params.metadata,
    "receipt_email": params.email,
    "setup_future_usage": params.one_of("on_session", "off_session"),
    "statement_descriptor": params.string(22),
    "statement_descriptor_suffix": params.string(22),
}
CARD_OPTIONS = params.nested(
    {
        "card": params.nested({"request_three_d_secure": params.one_of("automatic", "any", "challenge")}),
        "us_bank_account": params.nested({"verification_method": params.one_of("automatic", "instant")}),
    }
)
SPEC: params.Spec = {
    **DATA,
    "amount": params.integer(),
    "automatic_payment_methods": params.nested(
        {"enabled": params.boolean, "allow_redirects": params.one_of("always", "never")}
    ),
    "confirm": params.boolean,
    "currency": params.currency,
    "customer": params.string(),
    "off_session": params.boolean,
    "payment_method": params.string(),
    "payment_method_options": CARD_OPTIONS,
    "payment_method_types": params.array(payment_methods.KINDS),
    "return_url": params.url,
}
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def create(call: Call) -> JSON | Answer:
    given = params.read(call.params, SPEC, required=("amount", "currency"))
    check_amount(given["amount"], given["currency"], param="amount")
    if given.get("customer"):
        call.world.need("customer", given["customer"], param="customer")
    intent = add(call.world, given)
    if given.get("payment_method"):
        method = payment_methods.resolve(call.world, given["payment_method"], param="payment_method")
        payment_methods.check_usable(method, intent["customer"], param="payment_method")
        intent = call.world.store.save(intent | {"payment_method": method["id"], "status": "requires_confirmation"})
    if not given.get("confirm"):
        return reading.show(call.world, intent, call.expand)
    return _confirm(call, intent, given)


def confirm(call: Call) -> JSON | Answer:
    spec: params.Spec = {
        name: SPEC[name] for name in ("off_session", "payment_method", "payment_method_options", "return_url")
    }
    given = params.read(call.params, spec)
    intent = call.world.need("payment_intent", call.id, param="intent")
    _refuse_if_checkout(intent, "confirm")
    return _confirm(call, intent, given)


def update(call: Call) -> JSON:
    spec: params.Spec = {**DATA, "amount": SPEC["amount"]}
    given = params.read(call.params, spec)
    intent = call.world.need("payment_intent", call.id, param="intent")
    if given.get("amount") is not None:
        _refuse_if_checkout(intent, "change the amount of")
        if intent["status"] not in OPEN[:2]:
            raise _unexpected_state(intent, "updated")
        check_amount(given["amount"], intent["currency"], param="amount")
    changes = {**given, "metadata": params.merge_metadata(intent["metadata"], given.get("metadata"))}
    return reading.show(call.world, call.world.store.save(intent | changes), call.expand)


def cancel(call: Call) -> JSON:
    reasons = params.one_of("duplicate", "fraudulent", "requested_by_customer", "abandoned")
    given = params.read(call.params, {"cancellation_reason": reasons})
    intent = call.world.need("payment_intent", call.id, param="intent")
    _refuse_if_checkout(intent, "cancel")
    if intent["status"] not in OPEN:
        raise _unexpected_state(intent, "canceled")
    return reading.show(call.world, end(call.world, intent, given.get("cancellation_reason")), call.expand)


def retrieve(call: Call) -> JSON:
    return reading.retrieve("payment_intent", call, param="intent")


def index(call: Call) -> JSON:
    return reading.page("payment_intent", call, url="/v1/payment_intents", filters={"customer": params.string()})


def add(world: World, given: dict[str, Any], *, checkout_session: str | None = None) -> JSON:
    id = new_id("pi_")
    automatic = given.get("automatic_payment_methods")
    intent = {
        "id": id,
        "object": "payment_intent",
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{id}_secret_{new_id('', 25)}",
        "confirmation_method": "automatic",
        "created": world.now(),
        "currency": given["currency"],
        "customer": given.get("customer"),
        "customer_account": None,
        "description": given.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": params.merge_metadata({}, given.get("metadata")),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": requested_3ds(given),
            }
        },
        "payment_method_types": given.get("payment_method_types") or ["card"],
        "processing": None,
        "receipt_email": given.get("receipt_email"),
        "review": None,
        "setup_future_usage": given.get("setup_future_usage"),
        "shipping": None,
        "source": None,
        "statement_descriptor": given.get("statement_descriptor"),
        "statement_descriptor_suffix": given.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        "_checkout_session": checkout_session,
        "_return_url": None,
    }
    world.store.insert(intent)
    events.emit(world, "payment_intent.created", intent)
    return intent


def attempt(world: World, intent: JSON, method: JSON, *, off_session: bool = False) -> JSON:
    """Tries the card once: succeeded, refused (requires_payment_method) or asking (requires_action)."""
    intent = intent | {"payment_method": method["id"], "last_payment_error": None, "next_action": None}
    if method["type"] != "card":
        return _wait_for_bank(world, intent, method)
    card = payment_methods.behaviour(method)
    if card.behaviour == "declines":
        charge = charges.add(world, intent, method, paid=False, authenticated=False)
        return _fail(world, intent, method, decline(card, charge["id"]), charge["id"])
    if not _asks(card, intent, method, off_session=off_session):
        return _succeed(world, intent, method, authenticated=False)
    if off_session:
        asks = decline(cards.BY_NUMBER["4000000000000002"], None) | {
            "code": "authentication_required",
            "decline_code": "authentication_required",
            "message": "The bank asks the cardholder to authenticate.",
        }
        return _fail(world, intent, method, asks, intent["latest_charge"])
    return _ask(world, intent)


def authenticate(world: World, intent: JSON, *, passed: bool) -> JSON:
    """The 3-D Secure step ended; an intent that no longer waits for it is given back as it is."""
    if intent["status"] != "requires_action":
        return intent
    method = world.need("payment_method", intent["payment_method"])
    intent = intent | {"next_action": None}
    if passed:
        return _succeed(world, intent, method, authenticated=True)
    error = {
        "code": "payment_intent_authentication_failure",
        "message": "The card could not be authenticated. Try again or use another card.",
        "type": "invalid_request_error",
    }
    return _fail(world, intent, method, error, intent["latest_charge"])


def finish(world: World, intent_id: str) -> JSON:
    """The bank's answer to a payment that was on its way; one that is not is given back as it is."""
    intent = world.need("payment_intent", intent_id)
    if intent["status"] != "processing":
        return intent
    method = world.need("payment_method", intent["payment_method"])
    account = payment_methods.account_of(method)
    charge = world.need("charge", intent["latest_charge"])
    charges.end_pending(world, charge, code=account.failure, message=account.message)
    if not account.failure:
        return _close_paid(world, intent, method, charge["id"])
    error = {
        "charge": charge["id"],
        "code": account.failure,
        "message": account.message,
        "type": "invalid_request_error",
    }
    return _fail(world, intent, method, error, charge["id"])


def requested_3ds(given: dict[str, Any]) -> str:
    card = (given.get("payment_method_options") or {}).get("card") or {}
    return card.get("request_three_d_secure") or "automatic"


def end(world: World, intent: JSON, reason: str | None) -> JSON:
    changes = {
        "canceled_at": world.now(),
        "cancellation_reason": reason,
        "next_action": None,
        "status": "canceled",
    }
    ended = world.store.save(intent | changes)
    events.emit(world, "payment_intent.canceled", ended)
    return ended


def check_amount(amount: int, currency: str, *, param: str) -> None:
    least = cards.LEAST_MINOR[currency]
    if amount < least:
        raise invalid(
            f"Amount must be at least {least} minor units of {currency}.",
            param=param,
            code="amount_too_small",
        )
    if amount > cards.MOST_MINOR:
        raise invalid(f"Amount must be at most {cards.MOST_MINOR} minor units.", param=param, code="amount_too_large")


def _confirm(call: Call, intent: JSON, given: dict[str, Any]) -> JSON | Answer:
    if intent["status"] not in OPEN:
        raise _unexpected_state(intent, "confirmed")
    chosen = given.get("payment_method") or intent["payment_method"]
    if chosen is None:
        raise missing("payment_method")
    method = payment_methods.resolve(call.world, chosen, param="payment_method")
    payment_methods.check_usable(method, intent["customer"], param="payment_method")
    intent = intent | {"_return_url": given.get("return_url") or intent["_return_url"]}
    if given.get("payment_method_options"):
        intent["payment_method_options"]["card"]["request_three_d_secure"] = requested_3ds(given)
    done = attempt(call.world, intent, method, off_session=bool(given.get("off_session")))
    shown = reading.show(call.world, done, call.expand)
    if done["last_payment_error"] is None:
        return shown
    return Answer(status=402, body={"error": done["last_payment_error"] | {"payment_intent": shown}})


def _succeed(world: World, intent: JSON, method: JSON, *, authenticated: bool) -> JSON:
    charge = charges.add(world, intent, method, paid=True, authenticated=authenticated)
    return _close_paid(world, intent, method, charge["id"])


def _close_paid(world: World, intent: JSON, method: JSON, charge_id: str) -> JSON:
    usage = intent["setup_future_usage"]
    if usage and intent["customer"]:
        payment_methods.attach_to(world, method, intent["customer"], set_up=usage == "off_session")
    changes = {
        "amount_received": intent["amount"],
        "latest_charge": charge_id,
        "payment_method": method["id"],
        "status": "succeeded",
    }
    paid = world.store.save(intent | changes)
    events.emit(world, "payment_intent.succeeded", paid)
    return paid


def _asks(card: cards.TestCard, intent: JSON, method: JSON, *, off_session: bool) -> bool:
    """Whether the bank wants its cardholder: always, until the card was set up, or because the merchant asked."""
    if card.behaviour == "asks":
        return not (off_session and card.relieved_by_setup and method.get("_set_up"))
    requested = intent["payment_method_options"]["card"]["request_three_d_secure"] != "automatic"
    return card.asks_on_request and requested and not off_session


def _wait_for_bank(world: World, intent: JSON, method: JSON) -> JSON:
    charge = charges.add_pending(world, intent, method)
    due = world.exact_now() + float(world.store.setting("delayed_payment_after_seconds", 2))
    world.schedule(due=due, kind="delayed_payment_ends", subject=intent["id"])
    waiting = world.store.save(intent | {"latest_charge": charge["id"], "status": "processing"})
    events.emit(world, "payment_intent.processing", waiting)
    return waiting


def _fail(world: World, intent: JSON, method: JSON, error: JSON, charge_id: str | None) -> JSON:
    changes = {
        "last_payment_error": error | {"payment_method": reading.show(world, method)},
        "latest_charge": charge_id,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    failed = world.store.save(intent | changes)
    events.emit(world, "payment_intent.payment_failed", failed)
    return failed


def _ask(world: World, intent: JSON) -> JSON:
    step = f"{world.url}/3d-secure/{intent['id']}"
    changes = {
        "next_action": {
            "redirect_to_url": {"return_url": intent["_return_url"], "url": step},
            "type": "redirect_to_url",
        },
        "status": "requires_action",
    }
    asking = world.store.save(intent | changes)
    events.emit(world, "payment_intent.requires_action", asking)
    return asking


def decline(card: cards.TestCard, charge_id: str | None) -> JSON:
    error = {
        "charge": charge_id,
        "code": card.code,
        "decline_code": card.decline_code,
        "message": card.message,
        "type": "card_error",
    }
    return {name: value for name, value in error.items() if value is not None}


def _refuse_if_checkout(intent: JSON, verb: str) -> None:
    if intent["_checkout_session"]:
        raise wrong_state(
            f"You cannot {verb} this PaymentIntent: it belongs to a Checkout Session. Expire that instead."
        )


def _unexpected_state(intent: JSON, verb: str) -> ApiError:
    return wrong_state(
        f"This PaymentIntent's status is {intent['status']}; it cannot be {verb} any more.",
        code="payment_intent_unexpected_state",
    )
