"""Tickets: their hashes, values and draws, against recorded and on-chain tickets."""

from fractions import Fraction
from typing import Any

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signing.pm.tickets import InvalidTicket, Ticket, expected_value, is_winner, keccak256, ticket_hashes
from tests.vectors import load, unhex
from tests.vectors.pure_signer import address_of, is_signed_by, sign_personal

ZERO = Ticket(bytes(20), bytes(20), 0, 0, 0, bytes(32), 0, bytes(32))
FULL = Ticket(
    recipient=bytes(range(1, 21)),
    sender=bytes(range(21, 41)),
    face_value=int.from_bytes(bytes(range(41, 73))),
    win_prob=int.from_bytes(bytes(range(73, 105))),
    sender_nonce=0x01020304,
    recipient_rand_hash=bytes(range(105, 137)),
    creation_round=0x0102030405060708,
    creation_round_block_hash=bytes(range(137, 169)),
)
LENGTHS = {
    "recipient": 20,
    "sender": 20,
    "face_value": 32,
    "win_prob": 32,
    "sender_nonce": 4,
    "recipient_rand_hash": 32,
    "creation_round": 8,
    "creation_round_block_hash": 32,
}
RECORDED = load("tickets")
ON_CHAIN = [vector for vector in load("onchain_tickets") if vector["creationRound"]]


def ticket_of(vector: dict[str, Any]) -> Ticket:
    return Ticket(
        recipient=unhex(vector["recipient"]),
        sender=unhex(vector["sender"]),
        face_value=int(vector["faceValue"]),
        win_prob=int(vector["winProb"]),
        sender_nonce=vector["senderNonce"],
        recipient_rand_hash=unhex(vector["recipientRandHash"]),
        creation_round=vector["creationRound"],
        creation_round_block_hash=unhex(vector["creationRoundBlockHash"]),
    )


def is_refused(vector: dict[str, Any]) -> bool:
    return vector["creationRound"] < 0 or max(int(vector["faceValue"]), int(vector["winProb"])) >= 2**256


@pytest.mark.parametrize("vector", [v for v in RECORDED if not is_refused(v)], ids=lambda v: v["name"])
def test_a_recorded_ticket_has_the_networks_hash_value_and_draw(vector: dict[str, Any]) -> None:
    ticket = ticket_of(vector)
    signature = unhex(vector["sig"])
    assert ticket.hash() == unhex(vector["hash"])
    assert ticket.expected_value() == Fraction(vector["ev"])
    assert is_signed_by(ticket.sender, ticket.hash(), signature)
    assert is_winner(signature, int(vector["recipientRand"]), ticket.win_prob) is vector["won"]


@pytest.mark.parametrize("vector", [v for v in RECORDED if is_refused(v)], ids=lambda v: v["name"])
def test_a_ticket_no_contract_accepts_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidTicket):
        ticket_of(vector)


@pytest.mark.parametrize("vector", ON_CHAIN, ids=lambda v: f"nonce {v['senderNonce']}")
def test_a_ticket_has_the_hash_and_the_draw_the_contract_computed(vector: dict[str, Any]) -> None:
    ticket = ticket_of(vector)
    assert ticket.hash() == unhex(vector["ticketHash"])
    won = is_winner(unhex(vector["sig"]), int(vector["recipientRand"]), ticket.win_prob)
    assert won is vector["wins"]


def test_a_ticket_without_a_creation_round_is_hashed_without_it_and_never_redeemed() -> None:
    vector = next(vector for vector in load("onchain_tickets") if not vector["creationRound"])
    ticket = ticket_of(vector)
    packed = ticket.recipient + ticket.sender + bytes(3 * 32) + ticket.recipient_rand_hash
    assert ticket.hash() == keccak256(packed)
    assert unhex(vector["ticketHash"]) == keccak256(packed + unhex(vector["auxData"]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sender_nonce": 1}, "ce0918ba94518293e9712effbe5fca4f1f431089833a5b8c257cb1e024595f68"),
        ({"sender_nonce": 2**32 - 1}, "e1393fc7f6de093780674022f96cb8e3872235167d037c04d554e58c0e63d280"),
        (
            {"face_value": 1, "win_prob": 500},
            "87ef13f2d37e4d5352a01d3c77b8179d80e0887f1953bfabfd0bfd7b0f689ddd",
        ),
        (
            {"face_value": 500, "win_prob": 1},
            "aa4b35071043587992ac8b9dd1b2cf1d8311130e6458cf0b2342484e21af5f5b",
        ),
        (
            {"recipient": bytes.fromhex("73aed7b5deb30222fa896f399d46cc99c7bee57f")},
            "81e353ae39046e2b77b9f996abbaeed527fda559b61ef90f299c4499dd508ccc",
        ),
    ],
)
def test_the_networks_fixed_points_hold(changes: dict[str, Any], expected: str) -> None:
    fields = {name: getattr(ZERO, name) for name in LENGTHS}
    assert Ticket(**(fields | changes)).hash().hex() == expected


@pytest.mark.parametrize(("field", "at"), [(field, at) for field, length in LENGTHS.items() for at in range(length)])
def test_every_byte_of_every_field_changes_the_hash(field: str, at: int) -> None:
    fields = {name: getattr(FULL, name) for name in LENGTHS}
    given_value = fields[field]
    if isinstance(given_value, bytes):
        changed: bytes | int = given_value[:at] + bytes([given_value[at] ^ 1]) + given_value[at + 1 :]
    else:
        changed = given_value ^ (1 << 8 * at)
    assert Ticket(**(fields | {field: changed})).hash() != FULL.hash()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recipient", bytes(19)),
        ("recipient", bytes(21)),
        ("sender", bytes(19)),
        ("recipient_rand_hash", bytes(31)),
        ("creation_round_block_hash", bytes(33)),
        ("face_value", -1),
        ("face_value", 2**256),
        ("win_prob", -1),
        ("win_prob", 2**256),
        ("sender_nonce", -1),
        ("sender_nonce", 2**32),
        ("creation_round", -1),
        ("creation_round", 2**63),
    ],
)
def test_a_field_that_does_not_fit_is_refused(field: str, value: Any) -> None:
    fields = {name: getattr(FULL, name) for name in LENGTHS}
    with pytest.raises(InvalidTicket, match=field):
        Ticket(**(fields | {field: value}))


@given(
    face_value=st.integers(0, 2**256 - 1),
    nonce=st.integers(0, 2**32 - 101),
    round_=st.sampled_from([0, 1, 3500]),
    block_hash=st.sampled_from([bytes(32), bytes(31) + b"\1"]),
    count=st.integers(1, 100),
)
def test_a_batch_has_the_hashes_of_its_tickets(
    face_value: int, nonce: int, round_: int, block_hash: bytes, count: int
) -> None:
    fields = {name: getattr(FULL, name) for name in LENGTHS}
    fields |= {"face_value": face_value, "creation_round": round_, "creation_round_block_hash": block_hash}
    batch = ticket_hashes(Ticket(**(fields | {"sender_nonce": nonce})), count)
    singles = [Ticket(**(fields | {"sender_nonce": nonce + more})).hash() for more in range(count)]
    assert list(batch) == singles


def test_a_batch_does_not_run_past_the_last_nonce() -> None:
    fields = {name: getattr(FULL, name) for name in LENGTHS} | {"sender_nonce": 2**32 - 2}
    assert len(ticket_hashes(Ticket(**fields), 2)) == 2
    with pytest.raises(InvalidTicket):
        ticket_hashes(Ticket(**fields), 3)


def test_the_value_of_a_ticket_is_divided_by_the_largest_256_bit_number() -> None:
    assert expected_value(1000, 2**256 - 1) == 1000
    assert expected_value(1000, 0) == 0
    assert expected_value(0, 2**256 - 1) == 0


def test_a_win_needs_a_draw_strictly_below_the_chance() -> None:
    signature, rand = bytes(65), 7
    draws = [chance for chance in (0, 2**256 - 1) if is_winner(signature, rand, chance)]
    assert draws == [2**256 - 1]
    low, high = 0, 2**256 - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_winner(signature, rand, middle) else (middle, high)
    assert not is_winner(signature, rand, low)
    assert is_winner(signature, rand, high)


def test_a_signature_made_here_is_the_recorded_one() -> None:
    vector = RECORDED[0]
    key = PrivateKey(unhex(vector["key"]))
    assert address_of(key.public_key) == unhex(vector["sender"])
    assert sign_personal(key, unhex(vector["hash"])) == unhex(vector["sig"])
