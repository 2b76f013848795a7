"""Staff hear of what banks ask, take back and warn of: one letter each, and a line until somebody has answered."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core import mail
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts import holds, notices
from accounts.models import Customer, Notice, User
from billing import attention, disputes, fraud_warnings, risk_letters, stripe_gateway
from billing.models import Dispute, FraudSignal
from sandbox.psp.client import Psp
from tests import builders
from tests.acting import acting_as
from tests.money_back import NANO, available, booked_well, handle_events, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _one_factor(settings: Any) -> None:
    settings.STAFF_MFA_REQUIRED = False


@pytest.fixture
def risk() -> User:
    builders.staff("support")
    gone = builders.staff("risk")
    gone.is_active = False
    gone.save()
    return builders.staff("risk")


def letters() -> list[tuple[str, list[str]]]:
    """What the worker sends to staff now."""
    mail.outbox.clear()
    with acting_as("worker"):
        notices.send_waiting()
        notices.send_waiting()
    owners = set(Notice.objects.exclude(reference__startswith="staff:").values_list("to", flat=True))
    return [(str(letter.subject), letter.to) for letter in mail.outbox if not owners & set(letter.to)]


def test_an_inquiry_is_told_to_staff_once_and_stands_on_their_pages_until_it_is_answered(
    psp: Psp, payer: Customer, risk: User
) -> None:
    top_up = pay(psp, payer, 5_000)
    dispute_id = psp.dispute(charge=top_up.charge_id, inquiry=True, reason="product_not_received")
    handle_events(psp)

    def sync(_: int) -> None:
        try:
            disputes.sync(dispute_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sync, range(8)))
    assert letters() == [("A bank asks about a payment of $50.00: Payer", [risk.email])]
    body = str(mail.outbox[0].body)
    for said in ("Visa 4242", "product not received", "Nothing was taken back", "answer until", f"/risk/{payer.pk}/"):
        assert said in body
    assert letters() == []
    assert (available(payer), payer.status) == (50 * NANO, "active"), "an inquiry only informs"

    client = Client()
    client.force_login(risk)
    with acting_as("web"):
        for page in ("/risk/", "/staff/"):
            assert "An inquiry of a bank wants an answer" in client.get(page, follow=True).content.decode(), page
        listed = client.get("/refunds/disputes/").content.decode()
        assert "until" in listed.split("Product not received")[1]
        assert '<span class="count">1' in listed
    disputes.submit_evidence(Dispute.objects.get(), text="He used it", user=risk)
    assert attention.of(risk) == []
    psp.decide(dispute_id, "warning_closed")
    handle_events(psp)
    assert (Dispute.objects.get().stage, attention.of(risk), letters()) == ("closed", [], [])
    booked_well(psp)


def test_a_dispute_and_a_warning_are_told_to_staff_too_and_each_stage_once(
    psp: Psp, payer: Customer, risk: User
) -> None:
    other = builders.customer("Other")
    top_up, warned = pay(psp, payer, 5_000), pay(psp, other, 2_000)
    dispute_id = psp.dispute(charge=top_up.charge_id, inquiry=True)
    handle_events(psp)
    psp.decide(dispute_id, "escalated")
    warning_id = psp.warn(charge=warned.charge_id)
    for _ in range(2):
        handle_events(psp)
        disputes.sync(dispute_id)
        fraud_warnings.sync(warning_id)
    subjects = sorted(subject for subject, _ in letters())
    assert subjects == [
        "A bank asks about a payment of $50.00: Payer",
        "A bank warns of fraud about a payment of $20.00: Other",
        "A payment of $50.00 is disputed: Payer",
    ]
    assert [(line.kind, line.count) for line in attention.of(risk)] == [("bad", 1), ("warn", 1)]
    assert attention.banks_waiting() == 2
    for hold in holds.standing(other):
        holds.lift(hold, reason="Known", user=risk)
    assert attention.banks_waiting() == 1
    assert attention.of(builders.staff("treasury")) == []
    booked_well(psp)


def test_an_answer_to_an_inquiry_is_none_to_the_dispute_that_it_becomes(
    psp: Psp, payer: Customer, risk: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pay(psp, payer, 5_000), pay(psp, payer, 5_000)
    asked, grows = (psp.dispute(charge=each.charge_id, inquiry=True) for each in (first, second))
    handle_events(psp)
    hand_in = stripe_gateway.submit_evidence

    def and_grow(dispute_id: str, **said: str) -> str:
        status = hand_in(dispute_id, **said)
        psp.decide(dispute_id, "escalated")
        disputes.sync(dispute_id)
        return status

    with acting_as("web"):
        disputes.submit_evidence(Dispute.objects.get(provider_id=asked), text="He used it", user=risk)
    psp.decide(asked, "escalated")
    handle_events(psp)
    with monkeypatch.context() as patched:
        patched.setattr(stripe_gateway, "submit_evidence", and_grow)
        disputes.submit_evidence(Dispute.objects.get(provider_id=grows), text="He used it", user=risk)
    assert [(line.kind, line.count) for line in attention.of(risk)] == [("bad", 2)]
    letters()
    assert all("answer until" in str(letter.body) for letter in mail.outbox if "is disputed:" in str(letter.subject))

    client = Client()
    client.force_login(risk)
    with acting_as("web"):
        for each in Dispute.objects.all():
            said = {"subject": each.pk, "reason": "He used it, and here is the log"}
            assert client.post(f"/risk/{payer.pk}/answer/", said).status_code == 302
    assert attention.of(risk) == []
    handle_events(psp)
    assert set(Dispute.objects.values_list("provider_status", flat=True)) == {"under_review"}
    booked_well(psp)


def test_a_worker_that_breaks_at_the_letter_has_noted_nothing_and_tells_it_next_time(
    psp: Psp, payer: Customer, risk: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    top_up = pay(psp, payer, 5_000)
    dispute_id = psp.dispute(charge=top_up.charge_id, inquiry=True)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(risk_letters, "inquiry", die)
        with pytest.raises(KeyboardInterrupt):
            disputes.sync(dispute_id)
    assert not Dispute.objects.exists(), "the stage, its sign and its letter are one transaction"
    assert not FraudSignal.objects.exists()
    with acting_as("worker"):
        Dispute.objects.update(checked_at=None, seen_at=timezone.now())
        disputes.sync(dispute_id)
    assert len(letters()) == 1
