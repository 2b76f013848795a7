"""Idempotency keys: the first result of a key is the only one, for a day."""

import dataclasses
import json
from typing import Any

from sandbox.psp.errors import Answer, ApiError
from sandbox.psp.world import World

LONGEST_KEY = 255
KEPT_SECONDS = 24 * 3600


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as far as its key is concerned; key None means that nothing is kept."""

    key: str | None
    endpoint: str
    fingerprint: str
    request_id: str


def check(key: str) -> None:
    if len(key) > LONGEST_KEY:
        raise ApiError(f"Idempotency keys are at most {LONGEST_KEY} characters long.")


def fingerprint(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def in_use(key: str) -> ApiError:
    return ApiError(
        f"Another request with the idempotency key '{key}' is still running.",
        status=409,
        type="idempotency_error",
        code="idempotency_key_in_use",
    )


def stored(world: World, asked: Asked) -> Answer | None:
    """The kept result of this key; raises an idempotency_error when it belongs to another request."""
    if asked.key is None:
        return None
    world.store.db.execute("DELETE FROM idempotency WHERE created < ?", (world.now() - KEPT_SECONDS,))
    row = world.store.db.execute("SELECT * FROM idempotency WHERE key = ?", (asked.key,)).fetchone()
    if row is None:
        return None
    if row["endpoint"] != asked.endpoint:
        raise _used_otherwise(asked.key, f"the endpoint they were first used for ('{row['endpoint']}')")
    if row["fingerprint"] != asked.fingerprint:
        raise _used_otherwise(asked.key, "the parameters they were first used with")
    return Answer(status=row["status"], body=json.loads(row["body"]), replay_of=row["request_id"])


def remember(world: World, asked: Asked, answer: Answer) -> None:
    """Called in the transaction of the work, so that effect and result are kept together or not at all."""
    if asked.key is None:
        return
    world.store.db.execute(
        "INSERT INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            asked.key,
            asked.endpoint,
            asked.fingerprint,
            asked.request_id,
            answer.status,
            json.dumps(answer.body),
            world.now(),
        ),
    )


def _used_otherwise(key: str, what: str) -> ApiError:
    return ApiError(
        f"Keys for idempotent requests can only be used with {what}. Use another key than '{key}'.",
        type="idempotency_error",
    )
