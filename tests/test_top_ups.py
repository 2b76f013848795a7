"""Paying in, against the sandbox provider as a process of its own: credited once, or not at all and for all to see."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import ProgrammingError, connection
from django.test import Client
from django.utils import timezone

from accounts.models import Customer
from billing import inbox, ledger, postings, stripe_gateway, topups
from billing.models import Journal, StripeEvent, TopUp, WalletEntry
from sandbox.psp.cards import card_fee
from sandbox.psp.client import Psp
from sandbox.psp.webhooks import sign
from tests import builders
from tests.acting import acting_as
from tests.top_up_stage import (
    SECRET,
    begin,
    booked_well,
    events,
    eventually,
    fee_journals,
    handle_until_paid,
    in_the_past,
    provider,
    psp,
    session_of,
    wallet_nano_usd,
)

__all__ = ["provider", "psp"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_paid_top_up_is_credited_with_its_fee_booked(psp: Psp, payer: Customer) -> None:
    top_up = begin(payer, 10_000)
    assert top_up.status == TopUp.Status.OPEN
    assert psp.pay(session_of(top_up)).status == 303
    handle_until_paid(top_up)

    assert wallet_nano_usd(payer) == 100 * 10**9
    assert (top_up.card, top_up.fee_cents) == ("Visa 4242", card_fee(10_000))
    assert top_up.receipt_url.startswith(psp.url)
    assert ledger.balance(postings.STRIPE_BALANCE, "USD") == (10_000 - card_fee(10_000)) * 10**7
    assert ledger.balance(postings.PREPAID, "USD", str(payer.pk)) == -100 * 10**9
    booked_well()


def test_an_event_that_comes_five_times_credits_once(psp: Psp, payer: Customer) -> None:
    top_up = begin(payer)
    psp.webhook_rule("repeat", "checkout.session.completed", value=4)
    psp.pay(session_of(top_up))
    handle_until_paid(top_up)
    [event] = events(session_of(top_up), "checkout.session.completed")
    psp.deliver(event.event_id, times=5)
    eventually(lambda: all(row["state"] == "delivered" for row in psp.deliveries(event.event_id)))
    assert len(psp.deliveries(event.event_id)) >= 6
    inbox.handle_waiting()

    assert StripeEvent.objects.filter(event_id=event.event_id).count() == 1
    assert wallet_nano_usd(payer) == 50 * 10**9
    assert WalletEntry.objects.filter(customer=payer).count() == 1
    booked_well()


def test_a_top_up_without_any_event_is_credited_by_the_sweep(psp: Psp, payer: Customer) -> None:
    psp.settings(paused=True)
    top_up = begin(payer)
    psp.pay(session_of(top_up))
    assert topups.sweep() == 0, "a young row is left to its event"
    in_the_past(top_up, minutes=2)
    assert topups.sweep() == 1
    assert topups.sweep() == 0
    assert not StripeEvent.objects.exists()
    assert wallet_nano_usd(payer) == 50 * 10**9
    booked_well()


def test_a_payment_that_was_booked_under_another_row_keeps_no_other_from_its_credit(
    psp: Psp, payer: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    psp.settings(paused=True)
    strange, plain = begin(payer), begin(payer)
    for top_up in (strange, plain):
        psp.pay(session_of(top_up))
        in_the_past(top_up, minutes=2)
    payment = stripe_gateway.checkout_session(strange.checkout_session_id or "").payment
    assert payment
    builders.credit(payer, 10**9, reference=f"stripe:{payment.id}")
    assert topups.sweep() == 2
    strange.refresh_from_db()
    plain.refresh_from_db()
    assert (strange.status, plain.status) == (TopUp.Status.OPEN, TopUp.Status.PAID)
    assert wallet_nano_usd(payer) == 51 * 10**9
    assert f"top-up {strange.id} was booked under another row" in caplog.text


def test_eight_settlements_at_once_credit_once(psp: Psp, payer: Customer) -> None:
    top_up = begin(payer)
    psp.pay(session_of(top_up))
    together = threading.Barrier(8)

    def settle() -> str:
        try:
            together.wait()
            return topups.settle(top_up.id)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = [run.result() for run in [pool.submit(settle) for _ in range(8)]]
    assert statuses == ["paid"] * 8
    assert wallet_nano_usd(payer) == 50 * 10**9
    assert Journal.objects.filter(kind="top_up", customer=payer).count() == 1
    eventually(lambda: topups.settle(top_up.id) == "paid" and fee_journals(top_up) == 1)
    booked_well()


def test_a_worker_that_dies_between_answer_and_commit_has_credited_nothing(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    top_up = begin(payer)
    psp.pay(session_of(top_up))

    class Died(BaseException):
        pass

    def die(**_: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "credit", die)
        with pytest.raises(Died):
            topups.settle(top_up.id)
    top_up.refresh_from_db()
    assert (top_up.status, wallet_nano_usd(payer)) == ("open", 0)
    booked_well()

    assert topups.settle(top_up.id) == "paid"
    assert wallet_nano_usd(payer) == 50 * 10**9
    booked_well()


def test_an_event_whose_worker_died_is_taken_up_again(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    psp.settings(paused=True)
    top_up = begin(payer)
    psp.pay(session_of(top_up))
    psp.settings(paused=False)
    eventually(lambda: bool(events(session_of(top_up), "checkout.session.completed")))

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(topups, "settle", die)
        with pytest.raises(KeyboardInterrupt):
            inbox.handle_waiting()
    assert inbox.handle_waiting() <= StripeEvent.objects.count() - 1
    StripeEvent.objects.filter(handled_at=None).update(not_before=timezone.now())
    handle_until_paid(top_up)
    assert wallet_nano_usd(payer) == 50 * 10**9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"net_cents": 4_000, "total_cents": 4_000, "credit_nano_usd": 40 * 10**9},
            "Asked for 40.00 USD, the provider has 50.00 USD.",
        ),
        ({"currency": "eur"}, "Asked for 50.00 EUR, the provider has 50.00 USD."),
        ({"credit_nano_usd": 5_000 * 10**9}, "The parts of this top-up do not add up."),
    ],
)
def test_a_payment_that_differs_from_the_wish_is_not_credited_and_says_why(
    psp: Psp, payer: Customer, change: dict[str, Any], words: str
) -> None:
    top_up = begin(payer)
    psp.pay(session_of(top_up))
    TopUp.objects.filter(id=top_up.id).update(**change)
    assert topups.settle(top_up.id) == "failed"
    top_up.refresh_from_db()
    assert top_up.failure == words
    assert wallet_nano_usd(payer) == 0
    booked_well()


def test_the_payment_of_one_customer_never_credits_another(psp: Psp, payer: Customer) -> None:
    other = begin(builders.customer("Other"))
    top_up = begin(payer)
    psp.pay(session_of(top_up))
    stolen = session_of(top_up)
    TopUp.objects.filter(id=top_up.id).update(checkout_session_id=None)
    TopUp.objects.filter(id=other.id).update(checkout_session_id=stolen)
    assert topups.settle(other.id) == "failed"
    assert not WalletEntry.objects.exists()
    TopUp.objects.filter(id=other.id).update(checkout_session_id=None)
    assert topups.settle(top_up.id, session_id=stolen) == "paid"
    assert wallet_nano_usd(payer) == 50 * 10**9


def test_each_service_can_do_its_part_and_the_web_cannot_credit(psp: Psp, payer: Customer, client: Client) -> None:
    body = json.dumps({"id": "evt_9", "type": "payout.paid", "data": {"object": {"id": "po_9"}}}).encode()
    signature = sign(SECRET, body, int(time.time()))
    with acting_as("web"):
        top_up = begin(payer)
        assert top_up.status == TopUp.Status.OPEN
        answer = client.post(
            "/stripe/webhook", body, content_type="application/json", headers={"stripe-signature": signature}
        )
        assert answer.status_code == 200
        client.force_login(payer.members.get())
        assert [client.get(path).status_code for path in ("/", "/usage/", "/wallet/", "/statements/")] == [200] * 4
    psp.pay(session_of(top_up))
    with acting_as("web"), pytest.raises(ProgrammingError, match="permission denied"):
        topups.settle(top_up.id)
    assert wallet_nano_usd(payer) == 0
    with acting_as("worker"):
        assert topups.settle(top_up.id) == "paid"
        assert inbox.handle_waiting() >= 1
        assert topups.sweep() == 0
        assert ledger.post_usage() == 0
    assert wallet_nano_usd(payer) == 50 * 10**9
    booked_well()


def test_a_body_that_nobody_we_know_signed_is_refused_and_not_kept(psp: Psp, client: Client) -> None:
    body = json.dumps({"id": "evt_1", "type": "charge.updated", "data": {"object": {"id": "ch_1"}}}).encode()
    now = int(time.time())

    def post(signature: str) -> int:
        return client.post(
            "/stripe/webhook", body, content_type="application/json", headers={"stripe-signature": signature}
        ).status_code

    wrong = ["", "t=1,v1=00", sign("whsec_other", body, now), sign(SECRET, body, now - 3_600), sign(SECRET, b"{}", now)]
    assert [post(signature) for signature in wrong] == [400] * len(wrong)
    assert not StripeEvent.objects.exists()
    assert [post(sign(secret, body, now)) for secret in (SECRET, "whsec_of_last_year")] == [200, 200]
    assert StripeEvent.objects.count() == 1
    assert client.get("/stripe/webhook").status_code == 405


def test_a_broker_that_is_away_delays_nothing_at_the_webhook(psp: Psp, client: Client) -> None:
    body = json.dumps({"id": "evt_2", "type": "payout.paid", "data": {"object": {"id": "po_1"}}}).encode()
    begun = time.monotonic()
    signature = sign(SECRET, body, int(time.time()))
    answer = client.post(
        "/stripe/webhook", body, content_type="application/json", headers={"stripe-signature": signature}
    )
    assert answer.status_code == 200
    assert time.monotonic() - begun < 2
    assert inbox.handle_waiting() == 1, "an event of a kind we do not use is handled by doing nothing"
    assert StripeEvent.objects.get().outcome == StripeEvent.Outcome.UNUSED


def test_a_fee_that_comes_later_is_booked_once(psp: Psp, payer: Customer) -> None:
    psp.settings(settle_after_seconds=3_600)
    top_up = begin(payer)
    psp.pay(session_of(top_up))
    assert topups.settle(top_up.id) == "paid"
    assert fee_journals(top_up) == 0
    psp.settings(settle_after_seconds=0)
    psp.advance(3_601)

    def fee_known() -> bool:
        in_the_past(top_up, minutes=2)
        topups.sweep()
        return fee_journals(top_up) == 1

    eventually(fee_known)
    in_the_past(top_up, minutes=2)
    assert topups.sweep() == 0
    assert (wallet_nano_usd(payer), fee_journals(top_up)) == (50 * 10**9, 1)
    booked_well()


def test_nothing_secret_is_logged_while_money_comes_in(
    psp: Psp, payer: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        top_up = begin(payer)
        psp.pay(session_of(top_up))
        handle_until_paid(top_up)
    assert psp.secret_key not in caplog.text
    assert SECRET not in caplog.text
    assert "payer@example.com" not in caplog.text
