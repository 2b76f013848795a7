"""Disputes: signing stops, credit is kept apart, and every verdict is booked once, in whatever order it is heard of."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.db import connections

from accounts import holds
from accounts.models import AuditEntry, Customer
from billing import disputes, documents, fraud, inbox, ledger, postings, refunds, topups
from billing.models import Dispute, Document, FraudSignal, Journal, Refund, StripeEvent, TopUp
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
from tests.signer_stage import offer, running_signer

pytestmark = pytest.mark.django_db(transaction=True)


def status(customer: Customer) -> str:
    customer.refresh_from_db()
    return customer.status


def of(dispute_id: str) -> Dispute:
    return Dispute.objects.get(provider_id=dispute_id)


def opened(psp: Psp, top_up: TopUp, **more: Any) -> str:
    """A dispute that we know of."""
    dispute_id = psp.dispute(charge=top_up.charge_id, **more)
    disputes.sync(dispute_id)
    return dispute_id


def worked_case(psp: Psp, payer: Customer) -> TopUp:
    """119.00 paid with 19 % tax, 47.60 of it refunded, 8.9125 used: 51.0875 are left of 71.40."""
    top_up = pay(psp, payer, 10_000, taxes={"DE": 1_900})
    want(payer, 40 * NANO)
    go_on()
    spend(payer, 8_912_500_000)
    assert available(payer) == 51_087_500_000
    return top_up


def test_a_lost_dispute_costs_what_is_left_the_tax_and_a_debt_that_is_given_up_with_two_people(
    psp: Psp, payer: Customer
) -> None:
    top_up = worked_case(psp, payer)
    booked_well(psp)
    before = books(postings.STRIPE_BALANCE)
    dispute_id = opened(psp, top_up, amount=7_140)
    assert books(postings.STRIPE_BALANCE) == before - 86_400_000_000
    assert books(postings.DISPUTED, dispute_id) == 71_400_000_000
    assert books(postings.DISPUTE_FEES) == 15 * NANO
    assert books(postings.FROZEN, str(payer.pk)) == -51_087_500_000
    assert (available(payer), status(payer)) == (0, "frozen")
    assert disputes.stops_charging(payer.pk)
    booked_well(psp)

    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    disputes.sync(dispute_id)
    assert books(postings.DISPUTED, dispute_id) == books(postings.FROZEN, str(payer.pk)) == 0
    assert books(postings.TAX_PAYABLE, "DE") == 0, "11.40 were left of 19.00 after the refund"
    assert (books(postings.RECEIVABLE, str(payer.pk)), debt(payer)) == (8_912_500_000, 8_912_500_000)
    lost = of(dispute_id)
    assert (lost.stage, lost.covered_nano_usd, lost.relieved_nano_usd, lost.owed_nano_usd) == (
        "lost",
        51_087_500_000,
        11_400_000_000,
        8_912_500_000,
    )
    note = Document.objects.get(reference=f"credit_note:dispute:{dispute_id}:lost")
    assert (note.net_cents, note.tax_cents, note.tax_nano_usd) == (6_000, 1_140, 11_400_000_000)
    assert note.corrects == Document.objects.get(kind="receipt")
    assert sum(Document.objects.filter(kind="credit_note").values_list("total_cents", flat=True)) == 11_900
    assert note.snapshot["lines"][0]["description"].startswith("Payment that the bank took back, receipt CH-")
    assert note.snapshot["references"]["dispute"] == dispute_id
    assert status(payer) == "active", "no hold stands, and the debt keeps signing shut"
    assert builders.refusal(payer, cost_wei=1) == "account_frozen"
    booked_well(psp)

    assert disputes.give_up_debt(customer_id=payer.pk, nano_usd=8_912_500_000, reference="write_off:1")
    assert not disputes.give_up_debt(customer_id=payer.pk, nano_usd=8_912_500_000, reference="write_off:1")
    assert books(postings.CHARGEBACK_LOSSES) == 8_912_500_000
    assert (debt(payer), status(payer)) == (0, "frozen"), "who does not pay does not sign"
    booked_well(psp)


def test_a_won_dispute_gives_everything_back_but_the_fee(psp: Psp, payer: Customer) -> None:
    top_up = worked_case(psp, payer)
    before = {number: books(number) for number in (postings.STRIPE_BALANCE, postings.DISPUTE_FEES)}
    dispute_id = opened(psp, top_up, amount=7_140)
    disputes.submit_evidence(of(dispute_id), text="winning_evidence", user=builders.user())
    until(lambda: len(ask(psp).v1.disputes.retrieve(dispute_id).balance_transactions) == 2)
    handle_events(psp)
    handle_events(psp)
    assert of(dispute_id).stage == "won"
    assert (available(payer), status(payer)) == (51_087_500_000, "active")
    released = ledger.ages_at(f"dispute:{dispute_id}:released")
    assert released == ledger.ages_at(f"stripe:{top_up.payment_intent_id}"), "it came back no older than it was"
    assert books(postings.DISPUTED, dispute_id) == books(postings.FROZEN, str(payer.pk)) == 0
    assert books(postings.STRIPE_BALANCE) == before[postings.STRIPE_BALANCE] - 15 * NANO
    assert books(postings.DISPUTE_FEES) == 15 * NANO
    assert refunds.refundable_nano_usd(payer) > 0
    booked_well(psp)

    psp.settings(dispute_fee_returned=True)
    again = opened(psp, top_up, amount=1_000)
    psp.decide(again, "won")
    disputes.sync(again)
    assert books(postings.DISPUTE_FEES) == 15 * NANO, "a fee comes back when the provider says so"
    booked_well(psp)


def test_a_won_dispute_lifts_the_hold_that_its_weight_brought_about(psp: Psp, payer: Customer) -> None:
    top_up = worked_case(psp, payer)
    heavy = fraud.SCORES[fraud.Code.FRAUD_WARNING]
    fraud.note(payer, code=fraud.Code.FRAUD_WARNING, reference="warning", reason="The bank warns.")
    assert status(payer) == "active"
    dispute_id = opened(psp, top_up, amount=7_140)
    assert {hold.code for hold in holds.standing(payer)} == {"dispute", "fraud"}
    psp.decide(dispute_id, "won")
    disputes.sync(dispute_id)
    disputes.sync(dispute_id)
    assert (fraud.score(payer), status(payer)) == (heavy, "active")
    again = opened(psp, top_up, amount=1_000)
    fraud.note(payer, code=fraud.Code.SHARED_CARD, reference="another", reason="Another account has the card.")
    psp.decide(again, "won")
    disputes.sync(again)
    assert {hold.code for hold in holds.standing(payer)} == {"fraud"}, "what is left weighs enough"


def test_without_relief_for_bad_debts_only_the_tax_of_unused_credit_comes_back(
    psp: Psp, payer: Customer, settings: Any
) -> None:
    settings.DISPUTE_TAX_RELIEF = False
    dispute_id = opened(psp, worked_case(psp, payer), amount=7_140)
    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    assert of(dispute_id).relieved_nano_usd == 9_710_000_000
    assert debt(payer) == 71_400_000_000 - 51_087_500_000 - 9_710_000_000
    note = Document.objects.get(reference=f"credit_note:dispute:{dispute_id}:lost")
    assert (note.net_cents, note.tax_cents) == (5_108, 971), "whole cents of what was unused"
    booked_well(psp)


def test_a_verdict_that_breaks_before_its_document_leaves_nothing_and_comes_again(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispute_id = opened(psp, worked_case(psp, payer), amount=7_140)
    psp.decide(dispute_id, "lost")

    class Died(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(documents, "issue_credit_note", die)
        with pytest.raises(Died):
            disputes.sync(dispute_id)
    assert (of(dispute_id).stage, books(postings.TAX_PAYABLE, "DE")) == ("open", -11_400_000_000)
    booked_well(psp)

    def sync(_: int) -> None:
        try:
            disputes.sync(dispute_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as several:
        list(several.map(sync, range(4)))
    assert Document.objects.filter(reference__startswith="credit_note:dispute:").count() == 1
    assert (of(dispute_id).stage, books(postings.TAX_PAYABLE, "DE")) == ("lost", 0)
    booked_well(psp)


def test_keys_stop_within_two_seconds_and_a_debt_keeps_them_shut_until_a_payment_covers_it(
    psp: Psp, payer: Customer
) -> None:
    with running_signer() as stage:
        gateway, owner = stage.gateway(dollars_nano=0)
        top_up = pay(psp, owner, 2_000)
        assert gateway.pay(orchestrator=offer(), type="fixed").status == 200
        spend(owner, 15 * NANO)
        dispute_id = opened(psp, top_up)
        until(lambda: gateway.pay(orchestrator=offer(), type="fixed").status == 402, seconds=2)
        assert gateway.pay(orchestrator=offer(), type="fixed").code == "account_frozen"
        psp.decide(dispute_id, "lost")
        disputes.sync(dispute_id)
        owed = debt(owner)
        assert owed > 15 * NANO
        time.sleep(1.1)
        assert gateway.pay(orchestrator=offer(), type="fixed").code == "account_frozen"
        pay(psp, owner, 1_000)
        assert (debt(owner), available(owner)) == (owed - 10 * NANO, 0)
        assert gateway.pay(orchestrator=offer(), type="fixed").code == "account_frozen"
        pay(psp, owner, 2_000)
        assert (debt(owner), available(owner)) == (0, 30 * NANO - owed)
        until(lambda: gateway.pay(orchestrator=offer(), type="fixed").status == 200, seconds=2)
    ledger.post_usage()
    booked_well(psp)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1::2])
def test_events_in_any_order_and_doubled_end_in_the_same_books(
    psp: Psp, payer: Customer, order: tuple[int, ...]
) -> None:
    psp.settings(paused=True)
    top_up = worked_case(psp, payer)
    dispute_id = psp.dispute(charge=top_up.charge_id, amount=7_140)
    psp.decide(dispute_id, "lost")
    psp.settings(paused=False)
    until(lambda: not psp.state()["deliveries"].get("pending"))
    told = list(StripeEvent.objects.filter(object_id=dispute_id).order_by("id"))
    StripeEvent.objects.exclude(object_id=dispute_id).delete()
    for position in [*order, *order]:
        StripeEvent.objects.filter(id=told[position].id).update(handled_at=None, not_before=told[position].received_at)
        inbox.handle_waiting()
    assert (of(dispute_id).stage, debt(payer)) == ("lost", 8_912_500_000)
    assert Journal.objects.filter(kind__startswith="dispute").count() == 2
    booked_well(psp)


def test_several_partial_disputes_freeze_each_their_own_and_leave_the_rest(psp: Psp, payer: Customer) -> None:
    first, second = pay(psp, payer, 10_000), pay(psp, payer, 5_000)
    one = opened(psp, first, amount=2_000)
    two = opened(psp, second, amount=5_000)
    assert (available(payer), books(postings.FROZEN, str(payer.pk))) == (80 * NANO, -70 * NANO)
    psp.decide(one, "lost")
    disputes.sync(one)
    assert (debt(payer), status(payer)) == (0, "frozen"), "the other dispute still holds the account"
    psp.decide(two, "won")
    disputes.sync(two)
    assert (available(payer), status(payer)) == (130 * NANO, "active")
    assert refunds.refundable_nano_usd(payer) == 50 * NANO, "nothing more goes back to a payment that was lost"
    booked_well(psp)


def test_a_dispute_of_a_refunded_payment_takes_the_money_twice_and_is_owed(psp: Psp, payer: Customer) -> None:
    top_up = pay(psp, payer, 5_000, taxes={"DE": 950})
    want(payer, 50 * NANO)
    go_on()
    dispute_id = opened(psp, top_up)
    assert of(dispute_id).frozen_nano_usd == 0
    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    assert debt(payer) == 59_500_000_000, "its tax went back with the refund"
    assert books(postings.TAX_PAYABLE, "DE") == 0
    assert Document.objects.filter(kind="credit_note").count() == 1, "the refund's note gave the whole receipt back"
    booked_well(psp)


def test_refunds_that_wait_come_back_before_credit_is_frozen_and_one_under_way_meets_a_refusal(
    psp: Psp, payer: Customer
) -> None:
    top_up, other = pay(psp, payer, 5_000), pay(psp, payer, 5_000)
    waiting = want(payer, 60 * NANO)
    assert {part.top_up_id for part in waiting.parts.all()} == {top_up.id, other.id}
    spend(payer, 30 * NANO)
    dispute_id = psp.dispute(charge=top_up.charge_id)
    waiting.parts.filter(top_up=top_up).update(status="sending")
    disputes.sync(dispute_id)
    go_on()
    waiting.refresh_from_db()
    assert waiting.status == "returned"
    assert (available(payer), books(postings.REFUNDS, str(payer.pk))) == (50 * NANO, 0)
    assert books(postings.FROZEN, str(payer.pk)) == -20 * NANO
    with pytest.raises(refunds.NotPossible, match="frozen"):
        want(payer, NANO)
    assert ask(psp).v1.refunds.list({}).data == []
    booked_well(psp)
    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    assert (available(payer), debt(payer)) == (20 * NANO, 0), "what came back late pays as well"
    booked_well(psp)


def test_a_dispute_that_is_heard_of_before_the_credit_books_the_credit_first(psp: Psp, payer: Customer) -> None:
    psp.settings(paused=True)
    top_up = topups.start(customer=payer, user=payer.members.get(), amount_cents=5_000)
    psp.pay(str(top_up.checkout_session_id), card="4000 0000 0000 0259")
    [dispute] = until(lambda: ask(psp).v1.disputes.list({}).data)
    disputes.sync(dispute.id)
    top_up.refresh_from_db()
    assert (top_up.status, available(payer), status(payer)) == ("paid", 0, "frozen")
    assert of(dispute.id).frozen_nano_usd == 50 * NANO


def test_an_inquiry_only_informs_until_it_becomes_a_dispute(psp: Psp, payer: Customer) -> None:
    top_up = pay(psp, payer, 5_000)
    asked, closed = opened(psp, top_up, inquiry=True), opened(psp, top_up, inquiry=True)
    assert (of(asked).stage, status(payer), available(payer)) == ("inquiry", "active", 50 * NANO)
    assert FraudSignal.objects.filter(customer=payer, code="inquiry").count() == 2
    psp.decide(closed, "warning_closed")
    disputes.sync(closed)
    assert of(closed).stage == "closed"
    psp.decide(asked, "escalated")
    disputes.sync(asked)
    assert (of(asked).stage, status(payer), available(payer)) == ("open", "frozen", 0)
    booked_well(psp)


def test_a_warning_of_fraud_holds_the_account_at_once_and_is_lifted_by_a_person(psp: Psp, payer: Customer) -> None:
    top_up = pay(psp, payer, 5_000)
    pay(psp, builders.customer("Other"), 5_000)
    psp.warn(charge=top_up.charge_id)
    handle_events(psp)
    handle_events(psp)
    assert status(payer) == "frozen"
    assert builders.refusal(payer, cost_wei=1) == "account_frozen"
    [hold] = holds.standing(payer)
    assert (hold.code, "unauthorized use" in hold.reason) == ("fraud_warning", True)
    holds.lift(hold, reason="Spoke to them", user=builders.user())
    handle_events(psp)
    assert status(payer) == "active"
    assert AuditEntry.objects.filter(customer=payer, action__startswith="hold.").count() == 2


def test_refunds_payments_and_a_dispute_at_once_give_nobody_more_than_was_paid(psp: Psp, payer: Customer) -> None:
    top_up = pay(psp, payer, 10_000)
    builders.api_key(payer)
    dispute_id = psp.dispute(charge=top_up.charge_id, amount=5_000)
    signed: list[int] = []

    def sign(turn: int) -> None:
        if builders.refusal(payer, cost_wei=10**15) is None:
            signed.append(turn)

    def give_back(_: int) -> None:
        with suppress(refunds.NotPossible):
            want(payer, 20 * NANO)
        go_on()

    jobs = [sign] * 24 + [give_back] * 4 + [lambda _: disputes.sync(dispute_id)] * 3

    def run(turn: int) -> None:
        try:
            jobs[turn % len(jobs)](turn)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, [(turn * 7) % len(jobs) for turn in range(len(jobs))]))
    go_on()
    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    ledger.post_usage()
    used = sum(payer.usage.values_list("charge_nano_usd", flat=True))
    back = sum(Refund.objects.exclude(status="returned").values_list("amount_nano_usd", flat=True))
    assert used + back + 50 * NANO == 100 * NANO - available(payer) + debt(payer)
    booked_well(psp)
