"""Finance's pages about provider and bank, and the customer's about a transfer: what they show and whom they let in."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts import approvals
from accounts.models import Approval, Customer, User
from billing import bank_transfers, ledger, postings
from billing.models import BalanceTransaction, BankLine, BankTransfer, StripeEvent, TieOut, Wallet
from billing.postings import Account
from tests import builders
from tests.bank_stage import _our_bank, anna, bert, payer, payout

__all__ = ["_our_bank", "anna", "bert", "payer"]

pytestmark = pytest.mark.django_db(transaction=True)
TODAY = timezone.now().date()


@pytest.fixture(autouse=True)
def _no_queue(settings: Any) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"


def movement(id: str, net_cents: int, *, age: timedelta = timedelta(hours=3)) -> BalanceTransaction:
    return BalanceTransaction.objects.create(
        id=id,
        amount_cents=net_cents,
        fee_cents=0,
        net_cents=net_cents,
        currency="usd",
        type="charge",
        reporting_category="charge",
        description="=HYPERLINK()",
        subject=f"ch_{id}",
        source_id=f"ch_{id}",
        created_at=timezone.now() - age,
        available_at=timezone.now(),
        value_nano_usd=net_cents * 10**7,
    )


def test_the_provider_page_tells_what_differs_with_its_age_and_gives_the_file(client: Client) -> None:
    client.force_login(builders.staff("finance"))
    assert b"Nothing was tied out yet" in client.get("/finance/provider/").content
    moved = movement("txn_1", 4_825)
    # The books have begun when it moved: at the beginning of a month that was in the month before.
    legs = [postings.usd(Account(postings.BANK), Account(postings.EQUITY), 1)]
    ledger.book(kind="opening", reference="opening", occurred_at=moved.created_at, transfers=legs)
    TieOut.objects.create(
        currency="usd",
        movements=1,
        net_cents=4_825,
        provider_cents=4_825,
        value_nano_usd=4_825 * 10**7,
        books_nano_usd=0,
        unexplained=1,
        unmatched_journals=0,
    )
    event = StripeEvent.objects.create(
        event_id="evt_1", type="payout.paid", kind="payout", object_id="po_1", payload={}, error="Refused: no such"
    )
    page = client.get("/finance/provider/").content.decode()
    for words in ("Books and provider differ", "belongs to no paid top-up of ours", "Overdue", "Refused: no such"):
        assert words in page
    assert client.post(f"/finance/provider/events/{event.pk}/again/").status_code == 302
    lines = b"".join(client.get(f"/finance/provider/{moved.created_at:%Y-%m}.csv")).decode().splitlines()
    assert lines[0].startswith("balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category")
    assert "48.25" in lines[1]
    assert "'=HYPERLINK()" in lines[1], "no spreadsheet runs what a stranger wrote"
    assert lines[1].endswith("48.250000000")
    client.force_login(builders.staff("support"))
    assert client.get("/finance/provider/").status_code == 403
    assert client.get("/finance/bank/").status_code == 403
    assert client.post(f"/finance/provider/events/{event.pk}/again/").status_code == 403


def test_a_transfer_goes_from_the_customer_s_form_to_the_credit_through_the_pages(
    client: Client, payer: Customer, anna: User, bert: User
) -> None:
    client.force_login(payer.members.get())
    form = client.get("/wallet/bank-transfers/").context["form"]
    given = {"wish": form.initial["wish"], "amount": "12,500.00", "po_number": "PO 7"}
    first = client.post("/wallet/bank-transfers/", given)
    assert first.url == client.post("/wallet/bank-transfers/", given).url  # type: ignore[attr-defined]
    transfer = BankTransfer.objects.get()
    page = client.get(f"/wallet/bank-transfers/{transfer.pk}/").content.decode()
    assert transfer.reference in page
    assert "Waiting for the money" in page
    wrong = client.post("/wallet/bank-transfers/", {**given, "amount": "5"})
    assert wrong.status_code == 422
    assert "Must be from $1,000.00" in wrong.content.decode()
    client.force_login(builders.customer("Other").members.get())
    assert client.get(f"/wallet/bank-transfers/{transfer.pk}/").status_code == 404

    client.force_login(anna)
    text = f"date,amount,currency,reference,counterparty\n{TODAY},12500.00,USD,{transfer.reference},BIG CORP\n"
    for expected in ("1 new line.", "0 new lines. 1 were known already."):
        file = SimpleUploadedFile("statement.csv", text.encode(), "text/csv")
        assert expected in client.post("/finance/bank/file/", {"file": file}, follow=True).content.decode()
    bad = SimpleUploadedFile("bad.csv", text.replace("12500.00", "12.500,00").encode(), "text/csv")
    refused = client.post("/finance/bank/file/", {"file": bad})
    assert refused.status_code == 422
    line = BankLine.objects.get()
    shown = client.get(f"/finance/bank/{line.pk}/")
    assert "Big Corp" in shown.content.decode()
    asked = {**shown.context["form"].initial, "reason": "On the statement"}
    for _ in range(2):
        assert client.post(f"/finance/bank/{line.pk}/credit/", asked).status_code == 302
    approval = Approval.objects.get()
    assert "Waits for a second person" in client.get("/finance/bank/").content.decode()
    approvals.decide(approval.pk, bert, approve=True)
    approvals.carry_out_waiting()
    assert Wallet.objects.get(customer=payer).available_nano_usd == 12_500 * 10**9
    assert "Transfer of Big Corp" in client.get("/finance/bank/").content.decode()
    client.force_login(payer.members.get())
    assert "arrived and credited" in client.get(f"/wallet/bank-transfers/{transfer.pk}/").content.decode()


def test_lines_are_typed_matched_and_put_aside_on_the_bank_page(client: Client) -> None:
    client.force_login(builders.staff("finance"))
    payout("po_1", 45_000)
    entry = {"date": str(TODAY), "amount": "450.00", "currency": "usd", "reference": "x", "counterparty": "y"}
    assert "1 new line" in client.post("/finance/bank/line/", entry, follow=True).content.decode()
    wrong = client.post("/finance/bank/line/", {**entry, "amount": "4,5"})
    assert wrong.status_code == 422
    assert "is not like 1234.50" in wrong.content.decode()
    line = BankLine.objects.get()
    assert "It is this one" in client.get(f"/finance/bank/{line.pk}/").content.decode()
    wrong_one = client.post(f"/finance/bank/{line.pk}/match/", {"payout": "po_other"}, follow=True)
    assert "cannot be that payout" in wrong_one.content.decode()
    assert "Matched" in client.post(f"/finance/bank/{line.pk}/match/", {"payout": "po_1"}, follow=True).content.decode()
    client.post("/finance/bank/line/", {**entry, "amount": "-3.00"})
    other = BankLine.objects.latest("id")
    assert "Say what the line is" in client.post(f"/finance/bank/{other.pk}/aside/", follow=True).content.decode()
    client.post(f"/finance/bank/{other.pk}/aside/", {"because": "Bank fee"})
    assert "Bank fee" in client.get("/finance/bank/").content.decode()
    assert bank_transfers.offered()
