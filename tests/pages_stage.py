"""The customer's pages in tests: who looks at them, sessions as the signer leaves them, and what a person reads."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, Customer
from signing.models import ChainEvent, Redemption
from tests import builders

ORCHESTRATOR = "0x" + "0a" * 20
ONE_IN_TEN_MILLION = (2**256 - 1) // 10_000_000


@pytest.fixture
def member(client: Client, payer: Customer) -> Client:
    client.force_login(payer.members.get())
    return client


def opened(
    payer: Customer, key: ApiKey, *, app: str = "daydream", ago: timedelta = timedelta(), at_random: bool = False
) -> uuid.UUID:
    """A session of the signer, as its commit leaves it; `at_random` was numbered so, as sessions of before were."""
    at = timezone.now() - ago
    session_id = uuid.uuid4()
    if not at_random:
        session_id = uuid.UUID(f"{int(at.timestamp() * 1000):012x}7{session_id.hex[13:]}")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO signing_session VALUES (%s, %s, %s, %s, %s, 'https://orch:8935', %s, %s, 'live', 'm', 3,"
            " '\\x01', 3, '0/1', 100, 1, %s, %s, '\\x02', '\\x03', '\\x04', '\\x05')",
            [payer.pk, session_id, key.pk, "0x" + "5e" * 20, ORCHESTRATOR, ORCHESTRATOR, app, at, timezone.now()],
        )
    return session_id


def paid(payer: Customer, key: ApiKey, session_id: uuid.UUID, *, tickets: int = 3, app: str = "daydream") -> int:
    """A payment of the session with its tickets; returns the id of its charge."""
    face_value = 36_100_000_000_000_000
    cost = -(-face_value * ONE_IN_TEN_MILLION * tickets // (2**256 - 1))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_id FROM billing_debit(%s, %s, %s, %s, 'live', %s, %s, 'ticket', 10, %s, %s, %s, 800)",
            [payer.pk, key.pk, session_id, app, ORCHESTRATOR, tickets, cost, cost, builders.rate(3_128_440_000_000)],
        )
        (usage_id,) = cursor.fetchone()
        assert usage_id is not None
        cursor.execute(
            "INSERT INTO signing_payment (customer_id, session_id, usage_id, sender, recipient, recipient_rand_hash,"
            " first_nonce, tickets, face_value_wei, win_prob, creation_round, creation_round_block_hash)"
            " VALUES (%s, %s, %s, %s, %s, uuid_send(%s), 7, %s, %s, %s, 3400, '\\xbb')",
            [
                *(payer.pk, session_id, usage_id, "0x" + "5e" * 20, ORCHESTRATOR),
                *(uuid.uuid4(), tickets, face_value, ONE_IN_TEN_MILLION),
            ],
        )
    return int(usage_id)


def redeemed(payer: Customer, charge_id: int) -> Redemption:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM signing_payment WHERE usage_id = %s", [charge_id])
        (payment_id,) = cursor.fetchone()
    event = ChainEvent.objects.create(
        chain_id=1,
        block_number=9,
        block_hash="0x" + "b1" * 32,
        block_time=timezone.now(),
        tx_hash="0x" + "7a" * 32,
        log_index=1,
        sender="0x" + "5e" * 20,
        name="WinningTicketRedeemed",
        arguments={},
        booked_at=timezone.now(),
    )
    return Redemption.objects.create(
        event=event,
        ticket_hash="0x" + "71" * 32,
        sender="0x" + "5e" * 20,
        recipient=ORCHESTRATOR,
        face_value_wei=36_100_000_000_000_000,
        paid_wei=36_100_000_000_000_000,
        payment_id=payment_id,
        customer=payer,
        sender_nonce=8,
    )


def text_of(answer: Any) -> str:
    """What a person reads: no tags, one space between words."""
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", "", answer.content.decode(), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", "", page).replace("&#x27;", "'").split())
