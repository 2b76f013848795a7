"""Early fraud warnings: a card's bank says that a payment was none of its holder's."""

from sandbox.psp import disputes, events, params, reading
from sandbox.psp.errors import JSON, invalid
from sandbox.psp.world import Call, World, new_id

KINDS = (
    "card_never_received",
    "fraudulent_card_application",
    "made_with_counterfeit_card",
    "made_with_lost_card",
    "made_with_stolen_card",
    "misc",
    "unauthorized_use_of_card",
)


def retrieve(call: Call) -> JSON:
    return reading.retrieve("radar.early_fraud_warning", call)


def index(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {"charge": params.string(), "payment_intent": params.string()}
    return reading.page("radar.early_fraud_warning", call, url="/v1/radar/early_fraud_warnings", filters=filters)


def add(world: World, charge: JSON, *, kind: str = "unauthorized_use_of_card") -> JSON:
    warning = {
        "id": new_id("issfr_"),
        "object": "radar.early_fraud_warning",
        "actionable": not charge["refunded"] and not charge["disputed"],
        "charge": charge["id"],
        "created": world.now(),
        "fraud_type": kind,
        "livemode": False,
        "payment_intent": charge["payment_intent"],
    }
    world.store.insert(warning)
    events.emit(world, "radar.early_fraud_warning.created", warning)
    return warning


def warn_by_card(world: World, charge_id: str) -> None:
    add(world, world.need("charge", charge_id))


def warn_by_knob(world: World, given: JSON) -> JSON:
    """`charge` or `payment_intent`, `fraud_type`."""
    kind = str(given.get("fraud_type", "unauthorized_use_of_card"))
    if kind not in KINDS:
        raise invalid(f"No such kind of fraud: {kind!r}", param="fraud_type")
    return reading.show(world, add(world, disputes.named_charge(world, given), kind=kind))
