"""Corners where money from several sides meets: hand-made refunds with tax, crumbs, exchanges, appeals, odd answers."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum
from django.test import Client

from accounts.models import Customer
from billing import disputes, postings, stripe_gateway
from billing.models import Dispute, Document, RefundPart
from sandbox.psp.client import Psp
from tests import builders
from tests.money_back import NANO, ask, available, booked_well, books, handle_events, pay, provider
from tests.test_disputes import of, opened, status

pytestmark = pytest.mark.django_db(transaction=True)
EURO = 10_850_000


@pytest.fixture
def psp(live_server: Any, tmp_path: Path, settings: Any) -> Iterator[Psp]:
    with provider(tmp_path, live_server.url, settings) as running:
        yield running


@pytest.fixture
def payer() -> Customer:
    return builders.customer("Payer")


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
