"""Questions that are asked again: two signers over one database, openings and what follows them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.signer_stage import Answer, Stage, offer, running_signer


@pytest.fixture
def two(stage: Stage) -> Iterator[tuple[Stage, Stage]]:
    """Two signers over one database."""
    with running_signer(stage.chain) as other:
        yield stage, other


def opening(**changes: Any) -> dict[str, Any]:
    return {"orchestrator": offer(price=(9 * 10**11, 1)), "type": "fixed", **changes}


def follow_up(first: Answer, **changes: Any) -> dict[str, Any]:
    return {**opening(), "state": first.json["state"], "ManifestID": "m", **changes}


def check_no_nonce_twice(paid: list[dict[str, Any]]) -> None:
    issued = [
        (bytes(row["recipient_rand_hash"]), nonce)
        for row in paid
        for nonce in range(row["first_nonce"], row["first_nonce"] + row["tickets"])
    ]
    assert len(set(issued)) == len(issued)
