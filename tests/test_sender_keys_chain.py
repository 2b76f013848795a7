"""A sender that comes later, with a deposit of its own: its books open beside the first one's, and all add up."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from accounts.models import Customer
from billing.models import Journal
from sandbox.chain.client import SandboxChain
from signing import sender_keys
from signing.chain import indexer
from signing.chain.ethereum import Chain
from signing.chain.roster import read_roster
from signing.chain.view import read_view
from signing.models import ChainCursor, ChainSnapshot, Redemption
from signing.treasury import funding
from tests import builders, chain_cast
from tests.chain_cast import ETHER
from tests.indexer_stage import MILLI, assert_sound, open_books, settle, wei
from tests.sender_cast import SECOND, text_of

pytestmark = pytest.mark.django_db(transaction=True)
ADDRESS = text_of(SECOND)


@pytest.fixture
def chain(sandbox: SandboxChain, settings: Settings) -> Iterator[Chain]:
    """Books that are open for the first sender, and a second one that has a deposit nobody told us of."""
    chain_cast.fund(sandbox, deposit=ETHER, reserve=ETHER)
    chain_cast.fund(sandbox, deposit=2 * ETHER, reserve=3 * ETHER, role="faucet", sender=SECOND.checksum_address)
    with open_books(sandbox, settings) as connected:
        yield connected


def kinds() -> list[str]:
    return sorted(Journal.objects.values_list("kind", flat=True))


def test_a_second_sender_brings_its_deposit_into_the_books_once(sandbox: SandboxChain, chain: Chain) -> None:
    first = sandbox.accounts["sender"].address.lower()
    before = (wei(1310, first), wei(1320, first))
    sender_keys.register(SECOND.checksum_address)
    assert_sound()
    assert indexer.index(chain).opened
    assert not indexer.index(chain).opened
    assert (wei(1310, ADDRESS), wei(1320, ADDRESS)) == (2 * ETHER, 3 * ETHER)
    assert (wei(1310, first), wei(1320, first)) == before
    assert kinds() == ["opening", "opening"]
    opening = ChainCursor.objects.get(name=f"opening:{chain.chain_id()}:{ADDRESS}")
    assert opening.block_number == ChainCursor.objects.get(name=f"booked:{chain.chain_id()}:{first}").block_number
    assert_sound()


def test_money_moved_to_it_before_and_after_is_booked_once(sandbox: SandboxChain, chain: Chain) -> None:
    treasury = sandbox.accounts["treasury"].address.lower()
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    held = wei(1300, treasury)
    # On the chain before anybody registers the key, in the books after: neither lost nor brought in twice.
    first = chain_cast.fund(sandbox, deposit=5 * MILLI, reserve=0, sender=SECOND.checksum_address)
    sender_keys.register(SECOND.checksum_address)
    indexer.index(chain)
    second = chain_cast.fund(sandbox, deposit=7 * MILLI, reserve=MILLI, sender=SECOND.checksum_address)
    settle(sandbox, chain)
    assert wei(1310, ADDRESS) == 2 * ETHER + 12 * MILLI
    assert wei(1320, ADDRESS) == 3 * ETHER + MILLI
    gas = sum(int(sent["gasUsed"], 16) * int(sent["effectiveGasPrice"], 16) for sent in (first, second))
    assert wei(1300, treasury) == held - 13 * MILLI - gas
    assert kinds() == ["funding", "funding", "funding", "gas", "gas", "opening", "opening"]


def test_tickets_of_both_senders_are_traced_each_to_its_customer(sandbox: SandboxChain, chain: Chain) -> None:
    payers = [builders.customer(), builders.customer(name="Other")]
    for payer in payers:
        builders.top_up(payer, dollars=1_000)
    sender_keys.register(SECOND.checksum_address)
    indexer.index(chain)
    made = [
        chain_cast.issue(sandbox, payer, face_value=MILLI, key=key)
        for payer, key in zip(payers, (None, SECOND), strict=True)
    ]
    for issued in made:
        chain_cast.redeem(sandbox, issued)
    settle(sandbox, chain)
    traced = {row.sender: row.customer for row in Redemption.objects.all()}
    assert traced == {sandbox.accounts["sender"].address.lower(): payers[0], ADDRESS: payers[1]}
    assert wei(1310, ADDRESS) == 2 * ETHER - MILLI


def test_a_sender_that_is_no_longer_configured_is_still_followed(
    sandbox: SandboxChain, chain: Chain, settings: Settings
) -> None:
    payer: Customer = builders.customer()
    builders.top_up(payer, dollars=1_000)
    issued = chain_cast.issue(sandbox, payer, face_value=MILLI)
    settings.SENDER_ADDRESS = SECOND.checksum_address
    indexer.index(chain)
    chain_cast.redeem(sandbox, issued)
    settle(sandbox, chain)
    assert Redemption.objects.get().customer == payer
    assert wei(1310, ADDRESS) == 2 * ETHER


def test_a_snapshot_of_each_sender_counts_no_sender_as_treasury(sandbox: SandboxChain, chain: Chain) -> None:
    sandbox.rpc("anvil_setBalance", SECOND.checksum_address, hex(9 * ETHER))
    ChainSnapshot.objects.all().delete()
    sender_keys.register(SECOND.checksum_address)
    chain_cast.finalise(sandbox)
    indexer.index(chain)
    rows = {row.sender: row for row in ChainSnapshot.objects.all()}
    assert set(rows) == {sandbox.accounts["sender"].address.lower(), ADDRESS}
    assert len({row.treasury_wei for row in rows.values()}) == 1
    assert rows[ADDRESS].deposit_wei == 2 * ETHER


def test_the_view_of_a_signer_holds_the_funds_of_all_its_keys(sandbox: SandboxChain, chain: Chain) -> None:
    sender = sandbox.accounts["sender"].address
    view = read_view(
        chain,
        sender=sender,
        feed_address=sandbox.eth_usd_feed_address,
        roster=read_roster(chain),
        other_senders=[SECOND.checksum_address],
    )
    assert view.funds_of(SECOND.address).deposit_wei == 2 * ETHER
    assert view.funds_of(bytes.fromhex(sender[2:])).deposit_wei == view.funds.deposit_wei
    assert view.funds.deposit_wei != 2 * ETHER


def test_registered_senders_can_be_funded_and_no_others(chain: Chain) -> None:
    user = builders.user()
    with pytest.raises(funding.InvalidFunding):
        funding.request(sender=ADDRESS, deposit_wei=1, reserve_wei=0, user=user)
    sender_keys.register(ADDRESS)
    assert funding.request(sender=ADDRESS, deposit_wei=1, reserve_wei=0, user=user).sender == ADDRESS
