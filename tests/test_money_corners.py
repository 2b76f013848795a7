"""Corners where money from several sides meets: hand-made refunds with tax, crumbs, exchanges, appeals, odd answers."""

import uuid
from dataclasses import replace

import pytest
from django.db.models import Sum
from django.test import Client

from accounts.models import Customer
from billing import check_books, disputes, postings, stripe_gateway
from billing.models import Dispute, Document, RefundPart
from sandbox.psp.client import Psp
from tests.money_back import NANO, ask, available, booked_well, books, debt, go_on, handle_events, pay, want
from tests.test_disputes import of, opened, status, worked_case

pytestmark = pytest.mark.django_db(transaction=True)
EURO = 10_850_000


def test_small_refunds_by_hand_give_back_the_tax_of_their_payment_to_the_cent(psp: Psp, payer: Customer) -> None:
    """1.19 paid with 0.19 tax goes back in seven parts of 0.17: no office is paid back more than it got."""
    top_up = pay(psp, payer, 100, taxes={"DE": 19})
    for _ in range(7):
        ask(psp).v1.refunds.create({"charge": top_up.charge_id or "", "amount": 17})
    handle_events(psp)
    parts = RefundPart.objects.filter(top_up=top_up, status="succeeded")
    assert parts.aggregate(net=Sum("net_cents"), tax=Sum("tax_cents")) == {"net": 100, "tax": 19}
    assert Document.objects.filter(kind="credit_note").count() == 7
    assert (books(postings.TAX_PAYABLE, "DE"), available(payer)) == (0, 0)
    booked_well(psp)


def test_less_than_a_minor_unit_of_the_payment_is_refused_with_words(psp: Psp, payer: Customer, client: Client) -> None:
    pay(psp, payer, 1_000, currency="eur", nano_usd_per_cent=EURO)
    client.force_login(payer.members.get())
    answer = client.post("/wallet/refunds/new/", {"refund": uuid.uuid4(), "amount": "0.01"})
    assert (answer.status_code, "smallest coin" in answer.content.decode()) == (422, True)
    assert available(payer) == 1_000 * EURO
    assert not payer.refunds.exists()


def test_a_dispute_that_the_provider_prevented_freezes_nothing(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bank decides it any more, so nobody would ever lift what it froze."""
    top_up = pay(psp, payer, 10_000)
    dispute_id = psp.dispute(charge=top_up.charge_id, inquiry=True)
    told = replace(stripe_gateway.dispute(dispute_id), status="prevented")
    monkeypatch.setattr(stripe_gateway, "dispute", lambda _: told)
    disputes.sync(dispute_id)
    assert (of(dispute_id).stage, status(payer)) == ("closed", "active")
    assert available(payer) == 100 * NANO
    booked_well(psp)


def test_one_dispute_that_the_provider_refuses_to_tell_about_hides_no_other(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (opened(psp, pay(psp, payer, 2_000)) for _ in range(2))
    psp.decide(second, "won")
    real = stripe_gateway.dispute

    def refusing(dispute_id: str) -> stripe_gateway.DisputeFacts:
        if dispute_id == first:
            raise stripe_gateway.Refused("no such dispute")
        return real(dispute_id)

    monkeypatch.setattr(stripe_gateway, "dispute", refusing)
    Dispute.objects.update(seen_at="2026-01-01T00:00:00Z")
    assert disputes.sweep() == 2
    assert (of(first).stage, of(second).stage) == ("open", "won")


def test_a_refund_that_the_provider_exchanges_leaves_the_money_it_has(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50.00 EUR carried at 54.25 USD cost 55.00 USD; they come back as 55.50 when the refund fails."""
    top_up = pay(psp, payer, 10_000, currency="eur", nano_usd_per_cent=EURO)
    euros = books(postings.STRIPE_BALANCE, "eur")
    real_create, real_refund = stripe_gateway.create_refund, stripe_gateway.refund
    sent = stripe_gateway.Moved(amount_cents=-5_500, currency="usd")
    returned = stripe_gateway.Moved(amount_cents=5_550, currency="usd")
    monkeypatch.setattr(stripe_gateway, "create_refund", lambda **asked: replace(real_create(**asked), sent=sent))
    monkeypatch.setattr(
        stripe_gateway, "refund", lambda refund_id: replace(real_refund(refund_id), sent=sent, returned=returned)
    )
    refund = want(payer, 5_000 * EURO)
    go_on()
    part = refund.parts.get()
    assert (part.status, part.top_up) == ("succeeded", top_up)
    assert (books(postings.STRIPE_BALANCE, "eur"), books(postings.STRIPE_BALANCE)) == (euros, -55 * NANO)
    assert books(postings.CURRENCY_GAINS) == 750_000_000, "a loss"
    psp.move_refund(part.provider_id or "", "failed")
    handle_events(psp)
    assert available(payer) == 10_000 * EURO
    assert (books(postings.STRIPE_BALANCE, "eur"), books(postings.STRIPE_BALANCE)) == (euros, 500_000_000)
    assert books(postings.CURRENCY_GAINS) == -500_000_000, "a gain in all"
    assert not any(check_books.invariants().values())


def test_a_dispute_that_the_provider_exchanges_stands_at_the_rate_of_its_payment(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20.00 EUR carried at 21.70 USD leave as 22.00 USD and come back as 21.00, less a fee of 15.00."""
    top_up = pay(psp, payer, 10_000, currency="eur", nano_usd_per_cent=EURO)
    euros, real = books(postings.STRIPE_BALANCE, "eur"), stripe_gateway.dispute

    def exchanged(dispute_id: str) -> stripe_gateway.DisputeFacts:
        told = real(dispute_id)
        moved = tuple(
            replace(each, amount_cents=-2_200 if each.amount_cents < 0 else 2_100, currency="usd")
            for each in told.movements
        )
        return replace(told, movements=moved)

    monkeypatch.setattr(stripe_gateway, "dispute", exchanged)
    dispute_id = opened(psp, top_up, amount=2_000)
    assert books(postings.DISPUTED, dispute_id) == 2_000 * EURO
    assert (books(postings.STRIPE_BALANCE, "eur"), books(postings.STRIPE_BALANCE)) == (euros, -37 * NANO)
    psp.decide(dispute_id, "won")
    handle_events(psp)
    assert (of(dispute_id).stage, books(postings.DISPUTED, dispute_id)) == ("won", 0)
    assert (books(postings.STRIPE_BALANCE, "eur"), books(postings.STRIPE_BALANCE)) == (euros, -16 * NANO)
    assert books(postings.CURRENCY_GAINS) == NANO
    assert available(payer) == 10_000 * EURO
    assert not any(check_books.invariants().values())


def test_a_lost_dispute_that_is_won_on_appeal_undoes_the_loss_the_debt_and_what_was_given_up(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """71.40 were taken back: 51.0875 from the wallet, 11.40 of tax, 8.9125 owed, of which 4.00 were given up."""
    dispute_id = opened(psp, worked_case(psp, payer), amount=7_140)
    psp.decide(dispute_id, "lost")
    handle_events(psp)
    assert (available(payer), debt(payer)) == (0, 8_912_500_000)
    disputes.give_up_debt(customer_id=payer.pk, nano_usd=4 * NANO, reference="approval:1")
    told = stripe_gateway.dispute(dispute_id)
    back = replace(told.movements[0], balance_transaction_id="txn_appeal", amount_cents=7_140, fee_cents=0)
    won = replace(told, status="won", movements=(*told.movements, back))
    monkeypatch.setattr(stripe_gateway, "dispute", lambda _: won)
    for _ in range(2):
        disputes.sync(dispute_id)
    assert (of(dispute_id).stage, available(payer), debt(payer)) == ("won", 51_087_500_000, 0)
    assert (books(postings.DISPUTED, dispute_id), books(postings.CHARGEBACK_LOSSES)) == (0, 0)
    assert books(postings.TAX_PAYABLE, "DE") == -11_400_000_000
    note = Document.objects.get(kind="debit_note")
    assert (note.net_cents, note.tax_cents) == (6_000, 1_140)
    assert "gave back" in note.snapshot["lines"][0]["description"]
    assert not any(check_books.invariants().values())
