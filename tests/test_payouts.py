"""Payouts of the provider: booked when they are made, and again when they come back."""

import pytest

from accounts.models import Customer
from billing import postings, stripe_gateway
from billing.models import BalanceTransaction, Journal, Payout
from billing.reconciliation import payouts, poller
from sandbox.psp.cards import card_fee
from sandbox.psp.client import Psp
from tests.provider_stage import DAY, eventually, pay_in
from tests.silent_provider import cents_on, found_by_poll, paid_out, psp, settled, tied_out

__all__ = ["psp"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_payout_is_booked_when_made_and_stands_on_the_balance_again_when_it_comes_back(
    psp: Psp, payer: Customer
) -> None:
    pay_in(psp, payer, 10_000)
    eventually(lambda: settled() == 1)
    net = 10_000 - card_fee(10_000)
    psp.advance(3 * DAY)
    first, second = paid_out(psp, 4_500), paid_out(psp, 1_000)
    found_by_poll()
    assert cents_on(postings.STRIPE_BALANCE) == net - 5_500
    assert (cents_on(postings.PAYOUTS, first), cents_on(postings.PAYOUTS, second)) == (4_500, 1_000)
    tied_out()

    psp.knob("POST", f"/sandbox/payouts/{first}", {"status": "paid"})
    psp.knob("POST", f"/sandbox/payouts/{second}", {"status": "failed", "code": "no_account"})
    found_by_poll()
    assert set(Payout.objects.values_list("id", "status")) == {(first, "paid"), (second, "failed")}
    assert (cents_on(postings.PAYOUTS, first), cents_on(postings.PAYOUTS, second)) == (4_500, 0)
    for payout_id in (first, second, second):
        payouts.sync(payout_id)
    assert Journal.objects.filter(kind__startswith="payout").count() == 3
    [row] = tied_out()
    assert row.movements == 4


def test_an_old_answer_never_brings_a_failed_payout_back(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay_in(psp, payer, 10_000)
    eventually(lambda: settled() == 1)
    psp.advance(3 * DAY)
    payout_id = paid_out(psp, 500)
    old = stripe_gateway.payout(payout_id)
    psp.knob("POST", f"/sandbox/payouts/{payout_id}", {"status": "failed"})
    payouts.sync(payout_id)
    monkeypatch.setattr(stripe_gateway, "payout", lambda _: old)
    payouts.sync(payout_id)
    assert Payout.objects.get().status == "failed"
    assert cents_on(postings.PAYOUTS, payout_id) == 0


def test_a_daily_payout_names_what_it_took_to_the_bank(psp: Psp, payer: Customer) -> None:
    psp.settings(automatic_payouts=True)
    for amount in (10_000, 7_000):
        pay_in(psp, payer, amount)
    eventually(lambda: settled() == 2)
    psp.advance(4 * DAY)
    eventually(lambda: poller.poll() and BalanceTransaction.objects.count() == 3)
    found_by_poll()
    [payout] = Payout.objects.all()
    assert payout.content_read
    inside = BalanceTransaction.objects.filter(payout_id=payout.id)
    assert sum(inside.values_list("net_cents", flat=True)) == 0
    assert cents_on(postings.STRIPE_BALANCE) == 0
    assert cents_on(postings.PAYOUTS, payout.id) == payout.amount_cents
    tied_out()
