"""What the treasury page warns of, and how long the deposit lasts."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from billing import ledger, postings
from signing.treasury import alerts, overview, runway
from signing.treasury.runway import Outflow
from tests import builders
from tests.treasury_stage import ETH, _our_sender, price, redemption, snapshot, staff

__all__ = ["_our_sender", "staff"]


def told() -> list[str]:
    return [alert.title for alert in alerts.of(overview.read_all(now=timezone.now()))]


@pytest.mark.django_db
def test_nothing_is_told_while_all_is_well(settings: Settings) -> None:
    price(settings)
    snapshot()
    redemption()
    assert told() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"withdraw_round": 3_500}, "Unlock in progress"),
        ({"withdraw_round": 3_412}, "The deposit is unlocked"),
        ({"deposit_wei": 0}, "The deposit is empty"),
        ({"reserve_wei": 0}, "The reserve is empty"),
        ({"read_at": timedelta(minutes=12)}, "The chain was last read 12 min ago"),
    ],
)
def test_what_stops_payments_is_told(settings: Settings, facts: dict[str, Any], words: str) -> None:
    price(settings)
    ago = {name: timezone.now() - value for name, value in facts.items() if isinstance(value, timedelta)}
    snapshot(**{**facts, **ago})
    assert any(words in title for title in told())


@pytest.mark.django_db
def test_a_foreign_ticket_and_a_short_payment_are_told(settings: Settings, staff: Client) -> None:
    price(settings)
    snapshot()
    redemption(payment_id=None)
    redemption(paid_wei=ETH // 3)
    titles = told()
    assert titles[0].startswith("Unmatched: 1 redemption")
    assert titles[1].startswith("Shortfall: 1 redemption")
    page = staff.get("/treasury/").content.decode()
    assert "Unmatched" in page
    assert "Short" in page


@pytest.mark.django_db
def test_ether_that_left_a_wallet_unasked_is_told(settings: Settings) -> None:
    price(settings)
    snapshot()
    account = postings.Account
    ledger.book(
        kind="wallet_departure",
        reference="wallet:0x01:77",
        occurred_at=timezone.now(),
        transfers=[postings.eth(account(postings.ETH_WORLD), account(postings.TREASURY_WALLET, "0x01"), 3 * ETH)],
    )
    assert told()[0].startswith("3.0000 ETH left a wallet of ours")


@pytest.mark.django_db
def test_the_runway_follows_from_what_was_signed(settings: Settings, staff: Client) -> None:
    price(settings)
    snapshot(read_at=timezone.now() - timedelta(hours=2))
    snapshot()
    customer = builders.customer()
    builders.top_up(customer, 500)
    builders.debit(customer, cost_wei=ETH // 100)
    view = overview.read(now=timezone.now())
    assert view is not None
    assert view.runway is not None
    # A hundredth of an ETH in the shortest span that is called a pace, five minutes: 2.88 ETH a day.
    assert view.signed_per_day.wei == ETH // 100 * 288
    assert view.runway.expected_seconds == 10 * ETH * 300 // (ETH // 100)
    page = staff.get("/treasury/").content.decode()
    assert 'data-chart="fan"' in page
    assert "3 days" in page


def test_a_forecast_spreads_with_the_size_of_winners_and_never_leaves_what_is_there() -> None:
    small = Outflow(wei=ETH, seconds=86_400, winner_wei=ETH // 1_000)
    large = Outflow(wei=ETH, seconds=86_400, winner_wei=ETH)
    narrow, wide = runway.runway(10 * ETH, small), runway.runway(10 * ETH, large)
    assert narrow is not None
    assert wide is not None
    assert narrow.expected_seconds == wide.expected_seconds == 10 * 86_400
    assert wide.earliest_seconds < narrow.earliest_seconds < narrow.expected_seconds
    assert narrow.expected_seconds < narrow.latest_seconds < wide.latest_seconds
    steps = runway.forecast(10 * ETH, large, until_seconds=20 * 86_400, points=40)
    assert (steps[0].p5_wei, steps[0].p95_wei) == (10 * ETH, 10 * ETH)
    for step in steps:
        assert 0 <= step.p5_wei <= step.p25_wei <= step.expected_wei <= step.p75_wei <= step.p95_wei <= 10 * ETH
    assert runway.runway(10 * ETH, Outflow(wei=0, seconds=300)) is None


@given(deposit=st.integers(1, 10**24), per_day=st.integers(1, 10**24), winner=st.integers(0, 10**21))
def test_the_range_of_a_runway_holds_its_expectation(deposit: int, per_day: int, winner: int) -> None:
    found = runway.runway(deposit, Outflow(wei=per_day, seconds=86_400, winner_wei=winner))
    assert found is not None
    a_wei_in_seconds = 86_400 // per_day + 1
    assert found.earliest_seconds <= found.expected_seconds
    assert found.latest_seconds >= found.expected_seconds - a_wei_in_seconds
