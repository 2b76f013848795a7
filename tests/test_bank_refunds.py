"""What came by bank transfer goes back by hand: two people agree, the books have it once, tax and all."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts import approvals, holds, notices
from accounts.approvals import NotPossible
from accounts.models import Approval, Customer, User
from billing import bank_refunds, ledger, postings, refunds, statements
from billing.exports import general_ledger, statement_csv
from billing.models import Document, Grant, Journal, Refund, RefundPart, TopUp, Wallet, WalletEntry
from tests import builders
from tests.acting import acting_as
from tests.bank_stage import _our_bank, anna, bert, credited, line, payer, wish
from tests.provider_stage import booked_well

__all__ = ["_our_bank", "anna", "bert", "payer"]

pytestmark = pytest.mark.django_db(transaction=True)
NANO = 10**9


@pytest.fixture(autouse=True)
def _our_address(settings: Any) -> None:
    settings.SELLER_EMAIL = "help@example.com"


def arrived(payer: Customer, anna: User, bert: User, *, net_cents: int = 100_000, tax_cents: int = 0) -> TopUp:
    """A bank transfer that was credited, with tax when there is some."""
    transfer = wish(payer, net_cents)
    total = net_cents + tax_cents
    taxes = {"tax_cents": tax_cents, "tax_parts": {"DE": tax_cents} if tax_cents else {}, "total_cents": total}
    TopUp.objects.filter(pk=transfer.top_up_id).update(**taxes)
    one = line(anna, f"{total // 100}.{total % 100:02d}", transfer.reference)
    assert credited(one, transfer, anna, bert).status == "done"
    return TopUp.objects.get(pk=transfer.top_up_id)


def ask(payer: Customer, user: User, dollars: int, reference: str = "CH-BACK-1", **more: Any) -> Approval:
    payload = {"customer": payer.pk, "net_cents": dollars * 100, "reference": reference, "words": "As agreed"}
    with acting_as("web"):
        return approvals.ask(
            kind=bank_refunds.KIND, payload=payload, reason="Ticket 12", user=user, customer=payer, **more
        )


def agreed(approval: Approval, user: User) -> str:
    """What became of it once the second person approved and the worker looked, twice."""
    with acting_as("web"):
        approvals.decide(approval.pk, user, approve=True)
    with acting_as("worker"):
        approvals.carry_out_waiting()
        assert approvals.carry_out_waiting() == 0
    approval.refresh_from_db()
    return approval.status


def available(payer: Customer) -> int:
    return sum(Wallet.objects.filter(customer=payer).values_list("available_nano_usd", flat=True)) // NANO


def listed(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.get("/refunds/bank/").content.decode()


def test_two_people_give_back_by_bank_and_books_statement_and_documents_have_it_once(
    payer: Customer, anna: User, bert: User, one_day: None
) -> None:
    arrived(payer, anna, bert, net_cents=100_000, tax_cents=19_000)
    assert refunds.refundable_nano_usd(payer) == 0, "no card can get it back"
    asked = ask(payer, anna, 400)
    with pytest.raises(approvals.OwnRequest):
        approvals.decide(asked.pk, anna, approve=True)
    with pytest.raises(approvals.Refused):
        approvals.decide(asked.pk, builders.staff("support"), approve=True)
    assert available(payer) == 1_000
    bank = ledger.balance(postings.BANK, "USD")
    assert agreed(asked, bert) == "done"

    refund = Refund.objects.get()
    part = refund.parts.get()
    assert (refund.source, refund.status, refund.requested_by, refund.approval) == ("bank", "done", anna, asked)
    assert (part.net_cents, part.tax_cents, part.card_reference) == (40_000, 7_600, "CH-BACK-1")
    assert available(payer) == 600
    assert bank - ledger.balance(postings.BANK, "USD") == 476 * NANO
    assert ledger.balance(postings.TAX_PAYABLE, "USD", "DE") == -114 * NANO
    note = Document.objects.get(kind="credit_note")
    assert (note.net_cents, note.tax_cents) == (40_000, 7_600)
    now = timezone.now()
    statement = statements.of_month(payer, now.date().replace(day=1), now=now)
    assert "Refund by bank transfer, reference CH-BACK-1" in "".join(statement_csv.lines(statement))
    assert (statement.closing_nano_usd, statement.difference_nano_usd) == (600 * NANO, 0)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert "bank_refund:CH-BACK-1" in "".join(general_ledger.lines(start=first, end=now))
    mail.outbox.clear()
    with acting_as("worker"):
        notices.send_waiting()
    assert "$476.00 went back by bank transfer under the bank’s reference CH-BACK-1" in str(mail.outbox[-1].body)
    booked_well()

    with pytest.raises(NotPossible, match="in the books already"):
        ask(payer, anna, 10, reference="ch-back-1 ")
    assert agreed(ask(payer, bert, 600, "CH-BACK-2"), anna) == "done"
    assert sum(RefundPart.objects.values_list("tax_cents", flat=True)) == 19_000, "the tax adds up to the cent"
    assert (available(payer), ledger.balance(postings.TAX_PAYABLE, "USD", "DE")) == (0, 0)
    booked_well()


def test_many_at_once_give_back_no_more_than_there_is_and_each_reference_once(
    payer: Customer, anna: User, bert: User
) -> None:
    arrived(payer, anna, bert, net_cents=100_000)
    arrived(payer, anna, bert, net_cents=100_000)
    wishes = [ask(payer, anna, 1_200, f"CH-{number}") for number in range(2)]
    wishes += [ask(payer, anna, 100, "CH-SAME") for _ in range(3)]
    for each in wishes:
        approvals.decide(each.pk, bert, approve=True)

    def work(_: int) -> int:
        try:
            with acting_as("worker"):
                return approvals.carry_out_waiting()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    work(0)
    done = Approval.objects.filter(kind=bank_refunds.KIND, status="done").values_list("payload__reference", flat=True)
    assert sorted(done) in (["CH-0", "CH-SAME"], ["CH-1", "CH-SAME"])
    assert available(payer) == 700
    [spread] = Refund.objects.filter(amount_nano_usd=1_200 * NANO)
    assert sorted(spread.parts.values_list("net_cents", flat=True)) in ([20_000, 100_000], [30_000, 90_000])
    booked_well()


def test_what_breaks_half_way_leaves_nothing_and_what_changed_meanwhile_stops_it(
    static_files: None, payer: Customer, anna: User, bert: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived(payer, anna, bert)

    def die(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("billing.documents.issue_credit_note", die)
        assert agreed(ask(payer, anna, 400), bert) == "failed"
    assert (available(payer), Refund.objects.count(), RefundPart.objects.count()) == (1_000, 0, 0)
    assert not Journal.objects.filter(reference__startswith="bank_refund:").exists()
    booked_well()

    builders.debit(payer, cost_wei=250 * 10**15, markup_bps=0)  # 750 dollars
    assert bank_refunds.left_cents(payer) == 25_000
    late = ask(payer, anna, 200)
    spent = ask(payer, anna, 240, "CH-BACK-3")
    with acting_as("web"):
        approvals.decide(late.pk, bert, approve=True)
    assert "Approved, not booked yet" in listed(anna)
    assert agreed(spent, bert) == "failed", "it is looked at again when it is done"
    assert listed(anna).count("Not booked: send nothing") == 2
    assert available(payer) == 50
    holds.place(customer=payer, code=holds.Code.STAFF, reference="x", reason="odd")
    with pytest.raises(NotPossible, match="held"):
        ask(payer, anna, 1, "CH-BACK-4")
    assert WalletEntry.objects.filter(kind="refund").count() == 1
    booked_well()


def test_fresh_money_of_a_card_never_leaves_by_bank_in_place_of_a_transfer_that_was_spent(
    payer: Customer, anna: User, bert: User
) -> None:
    arrived(payer, anna, bert)
    builders.debit(payer, cost_wei=300 * 10**15, markup_bps=0)  # 900 dollars of the transfer's 1,000
    card = builders.top_up(payer, 500, aged_at=timezone.now() + timedelta(days=7))
    assert (available(payer), bank_refunds.left_cents(payer)) == (600, 10_000)
    with pytest.raises(NotPossible, match="go back to their cards alone"):
        ask(payer, anna, 101)
    assert agreed(ask(payer, anna, 100), bert) == "done"
    assert (available(payer), bank_refunds.left_cents(payer)) == (500, 0)
    assert Grant.objects.get(reference=f"stripe:{card.payment_intent_id}").remaining_nano_usd == 500 * NANO


def test_pages_say_what_to_do_and_staff_ask_for_it_once(
    static_files: None, payer: Customer, anna: User, bert: User
) -> None:
    arrived(payer, anna, bert)
    guest, client, support = Client(), Client(), Client()
    guest.force_login(payer.members.get())
    client.force_login(anna)
    support.force_login(builders.staff("support"))
    with acting_as("web"):
        told = guest.get("/wallet/refunds/").content.decode()
        for words in ("$1,000.00 came by bank transfer", "help@example.com", f"name account {payer.pk}"):
            assert words in told
        card = {"refund": str(uuid.uuid4()), "account": "Big Corp", "amount": "5", "why": "Ticket 12"}
        assert "$1,000.00 came by bank transfer" in support.post("/refunds/", card).content.decode()

        form = {"once": str(uuid.uuid4()), "account": "big c", "amount": "400", "reference": "CH-9", "reason": "Ticket"}
        review = client.post("/refunds/bank/", form).content.decode()
        for words in (payer.members.get().email, "Refund $400.00 of unused credit by bank transfer", "$1,000.00"):
            assert words in review
        assert not Approval.objects.filter(kind=bank_refunds.KIND).exists()
        for wrong in ({"amount": "1000.01"}, {"reference": ""}, {"account": "nobody"}, {"amount": "x"}):
            assert client.post("/refunds/bank/ask/", {**form, **wrong}).status_code == 422
        for _ in range(2):
            assert client.post("/refunds/bank/ask/", form).status_code == 302
        assert Approval.objects.filter(kind=bank_refunds.KIND).count() == 1
        assert "Waits for a second person" in support.get("/refunds/bank/").content.decode()
        for door in ("/refunds/bank/", "/refunds/bank/ask/"):
            assert support.post(door, form).status_code == 403
    assert agreed(Approval.objects.get(kind=bank_refunds.KIND), bert) == "done"
    page = client.get("/refunds/bank/").content.decode()
    assert "reference CH-9" in page
    assert "Bank transfer" in guest.get("/wallet/refunds/").content.decode()
    booked_well()
