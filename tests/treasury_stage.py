"""The treasury in tests: a sender as the chain was read, a price, a redemption, and a form of funding."""

import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.models import User
from billing import ledger
from signing.models import ChainEvent, ChainSnapshot, Redemption
from tests import builders

SENDER = "0x" + "5e" * 20


ETH = 10**18


@pytest.fixture(autouse=True)
def _our_sender(settings: Settings) -> None:
    settings.SENDER_ADDRESS = SENDER
    settings.STAFF_MFA_REQUIRED = False


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(staff_member())
    return client


def staff_member() -> User:
    return builders.staff("admin")


def snapshot(**more: Any) -> ChainSnapshot:
    facts: dict[str, Any] = {
        "sender": SENDER,
        "block_number": 271_884_120,
        "l1_block_number": 21_000_000,
        "deposit_wei": 10 * ETH,
        "reserve_wei": 8 * ETH,
        "withdraw_round": 0,
        "current_round": 3_412,
        "last_initialized_round": 3_412,
        "pool_size": 4,
        "treasury_wei": 5 * ETH,
        "sender_wei": ETH // 50,
    }
    return ChainSnapshot.objects.create(**facts | more)


def price(settings: Settings) -> None:
    ledger.record_rate(
        feed_address=settings.ETH_USD_FEED_ADDRESS,
        feed_round=7,
        nano_usd_per_eth=3_128_440_000_000,
        updated_at=timezone.now(),
    )


def redemption(**more: Any) -> Redemption:
    event = ChainEvent.objects.create(
        chain_id=1,
        block_number=9,
        block_hash="0x" + "bb" * 32,
        block_time=timezone.now(),
        tx_hash="0x" + uuid.uuid4().hex * 2,
        log_index=1,
        sender=SENDER,
        name="WinningTicketRedeemed",
        arguments={"faceValue": str(ETH)},
    )
    facts: dict[str, Any] = {
        "ticket_hash": "0x" + uuid.uuid4().hex * 2,
        "sender": SENDER,
        "recipient": "0x" + "0a" * 20,
        "face_value_wei": ETH,
        "paid_wei": ETH,
        "payment_id": 1,
        "sender_nonce": 1,
    }
    return Redemption.objects.create(event=event, **facts | more)


def wish(**more: str) -> dict[str, str]:
    return {"request_id": str(uuid.uuid4()), "deposit": "1.5", "reserve": "0.25", "compared": "on", **more}
