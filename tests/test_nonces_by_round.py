"""Nonces and rounds: no two tickets that can be redeemed at one time share a nonce, whatever round they name."""

import json
import os
import random
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from signing.treasury import check_books
from tests import signer_stage, size
from tests.asked_payments import Account, Row, commit, follow_up
from tests.held_chain import ROUND, ROUND_HASH, HeldChain
from tests.signer_stage import Client, offer, rows, running_signer

pytestmark = pytest.mark.django_db(transaction=True)

_ROWS_READ = """
    SELECT relname, coalesce(idx_tup_fetch, 0) + seq_tup_read FROM pg_stat_xact_user_tables
    WHERE relname IN ('signing_payment', 'signing_session')
"""


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


def test_an_opening_on_ticket_params_used_before_reads_no_other_sessions_under_a_plan_made_on_empty_tables() -> None:
    account, shared = Account(300), os.urandom(32)
    tables = "signing_payment", "signing_session"
    signer_stage.execute("DISCARD PLANS")
    for table in tables:
        signer_stage.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    try:
        assert commit([account.opening(rand_hash=shared)]) == ["committed"]
        assert commit([account.opening(rand_hash=shared, first_nonce=2)]) == ["committed"]
        for _ in range(4):
            assert set(commit([account.opening() for _ in range(60)])) == {"committed"}
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_ROWS_READ)
            before = dict(cursor.fetchall())
            assert commit([account.opening(rand_hash=shared, first_nonce=3)]) == ["committed"]
            cursor.execute(_ROWS_READ)
            for table, rows in cursor.fetchall():
                assert rows - before[table] < 20, table
    finally:
        for table in tables:
            signer_stage.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")


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


def test_a_payment_between_two_rounds_goes_on_above_both_though_the_one_that_began_higher_ended_lower() -> None:
    account, others = Account(300), [Account(20) for _ in range(3)]
    shared = os.urandom(32)
    opened = account.opening(rand_hash=shared, creation_round=3501, first_nonce=2)
    assert commit([account.opening(rand_hash=shared, creation_round=3499, tickets=100), opened]) == ["committed"] * 2
    for between in (
        account.opening(rand_hash=shared, creation_round=3500, first_nonce=3),
        follow_up(opened, rand_hash=shared, creation_round=3500, first_nonce=3),
    ):
        assert commit([between]) == ["stale"]
        assert commit([*(other.opening() for other in others), between]) == ["committed"] * 3 + ["stale"]
    assert commit([{**between, "first_nonce": 101}]) == ["committed"]
    assert issued_twice() == 0


@pytest.mark.parametrize("together", [1, 6])
def test_whatever_rounds_and_senders_share_a_rand_hash_a_nonce_is_good_once(together: int) -> None:
    chance = random.Random(together)
    account, hashes, senders = Account(30_000), [os.urandom(32) for _ in range(3)], ["0x" + "ab" * 20, "0x" + "cd" * 20]
    last: dict[tuple[str, bytes, int], int] = {}

    def highest(sender: str, rand_hash: bytes, round_: int) -> int:
        return max(last.get((sender, rand_hash, round_ + beside), 0) for beside in (-1, 0, 1))

    committed = 0
    for _ in range(size.of(150, full=2_000) // together):
        rows = []
        for rand_hash in (chance.choice(hashes) for _ in range(together)):
            sender, round_ = chance.choice(senders), 3500 + chance.randrange(6)
            first = max(1, highest(sender, rand_hash, round_) + chance.choice((-2, 0, 1, 1, 1, 2)))
            row = account.opening(sender=sender, rand_hash=rand_hash, creation_round=round_, first_nonce=first)
            rows.append({**row, "tickets": chance.choice((1, 3, 60))})
        for row, outcome in zip(rows, commit(rows), strict=True):
            nonces_of = row["sender"], row["rand_hash"], row["creation_round"]
            assert outcome == ("committed" if row["first_nonce"] > highest(*nonces_of) else "stale"), row
            if outcome == "committed":
                last[nonces_of] = row["first_nonce"] + row["tickets"] - 1
                committed += 1
    assert committed > 20
    assert issued_twice() == 0


def test_check_books_counts_with_the_last_round_that_a_row_can_hold() -> None:
    """As a signer wrote it that took any round and did not look beside it."""
    account = Account(10)
    assert commit([account.opening(creation_round=2**63 - 2, tickets=3)]) == ["committed"]
    write_again(first_nonce=3, creation_round=2**63 - 1)
    assert issued_twice() == 1


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


def test_signers_that_see_two_rounds_share_no_nonce_and_give_each_other_s_answers_again() -> None:
    """Offers name no round here: each signer takes the last one that it saw."""
    later = HeldChain(last_initialized_round=ROUND + 1, round_block_hashes={ROUND + 1: b"\xef" * 32, ROUND: ROUND_HASH})
    with running_signer() as here, running_signer(later) as there:
        gateway, owner = here.gateway(dollars_nano=10**12)
        both = [gateway, Client(there.url, gateway.key)]
        shared = offer(creation=(0, b""), price=(1, 1), face_value=10**12)
        requests = [{"orchestrator": shared, "inPixels": 999 * 10**8, "ManifestID": f"m{n}"} for n in range(6)]
        answers = [both[n % 2].pay(**requests[n]) for n in range(5)]
        assert [nonce for answer in answers for nonce in answer.nonces] == list(range(1, 501))
        assert [client.pay(**requests[5]).status for client in both] == [480, 480]
        # No nonce is left, so now signers look before they refuse.
        for client in both:
            assert [client.pay(**members).body for members in requests[:5]] == [answer.body for answer in answers]

        fewer = {"orchestrator": offer(creation=(0, b"")), "type": "fixed"}
        with ThreadPoolExecutor(len(both)) as several:
            paid = several.map(
                lambda client: client.pay_all([{**fewer, "ManifestID": f"{client.url[-5:]}-{n}"} for n in range(8)]),
                both,
            )
            nonces = [nonce for answered in paid for answer in answered for nonce in answer.nonces]
        assert len(set(nonces)) == len(nonces) == 16
        assert {row["creation_round"] for row in rows(owner)} == {ROUND, ROUND + 1}
    assert issued_twice() == 0
