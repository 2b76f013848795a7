"""Requests that were recorded at the network's own signer get the same status and the same tickets from ours."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from signing.pm.ceilings import SenderFunds
from signing.pm.tickets import MAX_UINT256
from tests.held_chain import HeldChain
from tests.signer_stage import running_signer
from tests.vectors import load

pytestmark = pytest.mark.django_db(transaction=True)
# Of these the outcome is ours on purpose, or needs a state that our own key sealed.
NOT_OVER_HTTP = {
    "no reserve": 503,
    "withdrawRound = round+1": 503,
    "withdrawRound past": 503,
    "totalEV 10 tickets (rounding pushes above)": 400,
    "totalEV 11 tickets above maxTotalEV": 400,
}
OUR_SHORTAGE_TEXTS = ("no sender deposit", "max faceValue", "unable to validate sender", "no sender reserve")


def recorded() -> list[dict[str, Any]]:
    """The recordings of first requests; those that continue a session carry another signer's seal."""
    found = []
    for vector in load("signer_http"):
        try:
            members = json.loads(vector["requestText"])
        except ValueError:
            members = {}
        names = {name.lower() for name in members} if isinstance(members, dict) else set()
        if vector["status"] > 0 and "state" not in names:
            found.append(vector)
    return found


def settings_of(config: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return (
        ("MAX_TICKET_EV_WEI", Fraction(config["maxTicketEV"])),
        ("MAX_TOTAL_EV_WEI", Fraction(config["maxTotalEV"])),
        ("DEPOSIT_MULTIPLIER", config["depositMultiplier"]),
        ("MAX_PRICE_PER_UNIT", Fraction(config["maxPricePerUnit"] or 0)),
        ("MAX_FACE_VALUE_WEI", MAX_UINT256),
        ("RECIPIENT_POLICY", "any"),
    )


def expected_status(vector: dict[str, Any]) -> int:
    if vector["name"] in NOT_OVER_HTTP:
        return NOT_OVER_HTTP[vector["name"]]
    if any(text in vector["body"] for text in OUR_SHORTAGE_TEXTS):
        return 503
    return int(vector["status"])


def test_recorded_requests_get_the_recorded_status_and_tickets() -> None:
    by_settings: dict[tuple[tuple[str, Any], ...], list[dict[str, Any]]] = {}
    for vector in recorded():
        by_settings.setdefault(settings_of(vector["config"]), []).append(vector)
    assert sum(len(vectors) for vectors in by_settings.values()) > 40
    for changed, vectors in by_settings.items():
        chain = HeldChain()
        with running_signer(chain, **dict(changed)) as stage:
            gateway, _ = stage.gateway(dollars_nano=10**12)
            for vector in vectors:
                hold(chain, vector["config"])
                answer = gateway.request("POST", "/generate-live-payment", vector["requestText"].encode())
                assert answer.status == expected_status(vector), (vector["name"], answer.body)
                if answer.status == 200:
                    assert answer.json["payment"] == json.loads(vector["body"])["payment"], vector["name"]
                else:
                    assert answer.code


def hold(chain: HeldChain, config: dict[str, Any]) -> None:
    funds = SenderFunds(
        deposit_wei=int(config["deposit"]),
        reserve_wei=int(config["reserve"]),
        withdraw_round=int(config["withdrawRound"]),
    )
    last = int(config["lastInitializedRound"])
    view = chain.view()
    chain.current = replace(
        view,
        funds=funds,
        last_initialized_round=last,
        current_round=last,
        round_block_hashes={last: bytes.fromhex(config["lastInitializedL1BlockHash"].removeprefix("0x"))},
        l1_block=int(config["lastSeenL1Block"]),
        rate=replace(view.rate, updated_at=datetime.now(UTC)),
    )
