"""Nonces and rounds: no two tickets that can be redeemed at one time share a nonce, whatever round they name."""

import json
import os
import uuid

import pytest

from signing.treasury import check_books
from tests import signer_stage
from tests.asked_payments import Account, Row, commit, follow_up

pytestmark = pytest.mark.django_db(transaction=True)


def asked_in_rounds(account: Account) -> list[tuple[Row, str]]:
    """Openings under one recipient rand hash, in this order, each with its outcome."""
    shared = os.urandom(32)
    return [
        (account.opening(rand_hash=shared, creation_round=round_, first_nonce=nonce), outcome)
        for round_, nonce, outcome in (
            (3500, 1, "committed"),
            (3501, 1, "stale"),
            (3501, 2, "committed"),
            (3500, 2, "stale"),
            (3500, 3, "committed"),
            (3499, 3, "stale"),
            # Nobody can redeem one of these together with one of those above, but for the last.
            (3503, 1, "committed"),
            (3502, 2, "stale"),
            (3502, 3, "committed"),
            (3501, 3, "stale"),
            (3501, 4, "committed"),
        )
    ]


def test_nonces_go_on_in_the_rounds_beside_and_begin_anew_when_those_tickets_are_dead() -> None:
    for row, outcome in asked_in_rounds(Account(10)):
        assert commit([row]) == [outcome], row
    assert issued_twice() == 0


def test_nonces_of_rounds_beside_are_told_apart_in_a_batch_too() -> None:
    account, others = Account(10), [Account(20) for _ in range(3)]
    for row, outcome in asked_in_rounds(account):
        around = [other.opening() for other in others]
        assert commit([*around, row]) == ["committed"] * 3 + [outcome], row
    account = Account(10)
    asked = asked_in_rounds(account)
    assert commit([row for row, _ in asked]) == [outcome for _, outcome in asked]
    assert issued_twice() == 0


def test_a_session_goes_on_under_its_ticket_params_when_a_round_begins() -> None:
    """As where an orchestrator names no round, and the chain's last is taken."""
    account = Account(10)
    first = account.opening(tickets=2)
    assert commit([first]) == ["committed"]
    anew = follow_up(first, rand_hash=first["rand_hash"], creation_round=3501, tickets=1)
    assert commit([anew]) == ["stale"]
    assert commit([{**anew, "first_nonce": 3}]) == ["committed"]


def test_an_opening_asked_again_after_a_round_began_gets_its_first_answer() -> None:
    account = Account(10)
    opened = account.opening()
    assert commit([opened]) == ["committed"]
    again = {**opened, "session": uuid.uuid4().bytes, "creation_round": 3501}
    assert commit([again]) == ["repeat"]
    assert commit([account.opening(), account.opening(), again, account.opening()])[2] == "repeat"
    assert commit([{**again, "tickets": 0}]) == ["repeat"]


@pytest.mark.parametrize(("rounds_later", "overlaps"), [(-2, 0), (-1, 1), (0, 1), (1, 1), (2, 0)])
@pytest.mark.parametrize("round_", [3500, 3501])
def test_check_books_finds_a_nonce_in_two_tickets_that_can_be_redeemed_at_one_time(
    round_: int, rounds_later: int, overlaps: int
) -> None:
    account = Account(10)
    row = account.opening(tickets=3, creation_round=round_)
    assert commit([row]) == ["committed"]
    write_again(first_nonce=3, creation_round=round_ + rounds_later)
    assert issued_twice() == overlaps
    write_again(first_nonce=6, creation_round=round_)
    assert issued_twice() == overlaps


def write_again(**changes: int) -> None:
    """The first payment once more, as nothing of ours would write it."""
    signer_stage.execute(
        "INSERT INTO signing_payment SELECT (jsonb_populate_record(p, %s::jsonb)).* FROM signing_payment p"
        " ORDER BY id LIMIT 1",
        json.dumps({"id": uuid.uuid4().int >> 66, **changes}),
    )


def issued_twice() -> int:
    return check_books.invariants()["sender_nonces_issued_twice"]
