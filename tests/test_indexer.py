"""Ether of ours that moves on the chain: how the books open, and what funding, gas and a withdrawal make of them."""

import pytest

from accounts.models import Customer
from billing.models import Journal
from sandbox.chain.client import SandboxChain
from signing.chain import indexer
from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.models import ChainCursor, ChainEvent, ChainSnapshot
from tests import chain_cast
from tests.chain_cast import ETHER
from tests.indexer_stage import MILLI, assert_sound, chain, everything, party, payer, settle, usd, wei

__all__ = ["chain", "payer"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_books_open_with_what_stands_on_the_chain(sandbox: SandboxChain, chain: Chain) -> None:
    sender, treasury = party(sandbox, "sender"), party(sandbox, "treasury")
    block = hex(ChainCursor.objects.get(name__startswith="booked").block_number)
    (deposit, _), (reserve, _) = sandbox.read("TicketBroker", "getSenderInfo", sender, block=block)
    assert (wei(1310, sender), wei(1320, sender)) == (deposit, reserve)
    assert wei(1300, treasury) == int(sandbox.rpc("eth_getBalance", treasury, block), 16)
    assert usd(1310, sender) == deposit * 3_000 * 10**9 // ETHER
    assert ChainEvent.objects.count() == 0
    assert_sound()
    assert ChainSnapshot.objects.get().deposit_wei == deposit


def test_funding_from_the_treasury_moves_ether_at_cost(sandbox: SandboxChain, chain: Chain) -> None:
    sender, treasury = party(sandbox, "sender"), party(sandbox, "treasury")
    before = {number: wei(number, sender) for number in (1310, 1320)}
    equity, wallet = usd(3000), wei(1300, treasury)
    sandbox.set_price(4_000)
    receipt = chain_cast.fund(sandbox, deposit=3 * ETHER, reserve=2 * ETHER)
    gas = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    settle(sandbox, chain)
    assert wei(1310, sender) - before[1310] == 3 * ETHER
    assert wei(1320, sender) - before[1320] == 2 * ETHER
    assert wallet - wei(1300, treasury) == 5 * ETHER + gas
    assert usd(3000) == equity, "nothing came from outside, whatever the price is today"
    assert usd(5200) == gas * 3_000 * 10**9 // ETHER, "gas is paid with ether that cost 3,000"


def test_a_funding_whose_receipt_is_missing_waits_for_it(
    sandbox: SandboxChain, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain_cast.fund(sandbox, deposit=ETHER, reserve=0)
    chain_cast.finalise(sandbox)
    before = everything()
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "receipt", lambda *_: None)
        with pytest.raises(ChainUnavailable, match="no receipt"):
            indexer.index(chain)
    assert everything() == before
    indexer.index(chain)
    assert_sound()
    assert sorted(Journal.objects.values_list("kind", flat=True)) == ["funding", "gas", "opening"]


def test_funding_by_somebody_else_is_equity_at_todays_price(sandbox: SandboxChain, chain: Chain) -> None:
    sender, equity = party(sandbox, "sender"), usd(3000)
    before = wei(1310, sender), wei(1320, sender)
    sandbox.set_price(3_500)
    chain_cast.fund(sandbox, deposit=2 * ETHER, reserve=0, role="stranger")
    settle(sandbox, chain)
    assert (wei(1310, sender), wei(1320, sender)) == (before[0] + 2 * ETHER, before[1])
    assert equity - usd(3000) == 7_000 * 10**9
    assert usd(5200) == 0


def test_ether_that_comes_to_the_treasury_is_booked_to_the_wei(sandbox: SandboxChain, chain: Chain) -> None:
    treasury = party(sandbox, "treasury")
    before, equity = wei(1300, treasury), usd(3000)
    sandbox.give(treasury, ETHER + 1)
    chain_cast.fund(sandbox, deposit=ETHER // 2, reserve=0)
    sandbox.give(treasury, 2)
    settle(sandbox, chain)
    block = hex(ChainCursor.objects.get(name__startswith="booked").block_number)
    assert wei(1300, treasury) == int(sandbox.rpc("eth_getBalance", treasury, block), 16)
    assert before - ETHER // 2 < wei(1300, treasury) < before + ETHER
    assert equity - usd(3000) == 3_000 * 10**9


def test_ether_that_leaves_the_treasury_is_booked_to_the_wei(sandbox: SandboxChain, chain: Chain) -> None:
    treasury = party(sandbox, "treasury")
    transfer = {"from": treasury, "to": party(sandbox, "stranger"), "value": hex(ETHER)}
    sandbox.wait_for(sandbox.rpc("eth_sendTransaction", transfer))
    before = wei(1300, treasury)
    settle(sandbox, chain)
    assert before - wei(1300, treasury) > ETHER
    assert Journal.objects.filter(kind="wallet_departure").count() == 1


def test_unlock_and_withdrawal_bring_everything_home(sandbox: SandboxChain, chain: Chain) -> None:
    sender = party(sandbox, "sender")
    sandbox.send("sender", "TicketBroker", "unlock")
    for _ in range(2):
        sandbox.next_round()
    worth = wei(1310, sender) + wei(1320, sender)
    home = wei(1300, sender)
    sandbox.send("sender", "TicketBroker", "withdraw")
    settle(sandbox, chain)
    assert (wei(1310, sender), wei(1320, sender), usd(1310, sender), usd(1320, sender)) == (0, 0, 0, 0)
    assert home + worth - ETHER // 100 < wei(1300, sender) < home + worth, "less the gas of two transactions"
    assert Journal.objects.filter(kind="gas").count() == 2
    assert not Journal.objects.filter(kind__startswith="wallet_").exists()


def test_an_old_price_delays_only_what_needs_a_price(sandbox: SandboxChain, chain: Chain, payer: Customer) -> None:
    sandbox.set_price(3_000, updated_at_seconds=1)
    chain_cast.redeem(sandbox, chain_cast.issue(sandbox, payer, face_value=MILLI))
    settle(sandbox, chain)
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
    assert_sound()
