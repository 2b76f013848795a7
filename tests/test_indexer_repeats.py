"""The indexer goes over what it knows: repeated, raced, killed, rewound or reorganised, every event books once."""

import threading

import pytest
from django.db import connection

from accounts.models import Customer
from billing.models import Journal
from sandbox.chain.client import SandboxChain
from signing.chain import indexer
from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.models import ChainCursor, ChainEvent, Redemption
from signing.treasury import check_books
from tests import chain_cast
from tests.indexer_stage import MILLI, assert_sound, chain, everything, party, payer, settle

__all__ = ["chain", "payer"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_reading_twice_changes_nothing(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    some_history(sandbox, payer)
    settle(sandbox, chain)
    before = everything()
    indexer.index(chain)
    assert everything() == before


def test_a_rewound_cursor_books_nothing_twice(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    some_history(sandbox, payer)
    settle(sandbox, chain)
    before = everything()
    rewind()
    sandbox.mine()
    indexer.index(chain)
    assert_sound()
    assert everything() == before


def test_lost_event_rows_come_back_to_their_journals(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    some_history(sandbox, payer)
    settle(sandbox, chain)
    before = everything()
    ChainEvent.objects.all().delete()
    rewind()
    sandbox.mine()
    indexer.index(chain)
    assert_sound()
    assert everything() == before


def test_many_workers_at_once_book_once(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    some_history(sandbox, payer)
    chain_cast.finalise(sandbox)
    barrier, failures = threading.Barrier(4), []

    def work() -> None:
        own = chain_cast.connected(sandbox)
        try:
            barrier.wait()
            indexer.index(own)
        except ChainUnavailable as error:
            failures.append(error)
        finally:
            own.close()
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert_sound()
    assert Journal.objects.filter(kind="redemption").count() == 4
    assert Redemption.objects.count() == 4


def test_a_pass_that_dies_half_way_leaves_nothing_behind(
    sandbox: SandboxChain, chain: Chain, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_history(sandbox, payer)
    chain_cast.finalise(sandbox)
    before = everything()

    class Killed(Exception):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(indexer, "_move", die)
        with pytest.raises(Killed):
            indexer.index(chain)
    assert everything() == before
    indexer.index(chain)
    assert_sound()
    assert Journal.objects.filter(kind="redemption").count() == 4


def test_new_events_are_shown_before_they_are_booked(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    indexer.index(chain)
    assert Redemption.objects.get().customer == payer
    assert {row.booked_at for row in ChainEvent.objects.all()} == {None}
    assert not Journal.objects.filter(kind="redemption").exists()
    settle(sandbox, chain)
    assert Journal.objects.filter(kind="redemption").count() == 1


def test_an_event_that_a_reorganisation_takes_away_vanishes(
    sandbox: SandboxChain, chain: Chain, payer: Customer
) -> None:
    sold = chain_cast.issue(sandbox, payer, face_value=MILLI)
    chain_cast.redeem(sandbox, sold)
    indexer.index(chain)
    assert Redemption.objects.count() == 1
    sandbox.reorg(2)
    sandbox.mine()
    indexer.index(chain)
    assert (ChainEvent.objects.count(), Redemption.objects.count()) == (0, 0)
    settle(sandbox, chain)
    assert not Journal.objects.filter(kind="redemption").exists()
    # The orchestrator redeems the same ticket again, in another transaction and block.
    chain_cast.redeem(sandbox, sold)
    settle(sandbox, chain)
    assert Journal.objects.filter(kind="redemption").count() == 1


def test_a_ticket_redeemed_again_after_a_reorganisation_has_one_row(
    sandbox: SandboxChain, chain: Chain, payer: Customer
) -> None:
    sold = chain_cast.issue(sandbox, payer, face_value=MILLI)
    chain_cast.redeem(sandbox, sold)
    indexer.index(chain)
    sandbox.reorg(1)
    chain_cast.redeem(sandbox, sold)
    indexer.index(chain)
    assert Redemption.objects.count() == 1
    settle(sandbox, chain)
    assert Journal.objects.filter(kind="redemption").count() == 1


def test_a_replaced_final_block_is_read_again(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    settle(sandbox, chain)
    sandbox.mine(10)
    indexer.index(chain)
    sandbox.reorg(9)
    sandbox.mine()
    indexer.index(chain)
    assert_sound()
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    settle(sandbox, chain)
    assert Journal.objects.filter(kind="redemption").count() == 2


def test_a_vanished_booking_stops_the_books(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    sandbox.mine(10)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    settle(sandbox, chain)
    sandbox.reorg(chain_cast.SAFE_DEPTH + 4)
    sandbox.mine(chain_cast.SAFE_DEPTH + 4)
    before = everything()
    with pytest.raises(indexer.BooksAheadOfChain):
        indexer.index(chain)
    assert everything() == before
    assert check_books.invariants()["booked_blocks_not_on_chain"] == 2


def some_history(sandbox: SandboxChain, payer: Customer) -> None:
    chain_cast.redeem_batch(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI, count=3))
    sandbox.give(party(sandbox, "treasury"), 12_345)
    chain_cast.fund(sandbox, deposit=7, reserve=0)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=2 * MILLI))


def rewind() -> None:
    opening = ChainCursor.objects.get(name__startswith="opening")
    ChainCursor.objects.exclude(pk=opening.pk).update(block_number=opening.block_number, block_hash=opening.block_hash)
