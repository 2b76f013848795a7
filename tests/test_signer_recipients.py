"""Whom the signer pays: recipients as the policy and their rules say, within two seconds of each change."""

import time

import pytest

from signing.models import RecipientRule
from tests.held_chain import RECIPIENT, HeldChain
from tests.signer_stage import Stage, offer, running_signer

pytestmark = pytest.mark.django_db(transaction=True)


def rule(recipient: bytes, standing: str) -> RecipientRule:
    return RecipientRule.objects.create(address="0x" + recipient.hex(), standing=standing, reason="drill")


def test_recipients_are_paid_as_the_policy_says() -> None:
    listed, unlisted, blocked = b"\x21" * 20, b"\x22" * 20, b"\x23" * 20
    chain = HeldChain(active_recipients=frozenset({listed, unlisted, blocked}))
    rule(listed, "listed")
    rule(blocked, "listed")
    rule(blocked, "frozen")
    statuses: dict[str, list[int]] = {}
    for policy in ("registered", "listed", "any"):
        with running_signer(chain, RECIPIENT_POLICY=policy) as stage:
            gateway, _ = stage.gateway()
            statuses[policy] = [
                gateway.pay(orchestrator=offer(recipient=recipient), type="fixed").status
                for recipient in (listed, unlisted, blocked, b"\x24" * 20)
            ]
    assert statuses == {
        "registered": [200, 200, 403, 403],
        "listed": [200, 403, 403, 403],
        "any": [200, 200, 403, 200],
    }


def test_a_recipient_is_blocked_within_two_seconds(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    assert gateway.pay(orchestrator=offer(), type="fixed").status == 200
    rule(RECIPIENT, "frozen")
    blocked_at = time.monotonic()
    while (answer := gateway.pay(orchestrator=offer(), type="fixed")).status == 200:
        assert time.monotonic() - blocked_at < 2
        time.sleep(0.05)
    assert answer.code == "recipient_frozen"


def test_the_policy_any_takes_every_round() -> None:
    with running_signer(RECIPIENT_POLICY="any") as stage:
        gateway, _ = stage.gateway()
        answer = gateway.pay(orchestrator=offer(creation=(7, b"\x01" * 32)), type="fixed")
        assert answer.payment.expiration_params.creation_round == 7
