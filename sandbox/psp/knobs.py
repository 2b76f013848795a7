"""The sandbox's own doors under /sandbox/: what a test turns to make the outside world misbehave."""

import asyncio
import os
import signal
import time
from typing import Any

from aiohttp import web

from sandbox.psp import events, payouts
from sandbox.psp.errors import JSON, ApiError, rate_limited
from sandbox.psp.world import World

SETTINGS: dict[str, type | tuple[type, ...]] = {
    "paused": bool,
    "latency_seconds": (int, float),
    "settle_after_seconds": (int, float),
    "delayed_payment_after_seconds": (int, float),
    "refund_moves_after_seconds": (int, float),
    "verdict_after_seconds": (int, float),
    "dispute_fee_returned": bool,
    "automatic_payouts": bool,
    "payout_takes_seconds": (int, float),
    "chaos": dict,
    "enabled_events": list,
    "tax_head_office": str,
    "tax_registrations": list,
}
WEBHOOK_ACTIONS = ("drop", "delay", "repeat", "wrong_signature", "old_timestamp")
API_ACTIONS = (
    "error_before",
    "error_after",
    "hang_up_before",
    "hang_up_after",
    "crash_before",
    "crash_after",
    "rate_limit",
)


class HangUp(Exception):
    """The connection is to be cut without an answer."""


def show(world: World) -> JSON:
    counts = world.store.db.execute("SELECT state, count(*) AS n FROM deliveries GROUP BY state").fetchall()
    rules = world.store.db.execute("SELECT * FROM rules WHERE remaining > 0 ORDER BY id").fetchall()
    return {
        "now": world.now(),
        "paused": world.store.setting("paused", False),
        "latency_seconds": world.store.setting("latency_seconds", 0),
        "settle_after_seconds": world.store.setting("settle_after_seconds", 0.2),
        "chaos": world.store.setting("chaos", {}),
        "endpoints": [endpoint.url for endpoint in world.endpoints],
        "deliveries": {row["state"]: row["n"] for row in counts},
        "rules": [dict(row) for row in rules],
    }


def change_settings(world: World, given: JSON) -> JSON:
    for name, value in given.items():
        if name not in SETTINGS or not isinstance(value, SETTINGS[name]):
            raise ApiError(f"No such setting, or a wrong value: {name}", param=name)
        if name == "chaos":
            events.check_chaos(value)
        world.store.set(name, value)
    payouts.plan(world)
    world.news.set()
    return show(world)


def advance_clock(world: World, given: JSON) -> JSON:
    """Time only goes forward, so that lists stay in order."""
    seconds = given.get("advance_seconds")
    if not isinstance(seconds, int | float) or seconds < 0:
        raise ApiError("advance_seconds must be a number of seconds, not negative.", param="advance_seconds")
    world.store.set("clock_offset_seconds", world.store.setting("clock_offset_seconds", 0) + seconds)
    world.alarm.set()
    return show(world)


def add_rule(world: World, given: JSON) -> JSON:
    kind, action = given.get("kind"), given.get("action")
    allowed = {"webhook": WEBHOOK_ACTIONS, "api": API_ACTIONS}.get(str(kind), ())
    if action not in allowed:
        raise ApiError(f"No such action: kind {kind!r}, action {action!r}", param="action")
    times = _whole(given, "times", 1)
    values = (kind, str(given.get("pattern", "*")), action, float(given.get("value", 0)), times)
    sql = "INSERT INTO rules (kind, pattern, action, value, remaining) VALUES (?, ?, ?, ?, ?)"
    world.store.db.execute(sql, values)
    return show(world)


def clear_rules(world: World) -> JSON:
    world.store.db.execute("UPDATE rules SET remaining = 0")
    return show(world)


def list_deliveries(world: World, event_id: str | None) -> JSON:
    sql = (
        "SELECT d.*, json_extract(o.body, '$.type') AS type FROM deliveries d"
        " JOIN objects o ON o.id = d.event WHERE ? IS NULL OR d.event = ? ORDER BY d.id"
    )
    return {"data": [dict(row) for row in world.store.db.execute(sql, (event_id, event_id))]}


def deliver_again(world: World, event_id: str, given: JSON) -> JSON:
    world.need("event", event_id)
    for _ in range(_whole(given, "times", 1)):
        for position in range(len(world.endpoints)):
            events.enqueue(world, event_id=event_id, position=position, due=time.time())
    world.news.set()
    return list_deliveries(world, event_id)


def take_fault(world: World, request: web.Request) -> str:
    """The fault this request must suffer, spent whatever comes of the request; "" for none."""
    with world.store.transaction():
        rule = world.store.take_rule("api", f"{request.method} {request.path}", API_ACTIONS)
    return "" if rule is None else str(rule["action"])


def strike(fault: str, moment: str) -> None:
    """Suffers the fault when its moment, "before" or "after" the effect, has come."""
    if fault == "rate_limit" and moment == "before":
        raise rate_limited()
    if fault == f"hang_up_{moment}":
        raise HangUp
    if fault == f"crash_{moment}":
        os.kill(os.getpid(), signal.SIGKILL)


def cut(request: web.Request) -> web.StreamResponse:
    """Ends the connection; the response given back can no longer leave."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def lag(world: World) -> None:
    seconds = float(world.store.setting("latency_seconds", 0))
    if seconds:
        await asyncio.sleep(seconds)


def _whole(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if not isinstance(value, int) or not 1 <= value <= 1000:
        raise ApiError(f"{name} must be from 1 to 1000.", param=name)
    return value
