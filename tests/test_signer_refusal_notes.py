"""What a signer refused stands on the customer's page: why, how often and when, in a row a kind."""

import time
from datetime import timedelta

import pytest
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import Customer
from signing import recipients
from signing.models import Refusal
from tests import builders
from tests.held_chain import L1_BLOCK, RECIPIENT
from tests.signer_stage import execute, offer, rows, running_signer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("static_files")]


def kinds(owner: Customer) -> dict[str, int]:
    return dict(Refusal.objects.filter(customer=owner).values_list("code", "count"))


def until(owner: Customer, expected: dict[str, int]) -> None:
    deadline = time.monotonic() + 12
    while kinds(owner) != expected:
        assert time.monotonic() < deadline, kinds(owner)
        time.sleep(0.1)


def test_refusals_are_summed_up_for_the_customer_s_own_page() -> None:
    with running_signer() as stage:
        poor, owner = stage.gateway(dollars_nano=0)
        rich, other = stage.gateway()
        for _ in range(3):
            assert poor.pay(orchestrator=offer(), type="fixed").status == 402
        assert rich.pay(orchestrator=offer(price=(0, 1)), type="fixed").status == 400
        assert rich.pay(orchestrator=offer(expires=int(time.time())), type="fixed").status == 480
        until(owner, {"insufficient_credit": 3})
        recipients.rule(address="0x" + RECIPIENT.hex(), standing="frozen", reason="drill", user=builders.user())
        time.sleep(1.1)
        assert poor.pay(orchestrator=offer(), type="fixed").status == 403
    # What waited was written when the signer ended.
    until(owner, {"insufficient_credit": 3, "recipient_frozen": 1})
    assert kinds(other) == {}
    browser = Browser()
    browser.force_login(owner.members.get())
    page = browser.get("/usage/").content.decode()
    assert "Refused in the last 24 hours" in page
    assert "The operator froze payments to the ticket&#x27;s recipient" in page
    browser.force_login(other.members.get())
    assert "Refused in the last" not in browser.get("/usage/").content.decode()


def test_a_payment_charged_anew_stands_on_the_customer_s_page() -> None:
    with running_signer() as stage:
        gateway, owner = stage.gateway()
        work = {"type": "fixed", "ManifestID": "m"}
        first = gateway.pay(orchestrator=offer(price=(9 * 10**11, 1)), **work)
        work["state"] = first.json["state"]
        for expiration in (L1_BLOCK + 40, L1_BLOCK + 40, L1_BLOCK + 140):  # made, its answer again, and one anew
            stage.chain.change(l1_block=expiration - 40)
            again = offer(price=(9 * 10**11, 1), expiration_block=expiration)
            assert gateway.pay(orchestrator=again, **work).status == 200
        assert len(rows(owner)) == 3
        until(owner, {"charged_anew": 1})
    browser = Browser()
    browser.force_login(owner.members.get())
    page = browser.get("/usage/").content.decode()
    assert "Refused or charged anew in the last 24 hours" in page
    assert "an answer was lost, and its tickets had expired" in page


def test_a_day_without_one_begins_a_new_count() -> None:
    owner = builders.customer()
    one = f'[{{"customer": {owner.pk}, "code": "velocity", "message": "m", "count": 2}}]'
    for _ in range(2):
        execute("SELECT signing_note_refusals(%s)", one)
    assert kinds(owner) == {"velocity": 4}
    Refusal.objects.update(last_at=timezone.now() - timedelta(days=1, minutes=1))
    execute("SELECT signing_note_refusals(%s)", one)
    assert kinds(owner) == {"velocity": 2}
