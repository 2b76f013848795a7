"""Setup intents: a card kept for later with its holder's consent; nothing is charged."""

from typing import Any

from sandbox.psp import events, params, payment_intents, payment_methods, reading
from sandbox.psp.errors import JSON, Answer, missing, wrong_state
from sandbox.psp.world import Call, World, new_id

SPEC: params.Spec = {
    "confirm": params.boolean,
    "customer": params.string(),
    "description": params.string(1000),
    "metadata": params.metadata,
    "payment_method": params.string(),
    "payment_method_options": payment_intents.CARD_OPTIONS,
    "payment_method_types": params.array(params.one_of("card")),
    "return_url": params.url,
    "usage": params.one_of("off_session", "on_session"),
}
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


def create(call: Call) -> JSON | Answer:
    given = params.read(call.params, SPEC)
    if given.get("customer"):
        call.world.need("customer", given["customer"], param="customer")
    intent = add(call.world, given)
    if not given.get("confirm"):
        return reading.show(call.world, intent, call.expand)
    return _confirm(call, intent, given)


def confirm(call: Call) -> JSON | Answer:
    spec: params.Spec = {name: SPEC[name] for name in ("payment_method", "payment_method_options", "return_url")}
    given = params.read(call.params, spec)
    return _confirm(call, call.world.need("setup_intent", call.id, param="intent"), given)


def cancel(call: Call) -> JSON:
    params.read(call.params, {"cancellation_reason": params.one_of("abandoned", "duplicate", "requested_by_customer")})
    intent = call.world.need("setup_intent", call.id, param="intent")
    if intent["status"] not in OPEN:
        raise wrong_state(f"This SetupIntent's status is {intent['status']}; it cannot be canceled any more.")
    return reading.show(call.world, end(call.world, intent), call.expand)


def retrieve(call: Call) -> JSON:
    return reading.retrieve("setup_intent", call, param="intent")


def index(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {"customer": params.string(), "payment_method": params.string()}
    return reading.page("setup_intent", call, url="/v1/setup_intents", filters=filters)


def add(world: World, given: dict[str, Any], *, checkout_session: str | None = None) -> JSON:
    id = new_id("seti_")
    intent = {
        "id": id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": f"{id}_secret_{new_id('', 25)}",
        "created": world.now(),
        "customer": given.get("customer"),
        "description": given.get("description"),
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": params.merge_metadata({}, given.get("metadata")),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": given.get("payment_method"),
        "payment_method_options": {"card": {"request_three_d_secure": payment_intents.requested_3ds(given)}},
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": given.get("usage") or "off_session",
        "_checkout_session": checkout_session,
        "_return_url": given.get("return_url"),
    }
    world.store.insert(intent)
    events.emit(world, "setup_intent.created", intent)
    return intent


def attempt(world: World, intent: JSON, method: JSON) -> JSON:
    """Tries to keep the card once: succeeded, refused (requires_payment_method) or asking (requires_action)."""
    intent = intent | {"payment_method": method["id"], "last_setup_error": None, "next_action": None}
    card = payment_methods.behaviour(method)
    if card.behaviour == "declines" and not card.can_be_saved:
        return _fail(world, intent, method, payment_intents.decline(card, None))
    requested = intent["payment_method_options"]["card"]["request_three_d_secure"] != "automatic"
    if card.behaviour == "asks" or (card.asks_on_request and requested):
        step = {"return_url": intent["_return_url"], "url": f"{world.url}/3d-secure/{intent['id']}"}
        asking = world.store.save(
            intent | {"next_action": {"redirect_to_url": step, "type": "redirect_to_url"}, "status": "requires_action"}
        )
        events.emit(world, "setup_intent.requires_action", asking)
        return asking
    return _succeed(world, intent, method)


def authenticate(world: World, intent: JSON, *, passed: bool) -> JSON:
    """The 3-D Secure step ended; an intent that no longer waits for it is given back as it is."""
    if intent["status"] != "requires_action":
        return intent
    method = world.need("payment_method", intent["payment_method"])
    if passed:
        return _succeed(world, intent, method)
    error = {
        "code": "setup_intent_authentication_failure",
        "message": "The card could not be authenticated. Try again or use another card.",
        "type": "invalid_request_error",
    }
    return _fail(world, intent, method, error)


def end(world: World, intent: JSON) -> JSON:
    ended = world.store.save(intent | {"next_action": None, "status": "canceled"})
    events.emit(world, "setup_intent.canceled", ended)
    return ended


def _confirm(call: Call, intent: JSON, given: dict[str, Any]) -> JSON | Answer:
    if intent["status"] not in OPEN:
        raise wrong_state(f"This SetupIntent's status is {intent['status']}; it cannot be confirmed any more.")
    chosen = given.get("payment_method") or intent["payment_method"]
    if chosen is None:
        raise missing("payment_method")
    method = payment_methods.resolve(call.world, chosen, param="payment_method")
    payment_methods.check_usable(method, intent["customer"], param="payment_method")
    intent = intent | {"_return_url": given.get("return_url") or intent["_return_url"]}
    done = attempt(call.world, intent, method)
    shown = reading.show(call.world, done, call.expand)
    if done["last_setup_error"] is None:
        return shown
    return Answer(status=402, body={"error": done["last_setup_error"] | {"setup_intent": shown}})


def _succeed(world: World, intent: JSON, method: JSON) -> JSON:
    if intent["customer"]:
        payment_methods.attach_to(world, method, intent["customer"], set_up=intent["usage"] == "off_session")
    changes = {"next_action": None, "payment_method": method["id"], "status": "succeeded"}
    kept = world.store.save(intent | changes)
    events.emit(world, "setup_intent.succeeded", kept)
    return kept


def _fail(world: World, intent: JSON, method: JSON, error: JSON) -> JSON:
    changes = {
        "last_setup_error": error | {"payment_method": reading.show(world, method)},
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    failed = world.store.save(intent | changes)
    events.emit(world, "setup_intent.setup_failed", failed)
    return failed
