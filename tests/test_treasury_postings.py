"""The treasury's postings add up: cost leaves with its ether, and a redemption relieves what it pays for exactly."""

from hypothesis import given
from hypothesis import strategies as st

from billing.postings import Account
from signing.treasury import postings
from signing.treasury.postings import Holding, Part


@given(wei=st.integers(1, 10**24), cost=st.integers(0, 10**18), moved=st.lists(st.integers(1, 10**23), max_size=6))
def test_cost_leaves_with_its_ether_and_none_stays_behind(wei: int, cost: int, moved: list[int]) -> None:
    held = Holding(wei=wei, nano_usd=cost)
    for amount in [*moved, wei]:
        taken = min(amount, held.wei)
        share = postings.share_floor(held, taken)
        assert 0 <= share <= held.nano_usd
        held = Holding(wei=held.wei - taken, nano_usd=held.nano_usd - share)
    assert held == Holding()


@given(
    liability=st.integers(0, 10**15),
    parts=st.lists(st.tuples(st.integers(0, 10**18), st.integers(0, 10**15)), min_size=1, max_size=2),
)
def test_a_redemption_relieves_the_liability_and_both_assets_exactly(
    liability: int, parts: list[tuple[int, int]]
) -> None:
    accounts = [postings.deposit("0xaa"), postings.reserve("0xaa")]
    given_parts = [
        Part(account=account, wei=wei, cost_nano_usd=cost)
        for account, (wei, cost) in zip(accounts, parts, strict=False)
    ]
    transfers = postings.redemption(recipient="0xbb", liability_nano_usd=liability, parts=given_parts)

    def moved(account: Account, asset: str) -> int:
        return sum(leg.amount for leg in transfers if leg.debit == account and leg.asset == asset) - sum(
            leg.amount for leg in transfers if leg.credit == account and leg.asset == asset
        )

    cost = sum(part.cost_nano_usd for part in given_parts)
    assert moved(postings.tickets("0xbb"), "USD") == liability
    assert moved(Account(7200), "USD") == cost - liability
    assert moved(postings.tickets("0xbb"), "ETH") == sum(part.wei for part in given_parts)
    for part in given_parts:
        assert moved(part.account, "USD") == -part.cost_nano_usd
        assert moved(part.account, "ETH") == -part.wei
