"""Stories of the indexer: every event books once, whatever is repeated, raced, rewound or reorganised."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from accounts.models import Customer
from billing import check_books as billing_books
from billing import ledger
from billing.models import Journal
from sandbox.chain.client import SandboxChain
from signing.chain import indexer
from signing.chain.ethereum import Chain, ChainUnavailable
from signing.models import ChainCursor, ChainEvent, ChainSnapshot, Redemption
from signing.treasury import check_books
from tests import builders, chain_cast
from tests.chain_cast import ETHER

pytestmark = pytest.mark.django_db(transaction=True)
MILLI = ETHER // 1_000


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxChain]:
    folder: Path = tmp_path_factory.mktemp("chain")
    with chain_cast.quiet_chain(folder) as chain:
        yield chain


@pytest.fixture
def chain(sandbox: SandboxChain, settings: Settings) -> Iterator[Chain]:
    """Our door to the chain, with books that were opened at what stands there now."""
    chain_cast.point_at(settings, sandbox)
    snapshot = sandbox.rpc("evm_snapshot")
    chain_cast.fund(sandbox, deposit=ETHER, reserve=ETHER)
    sandbox.set_price(3_000)
    chain_cast.finalise(sandbox)
    connected = chain_cast.connected(sandbox)
    assert indexer.index(connected).opened
    yield connected
    connected.close()
    sandbox.rpc("evm_revert", snapshot)


@pytest.fixture
def payer() -> Customer:
    owner = builders.customer()
    builders.top_up(owner, dollars=1_000)
    return owner


def _settle(sandbox: SandboxChain, chain: Chain) -> None:
    """Makes what happened final, books it, and checks every invariant of money and chain."""
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    _assert_sound()


def _assert_sound(**expected: int) -> None:
    figures = {**billing_books.invariants(), **check_books.invariants()}
    assert {name: figure for name, figure in figures.items() if figure} == expected


def _party(sandbox: SandboxChain, role: str) -> str:
    return sandbox.accounts[role].address.lower()


def _wei(number: int, party: str) -> int:
    return ledger.balance(number, "ETH", party)


def _usd(number: int, party: str = "") -> int:
    return ledger.balance(number, "USD", party)


def _journals() -> list[str]:
    return list(Journal.objects.order_by("pk").values_list("reference", flat=True))


def _everything() -> dict[str, Any]:
    """Books and rows, less the ids: what must not differ after a repetition."""
    return {
        "journals": _journals(),
        "balances": ledger.balances(),
        "events": list(
            ChainEvent.objects.order_by("block_number", "log_index").values_list(
                "tx_hash", "log_index", "block_hash", "name", "journal__reference"
            )
        ),
        "redemptions": list(
            Redemption.objects.order_by("ticket_hash").values_list("ticket_hash", "paid_wei", "customer_id")
        ),
    }


def test_the_books_open_with_what_stands_on_the_chain(sandbox: SandboxChain, chain: Chain) -> None:
    sender, treasury = _party(sandbox, "sender"), _party(sandbox, "treasury")
    block = hex(ChainCursor.objects.get(name__startswith="booked").block_number)
    (deposit, _), (reserve, _) = sandbox.read("TicketBroker", "getSenderInfo", sender, block=block)
    assert (_wei(1310, sender), _wei(1320, sender)) == (deposit, reserve)
    assert _wei(1300, treasury) == int(sandbox.rpc("eth_getBalance", treasury, block), 16)
    assert _usd(1310, sender) == deposit * 3_000 * 10**9 // ETHER
    assert ChainEvent.objects.count() == 0
    _assert_sound()
    assert ChainSnapshot.objects.get().deposit_wei == deposit


def test_funding_from_the_treasury_moves_ether_at_cost(sandbox: SandboxChain, chain: Chain) -> None:
    sender, treasury = _party(sandbox, "sender"), _party(sandbox, "treasury")
    before = {number: _wei(number, sender) for number in (1310, 1320)}
    equity, wallet = _usd(3000), _wei(1300, treasury)
    sandbox.set_price(4_000)
    receipt = chain_cast.fund(sandbox, deposit=3 * ETHER, reserve=2 * ETHER)
    gas = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    _settle(sandbox, chain)
    assert _wei(1310, sender) - before[1310] == 3 * ETHER
    assert _wei(1320, sender) - before[1320] == 2 * ETHER
    assert wallet - _wei(1300, treasury) == 5 * ETHER + gas
    assert _usd(3000) == equity, "nothing came from outside, whatever the price is today"
    assert _usd(5200) == gas * 3_000 * 10**9 // ETHER, "gas is paid with ether that cost 3,000"


def test_a_funding_whose_receipt_is_missing_waits_for_it(
    sandbox: SandboxChain, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain_cast.fund(sandbox, deposit=ETHER, reserve=0)
    chain_cast.finalise(sandbox)
    before = _everything()
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "receipt", lambda *_: None)
        with pytest.raises(ChainUnavailable, match="no receipt"):
            indexer.index(chain)
    assert _everything() == before
    indexer.index(chain)
    _assert_sound()
    assert sorted(Journal.objects.values_list("kind", flat=True)) == ["funding", "gas", "opening"]


def test_funding_by_somebody_else_is_equity_at_todays_price(sandbox: SandboxChain, chain: Chain) -> None:
    sender, equity = _party(sandbox, "sender"), _usd(3000)
    before = _wei(1310, sender), _wei(1320, sender)
    sandbox.set_price(3_500)
    chain_cast.fund(sandbox, deposit=2 * ETHER, reserve=0, role="stranger")
    _settle(sandbox, chain)
    assert (_wei(1310, sender), _wei(1320, sender)) == (before[0] + 2 * ETHER, before[1])
    assert equity - _usd(3000) == 7_000 * 10**9
    assert _usd(5200) == 0


def test_ether_that_comes_to_the_treasury_is_booked_to_the_wei(sandbox: SandboxChain, chain: Chain) -> None:
    treasury = _party(sandbox, "treasury")
    before, equity = _wei(1300, treasury), _usd(3000)
    sandbox.give(treasury, ETHER + 1)
    chain_cast.fund(sandbox, deposit=ETHER // 2, reserve=0)
    sandbox.give(treasury, 2)
    _settle(sandbox, chain)
    block = hex(ChainCursor.objects.get(name__startswith="booked").block_number)
    assert _wei(1300, treasury) == int(sandbox.rpc("eth_getBalance", treasury, block), 16)
    assert before - ETHER // 2 < _wei(1300, treasury) < before + ETHER
    assert equity - _usd(3000) == 3_000 * 10**9


def test_ether_that_leaves_the_treasury_is_booked_to_the_wei(sandbox: SandboxChain, chain: Chain) -> None:
    treasury = _party(sandbox, "treasury")
    transfer = {"from": treasury, "to": _party(sandbox, "stranger"), "value": hex(ETHER)}
    sandbox.wait_for(sandbox.rpc("eth_sendTransaction", transfer))
    before = _wei(1300, treasury)
    _settle(sandbox, chain)
    assert before - _wei(1300, treasury) > ETHER
    assert Journal.objects.filter(kind="wallet_departure").count() == 1


def test_a_redeemed_ticket_is_traced_to_its_customer(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    sender, orchestrator = _party(sandbox, "sender"), _party(sandbox, "orchestrator")
    sold = chain_cast.issue(sandbox, payer, face_value=2 * MILLI, count=3, nano_usd_per_eth=3_100 * 10**9)
    ledger.post_usage()
    deposit = _wei(1310, sender), _usd(1310, sender)
    chain_cast.redeem(sandbox, sold, index=1)
    _settle(sandbox, chain)
    redemption = Redemption.objects.get()
    assert redemption.customer == payer
    assert redemption.payment is not None
    assert redemption.payment.usage_id == sold.usage_id
    assert redemption.ticket_hash == "0x" + sold.tickets[1].hash().hex()
    assert (redemption.paid_wei, redemption.from_reserve_wei, redemption.sender_nonce) == (2 * MILLI, 0, 2)
    assert _wei(1310, sender) == deposit[0] - 2 * MILLI
    assert _wei(2300, orchestrator) == -(6 - 2) * MILLI
    # Signed at 3,100, bought at 3,000: a gain of 0.20 on two thousandths of an ether.
    assert deposit[1] - _usd(1310, sender) == 6 * 10**9
    assert _usd(7200) == -200_000_000
    assert _usd(2300, orchestrator) == -(18_600_000_000 - 6_200_000_000)
    journal = redemption.event.journal
    assert journal is not None
    assert journal.customer == payer
    assert {row.journal_id for row in ChainEvent.objects.all()} == {journal.pk}


def test_a_batch_books_one_journal_for_each_ticket(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    sold = chain_cast.issue(sandbox, payer, face_value=MILLI, count=5)
    chain_cast.redeem_batch(sandbox, sold)
    _settle(sandbox, chain)
    assert Redemption.objects.filter(customer=payer, paid_wei=MILLI).count() == 5
    assert Journal.objects.filter(kind="redemption").count() == 5
    assert ChainEvent.objects.count() == 10
    assert _wei(2300, _party(sandbox, "orchestrator")) == 5 * MILLI, "usage waits for the poster"


def test_a_ticket_above_the_deposit_is_paid_from_the_reserve_too(
    sandbox: SandboxChain, chain: Chain, payer: Customer
) -> None:
    sender = _party(sandbox, "sender")
    _empty_deposit(sandbox, chain, payer, leave=10 * MILLI)
    reserve = _wei(1320, sender), _usd(1320, sender)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=15 * MILLI))
    _settle(sandbox, chain)
    redemption = Redemption.objects.get(face_value_wei=15 * MILLI)
    assert (redemption.paid_wei, redemption.from_reserve_wei) == (15 * MILLI, 5 * MILLI)
    assert (_wei(1310, sender), _usd(1310, sender)) == (0, 0)
    assert _wei(1320, sender) == reserve[0] - 5 * MILLI
    assert _usd(1320, sender) == reserve[1] - reserve[1] * 5 * MILLI // reserve[0]
    assert ChainEvent.objects.filter(journal=redemption.event.journal).count() == 3


def test_a_ticket_nobody_can_pay_is_settled_without_a_journal(
    sandbox: SandboxChain, chain: Chain, payer: Customer
) -> None:
    _empty_deposit(sandbox, chain, payer, leave=0)
    journals = len(_journals())
    # The bystander is no orchestrator any more: the reserve has nothing for it.
    stranger = chain_cast.issue(sandbox, payer, face_value=MILLI, role="orchestrator2")
    chain_cast.redeem(sandbox, stranger)
    _settle(sandbox, chain)
    redemption = Redemption.objects.get(recipient=_party(sandbox, "orchestrator2"))
    assert (redemption.paid_wei, redemption.event.journal, redemption.customer) == (0, None, payer)
    assert redemption.event.booked_at is not None
    assert len(_journals()) == journals


def test_a_ticket_never_issued_is_booked_and_reported(sandbox: SandboxChain, chain: Chain) -> None:
    chain_cast.redeem(sandbox, chain_cast.sign_tickets(sandbox, face_value=MILLI))
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    redemption = Redemption.objects.get()
    assert (redemption.customer, redemption.payment, redemption.paid_wei) == (None, None, MILLI)
    assert _usd(2300, _party(sandbox, "orchestrator")) == 3 * 10**9
    _assert_sound(redemptions_of_tickets_never_issued=1)


def test_a_foreign_ticket_with_a_huge_nonce_is_booked_all_the_same(sandbox: SandboxChain, chain: Chain) -> None:
    forged = chain_cast.sign_tickets(sandbox, face_value=MILLI)
    # No ticket of ours can have such a nonce; the contract takes any.
    object.__setattr__(forged.tickets[0], "sender_nonce", 2**200)
    signature = chain_cast.key_of(sandbox, "sender").sign_personal(forged.tickets[0].hash())
    chain_cast.redeem(sandbox, replace(forged, signatures=(signature,)))
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    assert Redemption.objects.get().payment is None
    assert ChainEvent.objects.get(name="WinningTicketRedeemed").arguments["senderNonce"] == str(2**200)
    _assert_sound(redemptions_of_tickets_never_issued=1)


def test_a_ticket_that_differs_from_the_issued_one_is_not_the_customers(
    sandbox: SandboxChain, chain: Chain, payer: Customer
) -> None:
    sold = chain_cast.issue(sandbox, payer, face_value=MILLI)
    raised = chain_cast.sign_tickets(sandbox, face_value=2 * MILLI)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE signing_payment SET recipient_rand_hash = %s", [raised.tickets[0].recipient_rand_hash])
        cursor.execute("SET session_replication_role = DEFAULT")
    assert sold.tickets[0].sender_nonce == raised.tickets[0].sender_nonce
    chain_cast.redeem(sandbox, raised)
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    assert Redemption.objects.get().customer is None


def test_unlock_and_withdrawal_bring_everything_home(sandbox: SandboxChain, chain: Chain) -> None:
    sender = _party(sandbox, "sender")
    sandbox.send("sender", "TicketBroker", "unlock")
    for _ in range(2):
        sandbox.next_round()
    worth = _wei(1310, sender) + _wei(1320, sender)
    home = _wei(1300, sender)
    sandbox.send("sender", "TicketBroker", "withdraw")
    _settle(sandbox, chain)
    assert (_wei(1310, sender), _wei(1320, sender), _usd(1310, sender), _usd(1320, sender)) == (0, 0, 0, 0)
    assert home + worth - ETHER // 100 < _wei(1300, sender) < home + worth, "less the gas of two transactions"
    assert Journal.objects.filter(kind="gas").count() == 2
    assert not Journal.objects.filter(kind__startswith="wallet_").exists()


def test_reading_twice_changes_nothing(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    _some_history(sandbox, payer)
    _settle(sandbox, chain)
    before = _everything()
    indexer.index(chain)
    assert _everything() == before


def test_a_rewound_cursor_books_nothing_twice(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    _some_history(sandbox, payer)
    _settle(sandbox, chain)
    before = _everything()
    _rewind()
    sandbox.mine()
    indexer.index(chain)
    _assert_sound()
    assert _everything() == before


def test_lost_event_rows_come_back_to_their_journals(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    _some_history(sandbox, payer)
    _settle(sandbox, chain)
    before = _everything()
    ChainEvent.objects.all().delete()
    _rewind()
    sandbox.mine()
    indexer.index(chain)
    _assert_sound()
    assert _everything() == before


def test_many_workers_at_once_book_once(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    _some_history(sandbox, payer)
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
    _assert_sound()
    assert Journal.objects.filter(kind="redemption").count() == 4
    assert Redemption.objects.count() == 4


def test_a_pass_that_dies_half_way_leaves_nothing_behind(
    sandbox: SandboxChain, chain: Chain, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _some_history(sandbox, payer)
    chain_cast.finalise(sandbox)
    before = _everything()

    class Killed(Exception):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(indexer, "_move", die)
        with pytest.raises(Killed):
            indexer.index(chain)
    assert _everything() == before
    indexer.index(chain)
    _assert_sound()
    assert Journal.objects.filter(kind="redemption").count() == 4


def test_new_events_are_shown_before_they_are_booked(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    indexer.index(chain)
    assert Redemption.objects.get().customer == payer
    assert {row.booked_at for row in ChainEvent.objects.all()} == {None}
    assert not Journal.objects.filter(kind="redemption").exists()
    _settle(sandbox, chain)
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
    _settle(sandbox, chain)
    assert not Journal.objects.filter(kind="redemption").exists()
    # The orchestrator redeems the same ticket again, in another transaction and block.
    chain_cast.redeem(sandbox, sold)
    _settle(sandbox, chain)
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
    _settle(sandbox, chain)
    assert Journal.objects.filter(kind="redemption").count() == 1


def test_a_replaced_final_block_is_read_again(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    _settle(sandbox, chain)
    sandbox.mine(10)
    indexer.index(chain)
    sandbox.reorg(9)
    sandbox.mine()
    indexer.index(chain)
    _assert_sound()
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    _settle(sandbox, chain)
    assert Journal.objects.filter(kind="redemption").count() == 2


def test_a_vanished_booking_stops_the_books(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    sandbox.mine(10)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    _settle(sandbox, chain)
    sandbox.reorg(chain_cast.SAFE_DEPTH + 4)
    sandbox.mine(chain_cast.SAFE_DEPTH + 4)
    before = _everything()
    with pytest.raises(indexer.BooksAheadOfChain):
        indexer.index(chain)
    assert _everything() == before
    assert check_books.invariants()["booked_blocks_not_on_chain"] == 2


def test_an_old_price_delays_only_what_needs_a_price(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    sandbox.set_price(3_000, updated_at_seconds=1)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    _settle(sandbox, chain)
    assert Journal.objects.filter(kind="redemption").count() == 1
    chain_cast.fund(sandbox, deposit=ETHER, reserve=0, role="stranger")
    chain_cast.finalise(sandbox)
    with pytest.raises(ChainUnavailable) as refused:
        indexer.index(chain)
    assert refused.value.reason_code == "rate_stale"
    sandbox.set_price(3_000)
    sandbox.keeper(feed=True)
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    _assert_sound()


def _some_history(sandbox: SandboxChain, payer: Customer) -> None:
    chain_cast.redeem_batch(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI, count=3))
    sandbox.give(_party(sandbox, "treasury"), 12_345)
    chain_cast.fund(sandbox, deposit=7, reserve=0)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=2 * MILLI))


def _rewind() -> None:
    opening = ChainCursor.objects.get(name__startswith="opening")
    ChainCursor.objects.exclude(pk=opening.pk).update(block_number=opening.block_number, block_hash=opening.block_hash)


def _empty_deposit(sandbox: SandboxChain, chain: Chain, payer: Customer, *, leave: int) -> None:
    """One winning ticket takes the deposit down to what is to be left."""
    (deposit, _), _ = sandbox.read("TicketBroker", "getSenderInfo", sandbox.accounts["sender"].address)
    builders.top_up(payer, dollars=100_000)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=deposit - leave))
    _settle(sandbox, chain)
