"""A wish to pay in: one row and one page for a form, whatever gets lost, is declined or abandoned."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from accounts.models import Customer
from billing import stripe_gateway, topups
from billing.models import TopUp
from sandbox.psp.client import DECLINED_CARD, SECURE_CARD, Psp
from tests import builders
from tests.top_up_stage import begin, eventually, in_the_past, provider, psp, session_of, wallet_nano_usd

__all__ = ["provider", "psp"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_same_form_sent_twice_at_once_is_one_row_and_one_page(psp: Psp, payer: Customer) -> None:
    wish = uuid.uuid4()
    together = threading.Barrier(4)

    def send() -> uuid.UUID:
        try:
            together.wait()
            return begin(payer, top_up_id=wish).id
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert {run.result() for run in [pool.submit(send) for _ in range(4)]} == {wish}
    [top_up] = TopUp.objects.all()
    eventually(lambda: begin(payer, top_up_id=wish).status == TopUp.Status.OPEN)
    again = begin(payer, top_up_id=wish)
    psp.pay(session_of(again))
    psp.pay(session_of(again))
    assert topups.settle(top_up.id) == "paid"
    assert wallet_nano_usd(payer) == 50 * 10**9
    assert TopUp.objects.count() == 1


def test_the_id_of_somebody_elses_form_makes_a_row_of_ones_own(psp: Psp, payer: Customer) -> None:
    theirs = begin(builders.customer("Other"))
    mine = begin(payer, top_up_id=theirs.id)
    assert mine.id != theirs.id
    assert mine.customer == payer


@pytest.mark.parametrize("fault", ["hang_up_after", "error_after", "hang_up_before"])
def test_an_answer_that_got_lost_leads_to_the_same_page(psp: Psp, payer: Customer, fault: str) -> None:
    psp.api_rule(fault, "POST /v1/checkout/sessions", times=3)
    top_up = begin(payer)
    assert top_up.status == TopUp.Status.STARTED
    psp.knob("DELETE", "/sandbox/rules")
    in_the_past(top_up, minutes=2)
    topups.sweep()
    top_up.refresh_from_db()
    assert top_up.status == TopUp.Status.OPEN
    # A 500 that the provider keeps under a key is stepped over: nobody saw the page that it hides.
    assert (top_up.attempt > 1) == (fault == "error_after")
    psp.pay(session_of(top_up))
    assert topups.settle(top_up.id) == "paid"
    assert wallet_nano_usd(payer) == 50 * 10**9
    assert TopUp.objects.count() == 1


def test_a_provider_that_is_down_leaves_the_wish_for_later(psp: Psp, payer: Customer) -> None:
    psp.kill()
    top_up = begin(payer)
    assert top_up.status == TopUp.Status.STARTED
    in_the_past(top_up, minutes=2)
    assert topups.sweep() == 1
    psp.start()
    in_the_past(top_up, minutes=2)
    topups.sweep()
    top_up.refresh_from_db()
    assert top_up.status == TopUp.Status.OPEN
    psp.pay(session_of(top_up))
    assert topups.settle(top_up.id) == "paid"


def test_a_declined_card_charges_nothing_and_leaves_the_page_open(psp: Psp, payer: Customer) -> None:
    top_up = begin(payer)
    assert psp.pay(session_of(top_up), card=DECLINED_CARD).message
    assert topups.settle(top_up.id) == "open"
    step = psp.pay(session_of(top_up), card=SECURE_CARD)
    assert step.location
    assert topups.settle(top_up.id) == "open"
    psp.authenticate(step.location)
    assert topups.settle(top_up.id) == "paid"
    assert wallet_nano_usd(payer) == 50 * 10**9


def test_an_expired_page_ends_the_wish_without_a_credit(psp: Psp, payer: Customer) -> None:
    top_up = begin(payer)
    psp.advance(25 * 3_600)
    eventually(lambda: topups.settle(top_up.id) == "expired")
    assert wallet_nano_usd(payer) == 0


def test_an_abandoned_page_is_asked_about_less_and_less(psp: Psp, payer: Customer) -> None:
    top_up = begin(payer)
    asked = 0
    for minutes in range(2, 24 * 60, 2):
        with connection.cursor() as cursor:  # two minutes pass
            cursor.execute(
                "UPDATE billing_topup SET created_at = created_at - interval '2 minutes',"
                " checked_at = checked_at - interval '2 minutes' WHERE id = %s",
                [top_up.id],
            )
        asked += len(list(topups._due(10)))
        assert asked or minutes < 4
    assert 20 < asked < 80


@pytest.mark.parametrize("cents", [0, -5, 999, 1_000_001])
def test_an_amount_out_of_range_writes_no_row(psp: Psp, payer: Customer, cents: int) -> None:
    with pytest.raises(topups.AmountOutOfRange):
        begin(payer, cents)
    assert not TopUp.objects.exists()


def test_without_a_key_nobody_can_start_to_pay(settings: Any, payer: Customer) -> None:
    settings.STRIPE_SECRET_KEY = ""
    with pytest.raises(stripe_gateway.NotConfigured):
        begin(payer)
    assert not TopUp.objects.exists()


def test_a_key_that_the_provider_refuses_ends_the_wish_in_words(psp: Psp, payer: Customer, settings: Any) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_wrong"
    top_up = begin(payer)
    assert top_up.status == TopUp.Status.FAILED
    assert "AuthenticationError" in top_up.failure
