"""Payments as the signer asks for them, made by hand: rows without signatures, and the function that commits them."""

import json
import os
import time
import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import connection
from psycopg.adapt import Dumper
from psycopg.pq import Format

from accounts.models import ApiKey, Customer
from signing.pm.state import base64_text
from signing.signer.asked_payments import asked_payment, pack
from signing.signer.stored_answers import kept
from tests import builders, signer_stage
from tests.signer_stage import COST, price_of

type Row = dict[str, Any]


class _Packed(bytes):
    """An array of payments, for a parameter that is cast to their type."""


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Packed) -> bytes:
        return obj


class Account:
    """A customer with credit for some tickets of one price."""

    def __init__(self, tickets: int) -> None:
        self.owner: Customer = builders.customer()
        self.key: ApiKey = builders.api_key(self.owner)
        if tickets:
            builders.credit(self.owner, tickets * price_of(COST), reference=f"test:{uuid.uuid4().hex}")
        self.rate = builders.rate()

    def opening(self, **changes: Any) -> Row:
        return {
            "customer": self.owner.pk,
            "api_key": self.key.pk,
            "session": uuid.uuid4().bytes,
            "at": int(time.time() * 1_000_000),
            "sender": "0x" + "ab" * 20,
            "orchestrator": "0x" + "0d" * 20,
            "orchestrator_url": "https://orch.example:8935",
            "recipient": "0x" + "0c" * 20,
            "app": "",
            "kind": "fixed",
            "manifest_id": "m",
            "rand_hash": os.urandom(32),
            "first_nonce": 1,
            "tickets": 1,
            "balance": "1/3",
            "price_per_unit": 3,
            "pixels_per_unit": 1,
            "digest": os.urandom(64),
            "answer": kept(os.urandom(285), os.urandom(205), {"State": "", "Sig": base64_text(os.urandom(32))}),
            "label": "",
            "billed_units": str(1),
            "fee_wei": str(3),
            "cost_wei": str(COST),
            "rate": self.rate,
            "markup_bps": signer_stage.MARKUP_BPS,
            "face_value_wei": str(10**15),
            "win_prob": str(2**246),
            "creation_round": 3500,
            "creation_round_block_hash": b"\xab" * 32,
            **changes,
        }


def follow_up(row: Row, **changes: Any) -> Row:
    """What comes after `row` in its session, with other ticket parameters."""
    expected = -1 if "presented" not in row else row["expected"]
    return {
        **row,
        "presented": expected + 1,
        "expected": expected + 1,
        "expected_balance": row["balance"],
        "expected_at": row["at"],
        "at": row["at"] + 1000,
        "balance": "2/3",
        "rand_hash": os.urandom(32),
        "digest": os.urandom(64),
        **changes,
    }


def commit(rows: Sequence[Row]) -> list[str]:
    """The outcome or refusal code of each."""
    return [result.get("code") or result["outcome"] for result in told(rows)]


def told(rows: Sequence[Row]) -> list[Row]:
    """What the commit says of each."""
    connection.ensure_connection()
    connection.connection.adapters.register_dumper(_Packed, _PackedDumper)
    with psycopg.Cursor(connection.connection) as cursor:
        [(type_id,)] = cursor.execute("SELECT 'signing_asked_payment'::regtype::oid::bigint").fetchall()
        asked = _Packed(pack([asked_payment(**row) for row in rows], type_id=type_id))
        [(text,)] = cursor.execute("SELECT signing_commit_payments(%b::signing_asked_payment[])", [asked]).fetchall()
    results: list[Row] = json.loads(text)["results"] if text else [{"outcome": "committed"}] * len(rows)
    assert len(results) == len(rows)
    return results
