"""Refunds: money leaves the wallet first and reaches its own cards once, whatever breaks on the way."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from accounts import holds
from accounts.models import Customer
from billing import ledger, postings, refund_bookings, refunds, stripe_gateway
from billing.documents import archive
from billing.models import Document, Journal, Refund, RefundPart, WalletEntry
from sandbox.psp.client import Psp
from tests import builders
from tests.money_back import (
    NANO,
    ask,
    available,
    booked_well,
    books,
    debt,
    go_on,
    handle_events,
    pay,
    spend,
    until,
    want,
)
from tests.test_documents import text_of

pytestmark = pytest.mark.django_db(transaction=True)


def done_in_the_end(refund: Refund) -> bool:
    go_on()
    refund.refresh_from_db()
    return refund.status == Refund.Status.DONE


def promotional_rest(payer: Customer) -> None:
    """50 in the wallet, of which 20 were given."""
    spend(payer, 70 * NANO)
    ledger.grant_promo(
        customer_id=payer.pk,
        amount_nano_usd=20 * NANO,
        campaign="hello",
        reference="grant:1",
        occurred_at=timezone.now(),
    )


def test_a_refund_takes_credit_with_its_tax_back_to_the_card_and_leaves_the_fee_spent(
    psp: Psp, payer: Customer
) -> None:
    top_up = pay(psp, payer, 10_000, taxes={"DE": 1_900})
    assert refunds.refundable_nano_usd(payer) == 100 * NANO
    refund = want(payer, 40 * NANO)
    assert (available(payer), books(postings.REFUNDS, str(payer.pk))) == (60 * NANO, -40 * NANO)
    assert ask(psp).v1.refunds.list({}).data == [], "nobody was asked yet"
    booked_well(psp)

    before = books(postings.STRIPE_BALANCE), books(postings.STRIPE_FEES)
    go_on()
    go_on()
    refund.refresh_from_db()
    part = refund.parts.get()
    assert (refund.status, part.status, part.net_cents, part.tax_cents) == ("done", "succeeded", 4_000, 760)
    assert books(postings.STRIPE_BALANCE) == before[0] - 47_600_000_000
    assert books(postings.STRIPE_FEES) == before[1]
    assert books(postings.TAX_PAYABLE, "DE") == -11_400_000_000
    assert (books(postings.REFUNDS, str(payer.pk)), books(postings.PREPAID, str(payer.pk))) == (0, -60 * NANO)
    note = Document.objects.get(kind="credit_note")
    assert (note.net_cents, note.tax_cents, note.top_up) == (4_000, 760, top_up)
    [made] = ask(psp).v1.refunds.list({}).data
    assert (made.amount, made.charge) == (4_760, top_up.charge_id)
    handle_events(psp)
    assert Journal.objects.filter(kind="refund_sent").count() == 1
    booked_well(psp)


def test_parts_go_to_the_oldest_payments_first_and_their_tax_adds_up_to_the_cent(psp: Psp, payer: Customer) -> None:
    old = pay(psp, payer, 1_000, taxes={"US-CA": 73, "US-CA-LA": 22})
    new = pay(psp, payer, 10_000, currency="eur", nano_usd_per_cent=10_850_001)
    for cents in (333, 333, 333):
        want(payer, cents * 10**7)
        go_on()
    last = want(payer, 50 * NANO)
    go_on()
    parts = RefundPart.objects.filter(top_up=old).order_by("created_at")
    assert [part.net_cents for part in parts] == [333, 333, 333, 1]
    assert sum(part.tax_parts["US-CA"] for part in parts) == 73
    assert sum(part.tax_parts["US-CA-LA"] for part in parts) == 22
    assert books(postings.TAX_PAYABLE, "US-CA") == books(postings.TAX_PAYABLE, "US-CA-LA") == 0
    euros = RefundPart.objects.get(top_up=new)
    last.refresh_from_db()
    assert (last.status, euros.currency) == ("done", "eur")
    assert euros.credit_nano_usd == euros.net_cents * 10_850_001
    assert 0 <= 50 * NANO - last.amount_nano_usd < 10_850_001
    assert last.amount_nano_usd == 10_000_000 + euros.credit_nano_usd
    booked_well(psp)
    left = refunds.refundable_nano_usd(payer)
    grant = [postings.usd(postings.Account(postings.EQUITY), postings.Account(postings.PREPAID, str(payer.pk)), NANO)]
    ledger.credit(
        customer_id=payer.pk,
        amount_nano_usd=NANO,
        kind="adjustment",
        reference="adjustment:1",
        occurred_at=timezone.now(),
        transfers=grant,
    )
    with pytest.raises(refunds.NotPossible, match="Less than that"):
        want(payer, left + NANO)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda payer: spend(payer, 61 * NANO), "less paid credit"),
        (
            lambda payer: holds.place(customer=payer, code=holds.Code.STAFF, reference="x", reason="odd"),
            "account is frozen",
        ),
        (
            lambda payer: ledger.book(
                kind="test",
                reference="owes",
                occurred_at=timezone.now(),
                transfers=postings.refund_owed(customer_id=payer.pk, credit_nano_usd=5),
            ),
            "owes money",
        ),
        (
            promotional_rest,
            "less paid credit",
        ),
    ],
)
def test_what_is_used_frozen_owed_or_promotional_is_not_refunded(
    psp: Psp, payer: Customer, prepare: Any, words: str
) -> None:
    pay(psp, payer, 10_000)
    prepare(payer)
    before = available(payer)
    with pytest.raises(refunds.NotPossible, match=words):
        want(payer, 40 * NANO)
    assert available(payer) == before
    assert not Refund.objects.exists()
    assert not RefundPart.objects.exists()


def test_the_same_form_twice_is_one_refund_and_two_full_ones_at_once_are_one(psp: Psp, payer: Customer) -> None:
    pay(psp, payer, 5_000)
    pay(psp, payer, 5_000)
    form = uuid.uuid4()
    first, again = want(payer, 20 * NANO, form), want(payer, 20 * NANO, form)
    assert first.pk == again.pk
    with pytest.raises(refunds.NotPossible, match="another account"):
        want(builders.customer("Other"), 20 * NANO, form)

    def everything(_: int) -> bool:
        try:
            want(payer, 80 * NANO)
            return True
        except refunds.NotPossible:
            return False
        finally:
            connections.close_all()

    def work(_: int) -> None:
        try:
            go_on()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(everything, range(4))) == 1
        list(pool.map(work, range(4)))
    go_on()
    assert available(payer) == 0
    assert set(Refund.objects.values_list("status", flat=True)) == {"done"}
    assert sum(made.amount for made in ask(psp).v1.refunds.list({"limit": 100}).data) == 10_000
    booked_well(psp)


@pytest.mark.parametrize("weather", ["hang_up_after", "error_after", "crash_after"])
def test_a_worker_that_never_learns_the_answer_refunds_once(psp: Psp, payer: Customer, weather: str) -> None:
    pay(psp, payer, 5_000)
    refund = want(payer, 30 * NANO)
    psp.api_rule(weather, "POST /v1/refunds", times=1)
    go_on()
    part = refund.parts.get()
    assert part.status in ("sending", "succeeded")
    if weather == "crash_after":
        psp.wait()
        psp.start()
    until(lambda: done_in_the_end(refund))
    [made] = ask(psp).v1.refunds.list({}).data
    assert made.amount == 3_000
    handle_events(psp)
    booked_well(psp)


def test_a_worker_that_dies_before_its_commit_has_booked_nothing_and_the_event_books_it_once(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay(psp, payer, 5_000)
    refund = want(payer, 30 * NANO)

    class Died(BaseException):
        pass

    def die(**_: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "book", die)
        with pytest.raises(Died):
            go_on()
    part = refund.parts.get()
    assert (part.status, part.provider_id) == ("sending", None)
    assert books(postings.REFUNDS, str(payer.pk)) == -30 * NANO
    handle_events(psp)
    go_on()
    refund.refresh_from_db()
    assert refund.status == "done"
    assert len(ask(psp).v1.refunds.list({}).data) == 1
    assert Document.objects.filter(kind="credit_note").count() == 1
    booked_well(psp)


def test_a_refund_that_fails_late_comes_back_with_its_tax_and_can_be_sent_again(psp: Psp, payer: Customer) -> None:
    pay(psp, payer, 10_000, taxes={"DE": 1_900}, card="pm_card_refundFail")
    refund = want(payer, 40 * NANO)
    go_on()
    assert Refund.objects.get().status in ("done", "returned")
    until(lambda: ask(psp).v1.refunds.list({}).data[0].status == "failed")
    handle_events(psp)
    refund.refresh_from_db()
    part = refund.parts.get()
    assert (refund.status, part.status, part.failure) == ("returned", "failed", "expired or canceled card")
    assert (available(payer), books(postings.TAX_PAYABLE, "DE")) == (100 * NANO, -19 * NANO)
    assert WalletEntry.objects.get(kind="refund_returned").amount_nano_usd == 40 * NANO
    handle_events(psp)
    refund_bookings.sync(part.provider_id or "")
    note, offset = Document.objects.get(kind="credit_note"), Document.objects.get(kind="debit_note")
    assert (note.net_cents, note.tax_cents, offset.net_cents, offset.tax_cents) == (4_000, 760, 4_000, 760)
    assert (offset.corrects, offset.number[-9:]) == (note, "-D-000001")
    assert offset.snapshot["tax"] == note.snapshot["tax"]
    for said in ("Debit note", note.number, "did not arrive", "expired or canceled card", "$47.60"):
        assert said in text_of(archive.pdf(offset))
    booked_well(psp)

    psp.settings(refund_moves_after_seconds=1000)
    want(payer, 40 * NANO)
    go_on()
    again = Document.objects.filter(kind="credit_note").latest("id")
    assert (again.net_cents, again.tax_cents, again.corrects) == (4_000, 760, note.corrects)
    assert Document.objects.filter(kind="credit_note").count() == 2
    assert refunds.refundable_nano_usd(payer) == 60 * NANO
    booked_well(psp)


def test_a_pending_refund_is_asked_about_until_it_arrives_and_one_that_is_canceled_comes_back(
    psp: Psp, payer: Customer
) -> None:
    psp.settings(refund_moves_after_seconds=1000)
    pay(psp, payer, 10_000, card="pm_card_pendingRefund")
    first, second = want(payer, 10 * NANO), want(payer, 20 * NANO)
    go_on()
    ids = [refund.parts.get().provider_id or "" for refund in (first, second)]
    assert [refund.parts.get().status for refund in (first, second)] == ["pending", "pending"]
    assert not Document.objects.filter(kind="credit_note").exists(), "what is on its way has no document yet"
    booked_well(psp)
    psp.move_refund(ids[0], "succeeded")
    psp.move_refund(ids[1], "canceled")
    go_on()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == ("done", "returned")
    assert Document.objects.get(kind="credit_note").reference == f"credit_note:refund:{first.parts.get().pk}"
    assert not Document.objects.filter(kind="debit_note").exists()
    assert available(payer) == 90 * NANO
    booked_well(psp)


def test_above_the_limit_of_a_day_a_refund_waits_for_a_second_person_and_can_be_stopped(
    psp: Psp, payer: Customer, settings: Any
) -> None:
    settings.REFUND_APPROVAL_LIMIT_CENTS = 5_000
    pay(psp, payer, 20_000)
    small, big = want(payer, 50 * NANO), want(payer, 10**7)
    go_on()
    assert (small.parts.get().status, big.parts.get().status) == ("succeeded", "planned")
    assert refunds.needs_second_person(big)
    Refund.objects.filter(id=big.id).update(approved_at=timezone.now())
    go_on()
    assert big.parts.get().status == "succeeded"

    other = want(payer, 60 * NANO)
    go_on()
    assert refunds.stop(other, user=builders.user(), reason="Not this one")
    assert not refunds.stop(other, user=builders.user(), reason="Twice")
    go_on()
    other.refresh_from_db()
    assert (other.status, other.parts.get().failure) == ("returned", "Not this one")
    assert available(payer) == 149 * NANO + 990_000_000
    booked_well(psp)


def test_a_refund_made_at_the_provider_is_taken_from_the_credit_and_the_rest_is_owed(psp: Psp, payer: Customer) -> None:
    top_up = pay(psp, payer, 10_000, taxes={"DE": 1_900})
    spend(payer, 70 * NANO)
    ask(psp).v1.refunds.create({"charge": top_up.charge_id or "", "amount": 5_950})
    handle_events(psp)
    handle_events(psp)
    made = Refund.objects.get()
    assert (made.source, made.status, made.amount_nano_usd) == ("provider", "done", 50 * NANO)
    assert (available(payer), debt(payer)) == (0, 20 * NANO)
    assert books(postings.TAX_PAYABLE, "DE") == -9_500_000_000
    booked_well(psp)
    assert builders.refusal(payer, cost_wei=1) == "account_frozen"
    pay(psp, payer, 3_000)
    assert (available(payer), debt(payer)) == (10 * NANO, 0)
    booked_well(psp)


def test_the_provider_is_asked_again_when_it_is_away_and_a_refusal_gives_the_money_back(
    psp: Psp, payer: Customer
) -> None:
    top_up = pay(psp, payer, 5_000)
    refund = want(payer, 30 * NANO)
    psp.api_rule("rate_limit", "POST /v1/refunds", times=99)
    go_on()
    psp.knob("DELETE", "/sandbox/rules")
    assert refund.parts.get().status == "sending"
    ask(psp).v1.refunds.create({"charge": top_up.charge_id or "", "amount": 4_000})
    go_on()
    refund.refresh_from_db()
    assert refund.status == "returned"
    assert "refused" in refund.parts.get().failure
    assert stripe_gateway.refunds_of(top_up.charge_id or "")[0].part == ""
    handle_events(psp)
    assert available(payer) == 10 * NANO
    booked_well(psp)
