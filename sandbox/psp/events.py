"""Says what happened: an event with a snapshot, and one delivery for each of the merchant's receivers."""

import fnmatch
import random
import time

from sandbox.psp import params, reading
from sandbox.psp.errors import JSON, ApiError
from sandbox.psp.world import API_VERSION, Call, World, new_id


def emit(world: World, type: str, stored: JSON, *, previous: JSON | None = None) -> JSON:
    """Writes the event and its deliveries in the transaction of the change it tells about."""
    data: JSON = {"object": reading.show(world, stored)}
    if previous is not None:
        data["previous_attributes"] = previous
    event = {
        "id": new_id("evt_"),
        "object": "event",
        "api_version": API_VERSION,
        "created": world.now(),
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": world.cause.request_id, "idempotency_key": world.cause.idempotency_key},
        "type": type,
    }
    world.store.insert(event)
    wanted = world.store.setting("enabled_events", ["*"])
    if any(fnmatch.fnmatchcase(type, pattern) for pattern in wanted):
        for position in range(len(world.endpoints)):
            _enqueue(world, event, position)
    world.news.set()
    return event


def enqueue(world: World, *, event_id: str, position: int, due: float, state: str = "pending") -> None:
    world.store.db.execute(
        "INSERT INTO deliveries (event, endpoint, due, state) VALUES (?, ?, ?, ?)",
        (event_id, position, due, state),
    )


def retrieve(call: Call) -> JSON:
    return reading.retrieve("event", call)


def index(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {
        "type": params.string(),
        "types": params.array(params.string()),
        "delivery_success": params.boolean,
    }
    return reading.page("event", call, url="/v1/events", filters=filters)


def check_chaos(given: object) -> None:
    """The setting `chaos`: {} for none, else some of seed, copies, drop, wrong_signature and spread_seconds."""
    limits = {"seed": 2**53, "copies": 100, "drop": 1, "wrong_signature": 1, "spread_seconds": 10**6}
    for name, value in given.items() if isinstance(given, dict) else ():
        if name not in limits or not isinstance(value, int | float) or not 0 <= value <= limits[name]:
            raise ApiError(f"No such part of chaos, or a wrong value: {name}", param="chaos")


def spoiled(world: World, delivery_id: int) -> bool:
    """Whether chaos lets somebody else sign the first try of this delivery."""
    chaos = world.store.setting("chaos", {})
    chance = random.Random(f"{chaos.get('seed', 0)} signature {delivery_id}")
    return chance.random() < float(chaos.get("wrong_signature", 0))


def _enqueue(world: World, event: JSON, position: int) -> None:
    """Deliveries run by the machine's clock: a signature's age is measured there."""
    rule = world.store.take_rule("webhook", event["type"], ("drop", "delay", "repeat"))
    action, value = ("", 0.0) if rule is None else (rule["action"], float(rule["value"]))
    chaos = world.store.setting("chaos", {})
    chance = random.Random(f"{chaos.get('seed', 0)} event {world.store.seq(event['id'], 'event')} {position}")
    dropped = action == "drop" or chance.random() < chaos.get("drop", 0)
    copies = int(value) if action == "repeat" else chance.randint(1, int(chaos.get("copies", 1)))
    for _ in range(1 if dropped else copies):
        late = value if action == "delay" else chance.uniform(0, chaos.get("spread_seconds", 0))
        state = "dropped" if dropped else "pending"
        enqueue(world, event_id=event["id"], position=position, due=time.time() + late, state=state)
