"""Paying in other money and by slower ways: euros and pounds at recorded rates, direct debits, and how much at most."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.test import Client
from django.utils import timezone

from accounts.models import Customer
from billing import fx, ledger, postings, top_up_booking, topups
from billing.models import FxRate, TopUp, Wallet
from billing.stripe_gateway import Card, Fee, Payment
from sandbox.psp.cards import card_fee
from sandbox.psp.client import Psp
from tests.top_up_stage import begin, booked_well, eventually, in_the_past, provider, psp, session_of, wallet_nano_usd

__all__ = ["provider", "psp"]

pytestmark = pytest.mark.django_db(transaction=True)
EURO, POUND = 10_850_000, 12_700_000


@pytest.fixture
def _rates(db: None) -> None:
    fx.record(currency="eur", nano_usd_per_cent=EURO, source="a test")
    fx.record(currency="gbp", nano_usd_per_cent=POUND, source="a test")


@pytest.mark.usefixtures("_rates")
def test_euros_and_pounds_are_charged_as_such_and_credited_at_the_recorded_rate(psp: Psp, payer: Customer) -> None:
    for currency, per_cent in (("eur", EURO), ("gbp", POUND)):
        top_up = begin(payer, 10_000, currency=currency)
        assert top_up.credit_nano_usd == 10_000 * per_cent
        psp.pay(session_of(top_up))
        assert topups.settle(top_up.id) == "paid"
        until_its_fee_is_known(top_up)
        left = 10_000 - card_fee(10_000)
        assert ledger.balance(postings.STRIPE_BALANCE, "USD", currency) == left * per_cent
    assert wallet_nano_usd(payer) == 10_000 * (EURO + POUND)
    assert ledger.balance(postings.STRIPE_BALANCE, "USD") == 0
    assert ledger.balance(postings.STRIPE_FEES, "USD") == card_fee(10_000) * (EURO + POUND)

    fx.record(currency="eur", nano_usd_per_cent=EURO * 2, source="a test")
    later = begin(payer, 1_000, currency="eur")
    assert later.credit_nano_usd == 1_000 * EURO * 2
    assert TopUp.objects.get(credit_nano_usd=10_000 * EURO).fx_rate != later.fx_rate
    booked_well()


def until_its_fee_is_known(top_up: TopUp) -> None:
    def known() -> bool:
        topups.settle(top_up.id)
        top_up.refresh_from_db()
        return top_up.balance_transaction_id is not None

    eventually(known)


@pytest.mark.usefixtures("_rates")
def test_a_provider_that_exchanges_the_money_leaves_a_gain_or_a_loss(psp: Psp, payer: Customer) -> None:
    """100.00 EUR carried at 108.50 USD arrive as 107.00 USD, of which 3.40 USD are the fee."""
    top_up = begin(payer, 10_000, currency="eur")
    top_up_booking.book(
        top_up,
        Payment(
            id="pi_exchanged",
            status="succeeded",
            reference=str(top_up.id),
            amount_cents=10_000,
            received_cents=10_000,
            currency="eur",
            error="",
            step_url="",
            charge_id="ch_exchanged",
            payment_method_id="pm_1",
            method="card",
            card=Card(brand="Visa", last4="4242"),
            receipt_url="",
            fee=Fee(balance_transaction_id="txn_exchanged", gross_cents=10_700, amount_cents=340, currency="usd"),
        ),
    )
    assert ledger.balance(postings.STRIPE_BALANCE, "USD", "eur") == 0
    assert ledger.balance(postings.STRIPE_BALANCE, "USD") == (10_700 - 340) * 10**7
    assert ledger.balance(postings.CURRENCY_GAINS, "USD") == 150 * 10**7, "a loss stands on the debit side"
    assert wallet_nano_usd(payer) == 10_000 * EURO
    booked_well()


def test_a_currency_is_offered_only_with_a_fresh_rate(psp: Psp, payer: Customer, client: Client, settings: Any) -> None:
    client.force_login(payer.members.get())
    assert "Currency" not in client.get("/wallet/").content.decode()
    with pytest.raises(fx.RateMissing):
        begin(payer, currency="eur")
    fx.record(currency="eur", nano_usd_per_cent=EURO, source="a test")
    page = client.get("/wallet/").content.decode()
    assert "EUR €" in page
    assert "$1.0850" in page
    answer = client.post("/wallet/top-ups/", {"top_up": uuid.uuid4(), "choice": "5000", "currency": "eur"})
    assert answer.status_code == 302
    assert TopUp.objects.get().currency == "eur"
    settings.FX_MAX_AGE_HOURS = 1
    FxRate.objects.create(
        currency="gbp", nano_usd_per_cent=POUND, source="old", valid_from=timezone.now() - timedelta(hours=2)
    )
    assert fx.offered(now=timezone.now()) == ["usd", "eur"]
    with pytest.raises(fx.RateMissing):
        begin(payer, currency="gbp")
    settings.FX_SOURCE = "tests.test_paying_in_ways.todays_rate"
    assert (fx.refresh(), fx.refresh()) == (1, 0)
    assert fx.offered(now=timezone.now()) == ["usd", "eur", "gbp"]
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_fxrate SET nano_usd_per_cent = 1")


def todays_rate(currency: str) -> int:
    return {"eur": EURO, "gbp": POUND}[currency]


@pytest.mark.usefixtures("_rates")
def test_a_direct_debit_is_credited_when_it_has_arrived_or_ends_with_words(
    psp: Psp, payer: Customer, client: Client, settings: Any
) -> None:
    settings.TOP_UP_METHODS = ["card", "sepa_debit", "us_bank_account"]
    psp.settings(delayed_payment_after_seconds=3_600)
    arrives, comes_back = begin(payer, currency="eur"), begin(payer, 2_000)
    assert psp.pay_from_account(session_of(arrives), "DE89370400440532013000").status == 303
    assert psp.pay_from_account(session_of(comes_back), "000222222227").status == 303
    client.force_login(payer.members.get())
    for top_up in (arrives, comes_back):
        assert topups.settle(top_up.id) == "processing"
        assert "On its way" in client.get(f"/wallet/top-ups/{top_up.id}/").content.decode()
    assert wallet_nano_usd(payer) == 0, "nothing is credited before it is there"
    booked_well()

    psp.advance(3_601)
    eventually(lambda: topups.settle(arrives.id) == "paid")
    eventually(lambda: topups.settle(comes_back.id) == "failed")
    comes_back.refresh_from_db()
    assert comes_back.failure_code == "insufficient_funds"
    assert "not enough money" in comes_back.failure
    assert wallet_nano_usd(payer) == 5_000 * EURO
    assert Wallet.objects.get(customer=payer).fresh_nano_usd == 5_000 * EURO, "a debit can be sent back for weeks"
    booked_well()


def test_the_first_top_up_and_a_day_have_their_limits(psp: Psp, payer: Customer, client: Client, settings: Any) -> None:
    settings.TOP_UP_FIRST_MAXIMUM_CENTS, settings.TOP_UP_DAY_MAXIMUM_CENTS = 10_000, 20_000
    with pytest.raises(topups.AmountOutOfRange, match=r"At most \$100.00 .* before your first top-up"):
        begin(payer, 10_001)
    first = begin(payer, 6_000)
    with pytest.raises(topups.AmountOutOfRange, match=r"Up to \$40.00 is possible now"):
        begin(payer, 6_000)
    client.force_login(payer.members.get())
    told = client.post("/wallet/top-ups/", {"top_up": uuid.uuid4(), "choice": "5000"})
    assert (told.status_code, "Up to $40.00 is possible now" in told.content.decode()) == (422, True)
    assert topups.cancel(first.id) == "expired"
    second = begin(payer, 10_000)
    psp.pay(session_of(second))
    assert topups.settle(second.id) == "paid"
    begin(payer, 10_000)
    with pytest.raises(topups.AmountOutOfRange, match="within 24 hours"):
        begin(payer, 1_000)
    for top_up in TopUp.objects.all():
        in_the_past(top_up, hours=25)
    TopUp.objects.update(settled_at=timezone.now() - timedelta(hours=25))
    begin(payer, 15_000)


@pytest.mark.usefixtures("_rates")
def test_a_debit_on_its_way_for_days_counts_before_the_first_top_up(psp: Psp, payer: Customer, settings: Any) -> None:
    settings.TOP_UP_METHODS, settings.TOP_UP_FIRST_MAXIMUM_CENTS = ["card", "sepa_debit"], 10_000
    psp.settings(delayed_payment_after_seconds=3_600)
    slow = begin(payer, 5_000, currency="eur")
    psp.pay_from_account(session_of(slow), "DE89370400440532013000")
    assert topups.settle(slow.id) == "processing"
    in_the_past(slow, hours=25)
    with pytest.raises(topups.AmountOutOfRange, match="before your first top-up"):
        begin(payer, 6_000)


def test_a_rate_is_recorded_by_command_exactly_or_not_at_all(db: None) -> None:
    call_command("fx_rate", "eur", "1.0850001", source="ECB")
    assert FxRate.objects.get().nano_usd_per_cent == 10_850_001
    for wrong in ("1.00000001", "0", "-1", "x"):
        with pytest.raises(CommandError):
            call_command("fx_rate", "--source=ECB", "--", "eur", wrong)
    assert FxRate.objects.count() == 1
