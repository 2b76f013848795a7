"""Refunds that stand still are seen with age and amount, and given back to the balance with one click, once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts import approvals, audit, holds
from accounts.models import AuditEntry, Customer
from billing import postings, refund_approvals, refund_bookings, refund_waits, refunds
from billing.models import Refund, RefundPart
from sandbox.psp.client import Psp
from tests import builders
from tests.acting import acting_as
from tests.money_back import NANO, ask, available, booked_well, books, go_on, handle_events, pay, want

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _one_factor(settings: Any) -> None:
    settings.STAFF_MFA_REQUIRED = False
    settings.REFUND_APPROVAL_LIMIT_CENTS = 2_000


def signed_in(*roles: str) -> Client:
    client = Client()
    client.force_login(builders.staff(*roles))
    return client


def decline(refund: Refund) -> None:
    asked = approvals.ask(
        kind=refund_approvals.REFUND,
        payload={"refund": str(refund.pk)},
        reason="Ticket 12",
        user=builders.staff("support"),
        customer=refund.customer,
    )
    assert waits() == [], "it waits for a decision, which is asked for elsewhere"
    approvals.decide(asked.pk, builders.staff("finance"), approve=False, note="Looks odd")


def waits() -> list[tuple[int, str]]:
    return [(wait.nano_usd // NANO, wait.why) for wait in refund_waits.of(now=timezone.now())]


def test_a_declined_refund_is_told_on_the_overviews_and_given_back_with_one_click_once(
    psp: Psp, payer: Customer
) -> None:
    pay(psp, payer, 10_000)
    refund = want(payer, 60 * NANO)
    go_on()
    assert waits() == [(60, "Above the limit of one person, and nobody asked a second one.")]
    decline(refund)
    [(amount, why)] = waits()
    assert amount == 60
    assert why.endswith("declined it: Looks odd")
    assert books(postings.REFUNDS, str(payer.pk)) == -60 * NANO
    client, door = signed_in("finance"), f"/refunds/{refund.pk}/back/"
    support, risk = signed_in("support"), signed_in("risk")
    with acting_as("web"):
        for page in ("/finance/", "/risk/", "/staff/"):
            told = client.get(page, follow=True).content.decode()
            for words in ("A refund of $60.00 stands still", "declined it: Looks odd", "/refunds/#h-wait"):
                assert words in told, page
        listed = client.get("/refunds/").content.decode()
        assert "Give back to the balance" in listed
        assert '<span class="count">1' in listed, "the door of the sidebar says so on every page"
        assert "Give back to the balance" not in support.get("/refunds/").content.decode()
        for nobody in (support, risk):
            assert nobody.post(door).status_code == 403

        def press(_: int) -> int:
            own = Client()
            own.cookies = client.cookies
            try:
                return own.post(door).status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(press, range(8))) == {302}
    with acting_as("worker"):
        go_on()
        go_on()
    refund.refresh_from_db()
    assert (refund.status, refund.parts.get().failure) == ("returned", "It was not approved.")
    [entry] = AuditEntry.objects.filter(action="refund.stopped")
    assert "Looks odd" in str(entry.after["waited"])
    assert (available(payer), books(postings.REFUNDS, str(payer.pk))) == (100 * NANO, 0)
    assert ask(psp).v1.refunds.list({}).data == []
    assert waits() == []
    assert "stands still" not in client.get("/finance/").content.decode()
    booked_well(psp)


def test_a_click_that_breaks_half_way_changes_nothing_and_a_refund_that_goes_on_is_left_alone(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay(psp, payer, 10_000)
    refund = want(payer, 60 * NANO)
    user = builders.staff("finance")

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(audit, "write", die)
        with pytest.raises(KeyboardInterrupt):
            refund_waits.give_back(refund, user=user)
    refund.refresh_from_db()
    assert refund.stopped_at is None, "the wish and its entry are one transaction"
    assert [amount for amount, _ in waits()] == [60]
    Refund.objects.update(approved_at=timezone.now())
    assert waits() == [], "it is sent next"
    assert not refund_waits.give_back(refund, user=user)
    go_on()
    assert not refund_waits.give_back(refund, user=user)
    refund.refresh_from_db()
    assert refund.status == "done"
    booked_well(psp)


def test_what_the_provider_may_have_is_told_and_never_given_back_by_hand(psp: Psp, payer: Customer) -> None:
    pay(psp, payer, 10_000)
    held, sent = want(payer, 8 * NANO), want(payer, 10 * NANO)
    long_ago = timezone.now() - timedelta(hours=1)
    RefundPart.objects.filter(refund=sent).update(status="sending", sent_at=long_ago)
    holds.place(customer=payer, code=holds.Code.STAFF, reference="x", reason="odd")
    found = {wait.refund.pk: wait for wait in refund_waits.of(now=timezone.now())}
    assert "held" in found[held.pk].why
    assert "gave no answer" in found[sent.pk].why
    user = builders.staff("finance")
    assert not refund_waits.give_back(sent, user=user)
    assert refund_waits.give_back(held, user=user)
    later = timezone.now() + refund_waits.PROVIDER_TIME
    RefundPart.objects.filter(refund=sent).update(status="pending")
    assert ["provider has it" in wait.why for wait in refund_waits.of(now=later)].count(True) == 1
    RefundPart.objects.filter(refund=sent).update(status="sending")
    for _ in range(2):
        go_on()
    assert set(Refund.objects.values_list("status", flat=True)) == {"returned", "done"}
    assert available(payer) == 90 * NANO
    booked_well(psp)


def test_money_given_back_and_sent_all_the_same_is_taken_again_and_nothing_is_lost(psp: Psp, payer: Customer) -> None:
    top_up = pay(psp, payer, 10_000)
    refund = want(payer, 15 * NANO)
    part = refund.parts.get()
    assert refunds.stop(refund, user=builders.user(), reason="No")
    go_on()
    assert available(payer) == 100 * NANO
    made = ask(psp).v1.refunds.create(
        {"charge": top_up.charge_id or "", "amount": 1_500, "metadata": {"refund_part": str(part.pk)}}
    )
    handle_events(psp)
    refund_bookings.sync(made.id)
    part.refresh_from_db()
    assert (part.status, part.provider_id) == ("canceled", None)
    adopted = Refund.objects.get(source="provider")
    assert (adopted.status, adopted.amount_nano_usd) == ("done", 15 * NANO)
    assert available(payer) == 85 * NANO
    booked_well(psp)
