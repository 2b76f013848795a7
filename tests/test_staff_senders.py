"""Several sender keys on the treasury page: each with its money, its pace and its alerts, and funded by its name."""

import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from signing import activity, sender_keys
from signing.models import ChainSnapshot, TreasuryTransaction
from signing.treasury import alerts, overview
from tests import builders
from tests.treasury_stage import ETH, SENDER, price, snapshot

OTHER, IDLE = "0x" + "6f" * 20, "0x" + "7a" * 20

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _two_senders(settings: Settings) -> None:
    settings.SENDER_ADDRESS = SENDER
    settings.STAFF_MFA_REQUIRED = False
    price(settings)
    sender_keys.register(OTHER, label="second")
    sender_keys.register(IDLE, label="made and never used")
    sender_keys.rotate_to(OTHER)
    snapshot()
    snapshot(sender=OTHER, deposit_wei=2 * ETH, reserve_wei=4 * ETH, pool_size=4)
    snapshot(sender=IDLE, deposit_wei=0, reserve_wei=0)


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(builders.staff("admin"))
    return client


def titles() -> list[str]:
    return [alert.title for alert in alerts.of(overview.read_all(now=timezone.now()))]


def test_every_sender_in_use_is_shown_and_one_is_looked_at(staff: Client) -> None:
    page = staff.get("/treasury/").content.decode()
    assert "Senders" in page
    assert f'href="?sender={OTHER}"' in page
    assert IDLE not in page
    chosen = staff.get(f"/treasury/?sender={OTHER}").content.decode()
    assert f'href="?sender={SENDER}"' in chosen
    assert f"/treasury/figures/?sender={OTHER}" in chosen
    figures = staff.get(f"/treasury/figures/?sender={OTHER}").content.decode()
    assert "2.0000" in figures
    assert "10.0000" not in figures
    assert "10.0000" in staff.get("/treasury/figures/").content.decode()
    views = overview.read_all(now=timezone.now())
    assert [view.snapshot.sender for view in views] == [SENDER, OTHER]
    assert [view.pooled_of_all.wei for view in views] == [24 * ETH] * 2
    assert [view.largest_by_reserve and view.largest_by_reserve.wei for view in views] == [2 * ETH, ETH]
    assert activity.current_round() == 3_412


def test_each_sender_is_warned_of_by_its_name() -> None:
    assert titles() == []
    snapshot(sender=OTHER, deposit_wei=0, reserve_wei=4 * ETH, withdraw_round=3_400)
    assert titles() == ["0x6f6f…6f6f: The deposit is unlocked since round 3,400", "0x6f6f…6f6f: The deposit is empty"]
    ChainSnapshot.objects.filter(sender=SENDER).update(read_at=timezone.now() - timedelta(hours=1))
    assert "0x5e5e…5e5e: The chain was last read 1 h ago" in titles()
    sender_keys.retire(SENDER)
    ChainSnapshot.objects.filter(sender=SENDER).update(deposit_wei=0, reserve_wei=0)
    assert [title for title in titles() if "5e5e" in title] == [], "nothing depends on it any more"


def test_the_pace_of_a_sender_is_that_of_its_customers() -> None:
    owners = [builders.customer() for _ in range(3)]
    for owner, wei in zip(owners, (10**15, 2 * 10**15, 4 * 10**15), strict=True):
        builders.top_up(owner, 500)
        builders.debit(owner, cost_wei=wei)
    sender_keys.move(owners[1], to=OTHER)
    sender_keys.move(owners[2], to=OTHER)
    views = overview.read_all(now=timezone.now())
    assert [view.signed.wei for view in views] == [10**15, 6 * 10**15]
    assert [view.customers for view in views] == [0, 2]


def test_the_sender_that_was_looked_at_is_funded_and_no_stranger(staff: Client) -> None:
    page = staff.get(f"/treasury/?sender={OTHER}&deposit=1&reserve=0").content.decode()
    assert f'<input type="hidden" name="sender" value="{OTHER}">' in page
    wish = {"request_id": str(uuid.uuid4()), "deposit": "1", "reserve": "0", "compared": "on"}
    answer = staff.post("/treasury/fund/", {**wish, "sender": "0x" + "99" * 20})
    assert answer.status_code == 422
    assert not TreasuryTransaction.objects.exists()
    assert staff.post("/treasury/fund/", {**wish, "sender": OTHER}).status_code == 302
    assert TreasuryTransaction.objects.get().sender == OTHER
