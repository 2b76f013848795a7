"""Credit that staff give: one asks, a second decides, the worker gives it once."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from accounts import approvals
from accounts.models import Approval, AuditEntry, Customer, User
from billing import approvable, check_books, ledger, postings
from billing.models import Grant, Wallet, WalletEntry
from tests import builders

DOLLAR = 10**9


@pytest.fixture
def payer(db: None) -> Customer:
    owner = builders.customer()
    builders.top_up(owner, 10)
    return owner


def ask_grant(owner: Customer, user: User, dollars: int = 25, **changes: object) -> Approval:
    payload = {
        "customer": owner.pk,
        "amount_nano_usd": dollars * DOLLAR,
        "campaign": "hackathon",
        "priority": 50,
        "last_day": "",
        **changes,
    }
    return approvals.ask(kind=approvable.GRANT, payload=payload, reason="They won", user=user, customer=owner)


def ask_adjustment(owner: Customer, user: User, dollars: int) -> Approval:
    payload = {"customer": owner.pk, "amount_nano_usd": dollars * DOLLAR, "description": "Charged twice on 3 October"}
    return approvals.ask(kind=approvable.ADJUSTMENT, payload=payload, reason="Ticket 12", user=user, customer=owner)


def figures(owner: Customer) -> tuple[int, int]:
    wallet = Wallet.objects.get(customer=owner)
    return wallet.available_nano_usd, wallet.promo_nano_usd


def test_promotional_credit_is_there_once_a_second_person_approved_it(payer: Customer, one_day: None) -> None:
    support, finance = builders.staff("support"), builders.staff("finance")
    approval = ask_grant(payer, support, last_day=(datetime.now(UTC).date() + timedelta(days=30)).isoformat())
    assert approvals.carry_out_waiting() == 0
    for nobody in (support, builders.staff("risk")):
        with pytest.raises(approvals.Refused):
            approvals.decide(approval.pk, nobody, approve=True)
    assert figures(payer) == (10 * DOLLAR, 0)
    assert AuditEntry.objects.filter(action="approval.refused").count() == 2
    approvals.decide(approval.pk, finance, approve=True)
    assert [approvals.carry_out_waiting() for _ in range(2)] == [1, 0]
    assert figures(payer) == (35 * DOLLAR, 25 * DOLLAR)
    grant = Grant.objects.get(kind="promo")
    assert (grant.campaign, grant.reference) == ("hackathon", f"approval:{approval.pk}")
    assert grant.expires_at is not None
    assert grant.expires_at.date() == datetime.now(UTC).date() + timedelta(days=31), "the last day is usable whole"
    assert not any(check_books.invariants().values())


def test_what_cannot_be_is_not_asked_for(payer: Customer) -> None:
    support = builders.staff("support")
    for changes in (
        {"amount_nano_usd": 0},
        {"amount_nano_usd": -5},
        {"amount_nano_usd": approvable.MOST_NANO_USD + 1},
        {"campaign": " "},
        {"priority": 101},
        {"last_day": "2020-01-01"},
        {"last_day": "soon"},
        {"last_day": "9999-12-31"},
        {"customer": 0},
    ):
        with pytest.raises(approvals.NotPossible):
            ask_grant(payer, support, **changes)
    assert not Approval.objects.exists()


def test_a_correction_moves_paid_money_against_revenue_and_takes_no_more_than_there_is(payer: Customer) -> None:
    one, two = builders.staff("finance"), builders.staff("finance")
    with pytest.raises(approvals.NotAllowed):
        ask_adjustment(payer, builders.staff("support"), 5)
    up = ask_adjustment(payer, one, 5)
    with pytest.raises(approvals.OwnRequest):
        approvals.decide(up.pk, one, approve=True)
    approvals.decide(up.pk, two, approve=True)
    approvals.carry_out_waiting()
    assert figures(payer) == (15 * DOLLAR, 0)
    assert ledger.balance(postings.USAGE_REVENUE, "USD") == 5 * DOLLAR
    with pytest.raises(approvals.NotPossible, match=r"\$15.00"):
        ask_adjustment(payer, one, -16)
    down = [ask_adjustment(payer, one, -15), ask_adjustment(payer, one, -15)]
    for approval in down:
        approvals.decide(approval.pk, two, approve=True)
    approvals.carry_out_waiting()
    assert figures(payer) == (0, 0)
    statuses = Approval.objects.filter(pk__in=[each.pk for each in down]).order_by("pk")
    assert list(statuses.values_list("status", flat=True)) == ["done", "failed"]
    entries = WalletEntry.objects.filter(kind="adjustment").order_by("id")
    assert list(entries.values_list("amount_nano_usd", flat=True)) == [5 * DOLLAR, -15 * DOLLAR]
    assert not any(check_books.invariants().values())


def test_staff_ask_on_a_page_and_a_doubled_click_asks_once(payer: Customer, client: Client, settings: Settings) -> None:
    settings.STAFF_MFA_REQUIRED = False
    client.force_login(builders.staff("support"))
    form = {
        "once": uuid.uuid4(),
        "what": "grant",
        "account": payer.pk,
        "amount": "25",
        "text": "launch",
        "priority": "0",
        "last_day": "",
        "reason": "Kept waiting",
    }
    assert client.post(reverse("credit_ask"), {**form, "amount": "-1"}).status_code == 422
    for _ in range(2):
        assert client.post(reverse("credit_ask"), form).status_code == 302
    [approval] = Approval.objects.all()
    assert approval.payload["amount_nano_usd"] == 25 * DOLLAR
    assert approval.customer == payer
    page = client.get(reverse("credits")).content.decode()
    assert "$25.00 of promotional credit" in page
    assert client.post(reverse("credit_ask"), {**form, "once": uuid.uuid4(), "what": "take"}).status_code == 403
    client.force_login(payer.members.get())
    assert client.get(reverse("credits")).status_code == 403
