"""Carries events to the merchant: signed, again and again with growing pauses, until a 2xx comes back."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import sqlite3
import time

import aiohttp

from sandbox.psp import events, reading
from sandbox.psp.world import Endpoint, World

AT_ONCE = 16
LONGEST_PAUSE_SECONDS = 60.0
TIMEOUT = aiohttp.ClientTimeout(total=20)
STALE_SECONDS = 3600


def sign(secret: str, body: bytes, stamp: int) -> str:
    """The Stripe-Signature header: HMAC-SHA256 over `<stamp>.<body>`."""
    digest = hmac.new(secret.encode(), b"%d." % stamp + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


async def carry(world: World) -> None:
    """Runs for good: starts what is due, sleeps until the next thing is."""
    under_way: set[int] = set()
    async with aiohttp.ClientSession(timeout=TIMEOUT) as http, asyncio.TaskGroup() as tasks:
        while True:
            world.news.clear()
            for row in _due(world, AT_ONCE + len(under_way)):
                if row["id"] not in under_way and len(under_way) < AT_ONCE:
                    under_way.add(row["id"])
                    tasks.create_task(_carry_one(world, http, row, under_way))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(world.news.wait(), _seconds_to_next(world, under_way))


async def _carry_one(world: World, http: aiohttp.ClientSession, row: sqlite3.Row, under_way: set[int]) -> None:
    status: int | None = None
    error: str | None = None
    try:
        status = await _post(world, http, row)
    except (aiohttp.ClientError, TimeoutError) as problem:
        error = type(problem).__name__
    finally:
        under_way.discard(row["id"])
    _note(world, row, status, error)
    world.news.set()


async def _post(world: World, http: aiohttp.ClientSession, row: sqlite3.Row) -> int:
    endpoint = world.endpoints[row["endpoint"]]
    event = reading.show(world, world.need("event", row["event"]))
    body = json.dumps(event, indent=2).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": _signature(world, endpoint, row, event["type"], body),
        "User-Agent": "Sandbox Pay/1.0",
    }
    async with http.post(endpoint.url, data=body, headers=headers, allow_redirects=False) as response:
        await response.read()
        return response.status


def _signature(world: World, endpoint: Endpoint, row: sqlite3.Row, event_type: str, body: bytes) -> str:
    with world.store.transaction():
        rule = world.store.take_rule("webhook", event_type, ("wrong_signature", "old_timestamp"))
    now = int(time.time())
    if row["tries"] == 0 and events.spoiled(world, row["id"]):
        return sign("whsec_of_somebody_else", body, now)
    match rule and rule["action"]:
        case "wrong_signature":
            return sign("whsec_of_somebody_else", body, now)
        case "old_timestamp":
            return sign(endpoint.secret, body, now - STALE_SECONDS)
    return sign(endpoint.secret, body, now)


def _note(world: World, row: sqlite3.Row, status: int | None, error: str | None) -> None:
    tries = row["tries"] + 1
    delivered = status is not None and 200 <= status < 300
    state = "delivered" if delivered else "failed" if tries >= world.max_tries else "pending"
    pause = min(world.retry_base_seconds * 2 ** (tries - 1), LONGEST_PAUSE_SECONDS)
    world.store.db.execute(
        "UPDATE deliveries SET state = ?, tries = ?, due = ?, last_status = ?, last_error = ? WHERE id = ?",
        (state, tries, time.time() + pause, status, error, row["id"]),
    )


def _due(world: World, limit: int) -> list[sqlite3.Row]:
    if world.store.setting("paused", False):
        return []
    sql = "SELECT * FROM deliveries WHERE state = 'pending' AND due <= ? AND endpoint < ? ORDER BY due, id LIMIT ?"
    return world.store.db.execute(sql, (time.time(), len(world.endpoints), limit)).fetchall()


def _seconds_to_next(world: World, under_way: set[int]) -> float | None:
    """None (until news) when nothing waits, when deliveries are paused or when all hands are full."""
    if world.store.setting("paused", False) or len(under_way) >= AT_ONCE:
        return None
    sql = "SELECT id, due FROM deliveries WHERE state = 'pending' AND endpoint < ? ORDER BY due, id LIMIT ?"
    rows = world.store.db.execute(sql, (len(world.endpoints), len(under_way) + 1)).fetchall()
    waiting = [row["due"] for row in rows if row["id"] not in under_way]
    return max(0.0, min(waiting) - time.time()) if waiting else None
