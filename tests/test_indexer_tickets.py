"""Tickets that are redeemed: traced to their customers, and booked to the last wei whoever issued them."""

from dataclasses import replace

import pytest
from django.db import connection

from accounts.models import Customer
from billing import ledger
from billing.models import Journal
from sandbox.chain.client import SandboxChain
from signing.chain import indexer
from signing.chain.ethereum import Chain
from signing.models import ChainEvent, Redemption
from tests import builders, chain_cast
from tests.indexer_stage import MILLI, assert_sound, chain, journals, party, payer, settle, usd, wei

__all__ = ["chain", "payer"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_redeemed_ticket_is_traced_to_its_customer(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    sender, orchestrator = party(sandbox, "sender"), party(sandbox, "orchestrator")
    sold = chain_cast.issue(sandbox, payer, face_value=2 * MILLI, count=3, nano_usd_per_eth=3_100 * 10**9)
    ledger.post_usage()
    deposit = wei(1310, sender), usd(1310, sender)
    chain_cast.redeem(sandbox, sold, index=1)
    settle(sandbox, chain)
    redemption = Redemption.objects.get()
    assert redemption.customer == payer
    assert redemption.payment is not None
    assert redemption.payment.usage_id == sold.usage_id
    assert redemption.ticket_hash == "0x" + sold.tickets[1].hash().hex()
    assert (redemption.paid_wei, redemption.from_reserve_wei, redemption.sender_nonce) == (2 * MILLI, 0, 2)
    assert wei(1310, sender) == deposit[0] - 2 * MILLI
    assert wei(2300, orchestrator) == -(6 - 2) * MILLI
    # Signed at 3,100, bought at 3,000: a gain of 0.20 on two thousandths of an ether.
    assert deposit[1] - usd(1310, sender) == 6 * 10**9
    assert usd(7200) == -200_000_000
    assert usd(2300, orchestrator) == -(18_600_000_000 - 6_200_000_000)
    journal = redemption.event.journal
    assert journal is not None
    assert journal.customer == payer
    assert {row.journal_id for row in ChainEvent.objects.all()} == {journal.pk}


def test_a_batch_books_one_journal_for_each_ticket(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    sold = chain_cast.issue(sandbox, payer, face_value=MILLI, count=5)
    chain_cast.redeem_batch(sandbox, sold)
    settle(sandbox, chain)
    assert Redemption.objects.filter(customer=payer, paid_wei=MILLI).count() == 5
    assert Journal.objects.filter(kind="redemption").count() == 5
    assert ChainEvent.objects.count() == 10
    assert wei(2300, party(sandbox, "orchestrator")) == 5 * MILLI, "usage waits for the poster"


def test_a_ticket_above_the_deposit_is_paid_from_the_reserve_too(
    sandbox: SandboxChain, chain: Chain, payer: Customer
) -> None:
    sender = party(sandbox, "sender")
    empty_deposit(sandbox, chain, payer, leave=10 * MILLI)
    reserve = wei(1320, sender), usd(1320, sender)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=15 * MILLI))
    settle(sandbox, chain)
    redemption = Redemption.objects.get(face_value_wei=15 * MILLI)
    assert (redemption.paid_wei, redemption.from_reserve_wei) == (15 * MILLI, 5 * MILLI)
    assert (wei(1310, sender), usd(1310, sender)) == (0, 0)
    assert wei(1320, sender) == reserve[0] - 5 * MILLI
    assert usd(1320, sender) == reserve[1] - reserve[1] * 5 * MILLI // reserve[0]
    assert ChainEvent.objects.filter(journal=redemption.event.journal).count() == 3


def test_a_ticket_nobody_can_pay_is_settled_without_a_journal(
    sandbox: SandboxChain, chain: Chain, payer: Customer
) -> None:
    empty_deposit(sandbox, chain, payer, leave=0)
    booked = len(journals())
    # The bystander is no orchestrator any more: the reserve has nothing for it.
    stranger = chain_cast.issue(sandbox, payer, face_value=MILLI, role="orchestrator2")
    chain_cast.redeem(sandbox, stranger)
    settle(sandbox, chain)
    redemption = Redemption.objects.get(recipient=party(sandbox, "orchestrator2"))
    assert (redemption.paid_wei, redemption.event.journal, redemption.customer) == (0, None, payer)
    assert redemption.event.booked_at is not None
    assert len(journals()) == booked


def test_a_ticket_never_issued_is_booked_and_reported(sandbox: SandboxChain, chain: Chain) -> None:
    chain_cast.redeem(sandbox, chain_cast.sign_tickets(sandbox, face_value=MILLI))
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    redemption = Redemption.objects.get()
    assert (redemption.customer, redemption.payment, redemption.paid_wei) == (None, None, MILLI)
    assert usd(2300, party(sandbox, "orchestrator")) == 3 * 10**9
    assert_sound(redemptions_of_tickets_never_issued=1)


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
    assert_sound(redemptions_of_tickets_never_issued=1)


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


def empty_deposit(sandbox: SandboxChain, chain: Chain, payer: Customer, *, leave: int) -> None:
    """One winning ticket takes the deposit down to what is to be left."""
    (deposit, _), _ = sandbox.read("TicketBroker", "getSenderInfo", sandbox.accounts["sender"].address)
    builders.top_up(payer, dollars=100_000)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=deposit - leave))
    settle(sandbox, chain)
