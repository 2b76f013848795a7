"""Requests to the payment route as bytes, from members that a test changes."""

import base64
import json
from typing import Any

import pytest

from signing.pm import livepeer_pb2
from signing.pm.wire import BadRequest, parse_request


def offer(**changes: Any) -> livepeer_pb2.OrchestratorInfo:
    """An honest offer with every member the signer reads."""
    members: dict[str, Any] = {
        "transcoder": "https://orch.example:8935",
        "ticket_params": livepeer_pb2.TicketParams(
            recipient=b"r" * 20,
            face_value=b"\0\x10",
            win_prob=b"\x20" * 32,
            recipient_rand_hash=b"h" * 32,
            seed=b"\0\x30",
            expiration_block=b"\x40",
        ),
        "price_info": livepeer_pb2.PriceInfo(price_per_unit=3, pixels_per_unit=2),
        "address": b"a" * 20,
        "auth_token": livepeer_pb2.AuthToken(token=b"t", session_id="s", expiration=4_102_444_800),
    }
    return livepeer_pb2.OrchestratorInfo(**(members | changes))


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def body(**members: Any) -> bytes:
    return json.dumps({"orchestrator": b64(offer().SerializeToString())} | members).encode()


def refusal(raw: bytes) -> str:
    with pytest.raises(BadRequest) as refused:
        parse_request(raw)
    return refused.value.code


def with_offer(message: livepeer_pb2.OrchestratorInfo) -> bytes:
    return body(orchestrator=b64(message.SerializeToString()))
