"""Says what happened: an event with a snapshot, and one delivery for each of the merchant's receivers."""

import time

from sandbox.psp import params, reading
from sandbox.psp.errors import JSON
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


def _enqueue(world: World, event: JSON, position: int) -> None:
    """Deliveries run by the machine's clock: a signature's age is measured there."""
    rule = world.store.take_rule("webhook", event["type"], ("drop", "delay", "repeat"))
    action, value = ("", 0.0) if rule is None else (rule["action"], float(rule["value"]))
    due = time.time() + (value if action == "delay" else 0)
    copies = int(value) if action == "repeat" else 1
    for _ in range(copies):
        state = "dropped" if action == "drop" else "pending"
        enqueue(world, event_id=event["id"], position=position, due=due, state=state)
