"""The recipient's formulas, against ticket parameters recorded from the network's own recipient."""

from fractions import Fraction
from typing import Any

import pytest

from sandbox.orchestrator import params
from signing.pm.tickets import Ticket, is_winner
from tests.vectors import load, unhex
from tests.vectors.pure_signer import is_signed_by

RECORDED = load("recipient_params")
ISSUED = [vector for vector in RECORDED if not vector["error"]]
REFUSED = [vector for vector in RECORDED if vector["error"]]


def face_value_of(vector: dict[str, Any]) -> int:
    return params.face_value(
        price=Fraction(vector["price"]),
        ticket_ev_wei=int(vector["ticketEV"]),
        gas_price_wei=int(vector["gasPrice"]),
        redeem_gas=vector["redeemGas"],
        tx_cost_multiplier=vector["txCostMultiplier"],
        max_float_wei=params.max_float(reserve_wei=int(vector["reserve"]), pool_size=vector["poolSize"]),
        max_face_value_wei=int(vector["maxFaceValue"]),
    )


def rand_of(vector: dict[str, Any], **changes: Any) -> int:
    issued, creation = vector["params"], vector["expirationParams"]
    terms: dict[str, Any] = {
        "secret": unhex(vector["secret"]),
        "seed": int(issued["seed"]),
        "sender": unhex(vector["sender"]),
        "face_value": int(issued["faceValue"]),
        "win_prob": int(issued["winProb"]),
        "expiration_block": int(issued["expirationBlock"]),
        "price": Fraction(vector["price"]),
        "aux_data": params.aux_data(creation["creationRound"], unhex(creation["creationRoundBlockHash"])),
    }
    return params.recipient_rand(**(terms | changes))


@pytest.mark.parametrize("vector", ISSUED, ids=lambda v: v["round"])
def test_an_offer_has_the_recorded_face_value_chance_and_secret_number(vector: dict[str, Any]) -> None:
    issued = vector["params"]
    face_value = face_value_of(vector)
    assert face_value == int(issued["faceValue"])
    assert params.win_prob(face_value, int(vector["ticketEV"])) == int(issued["winProb"])
    assert rand_of(vector) == int(vector["recipientRand"])
    assert params.recipient_rand_hash(rand_of(vector)) == unhex(issued["recipientRandHash"])


@pytest.mark.parametrize("vector", REFUSED, ids=lambda v: v["round"])
def test_a_reserve_too_small_to_redeem_from_gets_no_offer(vector: dict[str, Any]) -> None:
    with pytest.raises(params.InsufficientSenderReserve, match=vector["error"]):
        face_value_of(vector)


@pytest.mark.parametrize("vector", [v for v in ISSUED if "sampleTicketHash" in v], ids=lambda v: v["round"])
def test_a_ticket_of_an_offer_has_the_recorded_hash_signature_and_draw(vector: dict[str, Any]) -> None:
    issued, creation = vector["params"], vector["expirationParams"]
    hashes = {
        Ticket(
            recipient=unhex(issued["recipient"]),
            sender=unhex(vector["sender"]),
            face_value=int(issued["faceValue"]),
            win_prob=int(issued["winProb"]),
            sender_nonce=nonce,
            recipient_rand_hash=unhex(issued["recipientRandHash"]),
            creation_round=creation["creationRound"],
            creation_round_block_hash=unhex(creation["creationRoundBlockHash"]),
        ).hash()
        for nonce in range(3)
    }
    recorded, signature = unhex(vector["sampleTicketHash"]), unhex(vector["sampleTicketSig"])
    assert recorded in hashes
    assert is_signed_by(unhex(vector["sender"]), recorded, signature)
    assert is_winner(signature, rand_of(vector), int(issued["winProb"])) is vector["sampleWon"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"sender": bytes(20)},
        {"face_value": 1},
        {"win_prob": 1},
        {"expiration_block": 1},
        {"price": Fraction(1, 7)},
        {"aux_data": b""},
        {"secret": b"another"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_everything_issued_is_bound_into_the_secret_number(changes: dict[str, Any]) -> None:
    assert rand_of(ISSUED[0], **changes) != rand_of(ISSUED[0])


def test_a_sender_counts_for_an_equal_share_of_its_reserve() -> None:
    assert params.max_float(reserve_wei=1000, claimed_wei=99, already_claimed_wei=3, pool_size=100) == 7
    assert params.max_float(reserve_wei=1000, pool_size=0) == 0


def test_a_ticket_worth_its_face_value_always_wins() -> None:
    assert params.win_prob(5, 5) == 2**256 - 1
    assert params.win_prob(0, 5) == 0


def test_an_auth_token_proves_its_session_and_its_end() -> None:
    token = params.auth_token(b"secret", "session", 100)
    assert len(token) == 32
    assert token != params.auth_token(b"secret", "session", 101)
    assert token != params.auth_token(b"secret", "another", 100)
    assert token != params.auth_token(b"another", "session", 100)
