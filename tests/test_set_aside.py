"""Wallet and statement tell what an account's money is made of, and what stands beside its balance."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Customer
from billing import disputes, ledger, set_aside
from billing.models import Document
from sandbox.psp.client import Psp
from tests import builders
from tests.money_back import NANO, booked_well, pay, spend, want

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_day")]


def shown(client: Client, path: str) -> str:
    """The words of a page, without markup."""
    answer = client.get(path)
    assert answer.status_code == 200
    words = re.sub(r"<[^>]+>", " ", answer.content.decode().split("<main", 1)[1])
    return " ".join(words.replace(" .", ".").split()).replace(" .", ".")


def test_an_account_sees_promotional_credit_refunds_money_kept_aside_and_debt(
    psp: Psp, payer: Customer, client: Client, settings: Any
) -> None:
    settings.SELLER_EMAIL = "help@example.com"
    client.force_login(payer.members.get())
    page = shown(client, "/wallet/")
    assert "None was given" in page
    assert "Beside the balance" not in page

    top_up = pay(psp, payer, 5_000)
    ledger.grant_promo(
        customer_id=payer.pk,
        amount_nano_usd=20 * NANO,
        campaign="hello",
        reference="grant:1",
        occurred_at=timezone.now(),
        expires_at=timezone.now() + timedelta(days=30),
    )
    want(payer, 12 * NANO)
    page = shown(client, "/wallet/")
    for words in ("$58.00", "$38.00", "$20.00 of it end", "Refunds on their way", "$12.00"):
        assert words in page
    assert "Owed" not in page

    dispute_id = psp.dispute(charge=top_up.charge_id)
    disputes.sync(dispute_id)
    booked_well(psp)
    page = shown(client, "/wallet/")
    for words in ("Kept aside", "$50.00", "A payment of this account is disputed", "help@example.com"):
        assert words in page
    assert "Refunds on their way" not in page, "what was not sent came back first"
    assert "Kept aside for a dispute $50." in shown(client, f"/statements/{timezone.now():%Y-%m}/")
    assert "A payment of this account is disputed" in shown(client, "/wallet/refunds/")

    psp.decide(dispute_id, "won")
    disputes.sync(dispute_id)
    assert "Beside the balance" not in shown(client, "/wallet/")
    assert not set_aside.at(payer, timezone.now())


def test_debt_is_told_with_what_pays_it_and_a_past_month_tells_what_was_then(
    psp: Psp, payer: Customer, client: Client
) -> None:
    client.force_login(payer.members.get())
    top_up = pay(psp, payer, 5_000)
    spend(payer, 35 * NANO)
    dispute_id = psp.dispute(charge=top_up.charge_id)
    disputes.sync(dispute_id)
    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    page = shown(client, "/wallet/")
    assert "This account owes $35.00" in page
    assert "The next top-up pays this first" in page
    assert set_aside.at(payer, timezone.now()).owed_nano_usd == 35 * NANO
    assert set_aside.at(payer, timezone.now() - timedelta(hours=1)).owed_nano_usd == 0
    assert "Owed $35." in shown(client, f"/statements/{timezone.now():%Y-%m}/")
    pay(psp, payer, 4_000)
    page = shown(client, "/wallet/")
    assert "owes" not in page
    assert "$5.00" in page


def test_each_top_up_leads_to_our_own_receipt(payer: Customer, client: Client) -> None:
    builders.top_up(payer, 10)
    client.force_login(payer.members.get())
    number = Document.objects.get().number
    assert f"/documents/{number}.pdf" in client.get("/wallet/").content.decode()


def test_the_sums_beside_the_balance_ask_for_one_account_alone(payer: Customer) -> None:
    builders.top_up(payer, 10)
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("EXPLAIN " + set_aside.SUMS, set_aside.parameters(payer, timezone.now()))
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert "Seq Scan on billing_transfer" not in plan
