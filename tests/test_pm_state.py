"""The session state: its exact bytes, its seal, and what is refused."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.pm.state import (
    InvalidSig,
    InvalidState,
    PaymentState,
    SealedState,
    StateMismatch,
    check_continues,
    open_state,
    parse_state,
    seal,
    timestamp_text,
)
from tests.vectors import load

KEYS = [b"new key", b"old key"]
RECORDED = load("states")
STATE = PaymentState(
    state_id="617501ed",
    pm_session_id="0x" + "ab" * 32,
    last_update_ns=1_763_756_127_120_000_000,
    orchestrator_address="0x" + "cd" * 20,
    app="a/b",
    auth_expiry=0,
    sender_nonce=3,
    balance_wei=Fraction(-3, 4),
    initial_price_per_unit=150,
    initial_pixels_per_unit=175,
    kind="live",
    sequence_number=7,
    auth_id="",
)


@pytest.mark.parametrize("vector", RECORDED, ids=lambda v: v["name"])
def test_a_recorded_state_is_understood_member_by_member(vector: dict[str, Any]) -> None:
    members, parsed = json.loads(vector["state"]), parse_state(vector["state"].encode())
    assert parsed.balance_wei == Fraction(members["Balance"])
    assert (parsed.app, parsed.kind, parsed.auth_id) == (members["App"], members["Type"], members["AuthID"])
    assert (parsed.sender_nonce, parsed.sequence_number) == (
        members["SenderNonce"],
        members["SequenceNumber"],
    )
    moment = datetime.fromisoformat(members["LastUpdate"])
    if parsed.last_update_ns is None:
        assert moment.year == 1
    else:
        assert parsed.last_update_ns // 1000 == round(moment.timestamp() * 10**6)


@pytest.mark.parametrize("vector", [v for v in RECORDED if "-05:00" not in v["state"]], ids=lambda v: v["name"])
def test_a_recorded_state_is_written_again_byte_for_byte(vector: dict[str, Any]) -> None:
    assert parse_state(vector["state"].encode()).to_bytes() == vector["state"].encode()


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    vector = next(v for v in RECORDED if "-05:00" in v["state"])
    assert b'"LastUpdate":"2023-11-14T22:13:20.123Z"' in parse_state(vector["state"].encode()).to_bytes()


@given(
    app=st.text(st.characters(exclude_categories=["Cs"])),
    last_update_ns=st.none() | st.integers(0, 2**62),
    balance=st.fractions(),
    sequence=st.integers(0, 2**64 - 1),
)
def test_a_state_survives_its_seal(app: str, last_update_ns: int | None, balance: Fraction, sequence: int) -> None:
    state = STATE._replace(app=app, last_update_ns=last_update_ns, balance_wei=balance, sequence_number=sequence)
    assert open_state(seal(state, KEYS), KEYS) == state


def test_a_state_keeps_its_members_in_order_and_is_safe_inside_html() -> None:
    raw = STATE._replace(app="<a>&\u2028é").to_bytes()
    assert list(json.loads(raw)) == [
        "StateID",
        "PMSessionID",
        "LastUpdate",
        "OrchestratorAddress",
        "App",
        "AuthExpiry",
        "SenderNonce",
        "Balance",
        "InitialPricePerUnit",
        "InitialPixelsPerUnit",
        "Type",
        "SequenceNumber",
        "AuthID",
    ]
    assert '"App":"\\u003ca\\u003e\\u0026\\u2028é"'.encode() in raw
    assert not set(raw) & set(b"<>& ")


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_763_756_127_120_000_000, "2025-11-21T20:15:27.12Z"),
    ],
)
def test_a_time_drops_its_trailing_zeros(nanoseconds: int, text: str) -> None:
    assert timestamp_text(nanoseconds) == text


def test_an_old_key_still_opens_and_the_first_one_seals() -> None:
    old = seal(STATE, KEYS[1:])
    assert open_state(old, KEYS) == STATE
    assert open_state(seal(STATE, KEYS), KEYS[:1]) == STATE
    with pytest.raises(InvalidSig):
        open_state(old, KEYS[:1])


def test_every_changed_byte_of_state_or_seal_is_noticed() -> None:
    sealed = seal(STATE, KEYS)
    state, sig = base64.b64decode(sealed["State"]), base64.b64decode(sealed["Sig"])
    changed = [SealedState(state=altered, sig=sig) for altered in _flipped(state)]
    changed += [SealedState(state=state, sig=altered) for altered in _flipped(sig)]
    changed += [SealedState(state=state, sig=sig[:-1]), SealedState(state=state, sig=b"")]
    for altered in changed:
        with pytest.raises(InvalidSig):
            open_state(altered, KEYS)


def test_a_transport_that_is_no_base64_is_an_invalid_sig() -> None:
    with pytest.raises(InvalidSig):
        open_state({"State": "*", "Sig": ""}, KEYS)


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"",
        b"not json",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"SenderNonce":1.5}',
        b'{"SenderNonce":4294967296}',
        b'{"SenderNonce":true}',
        b'{"SequenceNumber":-1}',
        b'{"App":5}',
        b'{"Balance":"x"}',
        b'{"LastUpdate":"yesterday"}',
        b'{"LastUpdate":"2025-13-01T00:00:00Z"}',
    ],
    ids=lambda raw: raw[:30].decode("latin-1"),
)
def test_sealed_bytes_that_are_no_state_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidState, match=r"^invalid state$"):
        parse_state(raw)


def test_a_state_goes_on_only_with_its_own_orchestrator_app_and_job_type() -> None:
    address = bytes.fromhex("cd" * 20)
    check_continues(STATE, orchestrator_address=address, app="a/b", kind="live")
    check_continues(STATE._replace(kind=""), orchestrator_address=address, app="a/b", kind="lv2v")
    for changes, code in (
        ({"orchestrator_address": bytes(20)}, "orchestrator_mismatch"),
        ({"app": ""}, "app_mismatch"),
        ({"kind": "lv2v"}, "job_type_mismatch"),
    ):
        terms: dict[str, Any] = {"orchestrator_address": address, "app": "a/b", "kind": "live"}
        with pytest.raises(StateMismatch) as mismatch:
            check_continues(STATE, **(terms | changes))
        assert mismatch.value.code == code


def test_a_session_without_a_positive_price_cannot_go_on() -> None:
    assert STATE.initial_price() == Fraction(6, 7)
    for priceless in (STATE._replace(initial_price_per_unit=0), STATE._replace(initial_pixels_per_unit=-1)):
        with pytest.raises(InvalidState, match=r"^invalid initial price in state$"):
            priceless.initial_price()


def test_the_zone_of_the_epoch_is_utc() -> None:
    assert timestamp_text(int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9) == "2026-01-01T00:00:00Z"


def _flipped(raw: bytes) -> list[bytes]:
    return [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(len(raw))]


@given(key=st.binary(min_size=1, max_size=100))
def test_a_seal_is_hmac_sha256_under_a_key_of_any_length(key: bytes) -> None:
    for _ in range(2):
        sealed = seal(STATE, [key])
        assert base64.b64decode(sealed["Sig"]) == hmac.digest(key, STATE.to_bytes(), hashlib.sha256)
