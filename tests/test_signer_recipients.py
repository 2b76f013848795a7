"""Whom the signer pays: recipients as the policy and their rules say, within two seconds of each change."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.chain.client import SandboxChain
from signing.models import RecipientRule
from tests import chain_cast
from tests.held_chain import RECIPIENT, HeldChain
from tests.roster_stage import FIRST_IN_POOL, FollowedChain, Pool, through, until, watching
from tests.signer_stage import Answer, Client, Stage, offer, running_signer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxChain]:
    with chain_cast.quiet_chain(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


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


# Over a chain that changes


def paid(gateway: Client, recipient: bytes) -> Answer:
    return gateway.pay(orchestrator=offer(recipient=recipient), type="fixed")


def refusal(gateway: Client, recipient: bytes) -> tuple[int, str]:
    """Empty for a payment."""
    answer = paid(gateway, recipient)
    return (answer.status, "") if answer.status == 200 else (answer.status, answer.code)


def test_an_orchestrator_that_left_the_pool_is_paid_until_its_round_ends(sandbox: SandboxChain) -> None:
    pool = Pool(sandbox)
    leaver, stayer = pool.enrol(2)
    with watching(sandbox, chain_cast.connected(sandbox)) as watch, running_signer(FollowedChain(watch)) as stage:
        gateway, _ = stage.gateway()
        assert paid(gateway, leaver).status == 200
        size = watch.view().pool_size
        pool.leave(leaver)
        until(lambda: watch.view().pool_size == size - 1)
        assert paid(gateway, leaver).status == 200
        sandbox.next_round()
        until(lambda: refusal(gateway, leaver) == (403, "recipient_not_registered"))
        assert paid(gateway, stayer).status == 200


def test_an_old_roster_does_not_tell_a_new_orchestrator_that_nobody_knows_it(sandbox: SandboxChain) -> None:
    is_tight = threading.Event()

    def throttle(selector: str, parameters: list[Any]) -> str:
        return "too many requests" if is_tight.is_set() and selector == FIRST_IN_POOL else ""

    pool, stranger = Pool(sandbox), os.urandom(20)
    (known,) = pool.enrol()
    (newcomer,) = pool.enrol(rounds_from_now=1)
    with (
        through(sandbox, throttle) as chain,
        watching(sandbox, chain) as watch,
        running_signer(FollowedChain(watch)) as stage,
    ):
        gateway, _ = stage.gateway()
        unregistered = (403, "recipient_not_registered")
        assert refusal(gateway, newcomer) == refusal(gateway, stranger) == unregistered
        is_tight.set()
        sandbox.next_round()
        until(lambda: watch.view().roster_is_old)
        assert refusal(gateway, newcomer) == refusal(gateway, stranger) == (503, "roster_stale")
        assert paid(gateway, known).status == 200
        assert gateway.request("GET", "/readyz").status == 200
        is_tight.clear()
        until(lambda: paid(gateway, newcomer).status == 200)
        assert refusal(gateway, stranger) == unregistered


def test_a_roster_of_days_ago_pays_nobody_and_says_so() -> None:
    chain = HeldChain(active_recipients=frozenset(), roster_is_old=True)
    with running_signer(chain) as stage:
        gateway, _ = stage.gateway()
        answer = paid(gateway, RECIPIENT)
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "roster_stale", "1")
        ready = gateway.request("GET", "/readyz")
        assert (ready.status, ready.code) == (503, "roster_stale")
    with running_signer(chain, RECIPIENT_POLICY="any") as stage:
        gateway, _ = stage.gateway()
        assert paid(gateway, RECIPIENT).status == 200
        assert gateway.request("GET", "/readyz").status == 200
