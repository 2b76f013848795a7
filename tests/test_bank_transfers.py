"""Money that comes over our bank: transfers of customers, credited by two people, once."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import ProgrammingError, connection

from accounts import approvals
from accounts.approvals import NotPossible
from accounts.models import Approval, AuditEntry, Customer, User
from billing import bank_transfers, documents, ledger, postings, topups
from billing.models import BankTransfer, Document, TopUp, Wallet, WalletEntry
from tests import builders
from tests.bank_stage import _our_bank, anna, ask, bert, cents_on, credited, line, payer, wallet_nano_usd, wish
from tests.provider_stage import booked_well

__all__ = ["_our_bank", "anna", "bert", "payer"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_transfer_is_asked_for_arrives_and_is_credited_by_two_people(payer: Customer, anna: User, bert: User) -> None:
    transfer = wish(payer, po_number="  PO 4711 ")
    [pro_forma] = Document.objects.all()
    assert (pro_forma.kind, pro_forma.total_cents) == ("pro_forma", 500_000)
    assert transfer.reference in str(pro_forma.snapshot)
    assert "DE02 1203" in str(pro_forma.snapshot)
    assert "PO 4711" in str(pro_forma.snapshot)
    assert wallet_nano_usd(payer) == 0
    assert topups.sweep() == 0, "nobody asks the card provider about it"

    spaced = transfer.reference.lower().replace("-", " ")
    one = line(anna, "5000.00", f"invoice {spaced} thank you")
    assert list(bank_transfers.find(one.reference)) == [transfer]
    approval = ask(one, transfer, anna, once="form-1")
    assert ask(one, transfer, anna, once="form-1").pk == approval.pk, "a double click is one request"
    with pytest.raises(NotPossible, match="waits for a second person"):
        ask(one, transfer, bert)
    with pytest.raises(approvals.OwnRequest):
        approvals.decide(approval.pk, anna, approve=True)
    assert wallet_nano_usd(payer) == 0
    words = dict(bank_transfers.describe(approval.payload))
    assert words["Customer"] == "Big Corp"
    assert "exactly what was asked for" in words["Arrived"]
    approvals.decide(approval.pk, bert, approve=True)
    assert approvals.carry_out_waiting() == 1
    assert approvals.carry_out_waiting() == 0

    assert wallet_nano_usd(payer) == 5_000 * 10**9
    assert Wallet.objects.get(customer=payer).fresh_nano_usd == 0, "it cannot be charged back: aged at once"
    assert cents_on(postings.BANK) == 500_000
    assert cents_on(postings.PREPAID, str(payer.pk)) == -500_000
    top_up = TopUp.objects.get()
    assert (top_up.status, top_up.method, top_up.total_cents) == ("paid", "bank", 500_000)
    assert Document.objects.get(kind="receipt").total_cents == 500_000
    assert AuditEntry.objects.filter(action="approval.done").exists()
    booked_well()


def test_one_person_alone_cannot_credit_a_transfer_and_every_attempt_is_kept(payer: Customer, anna: User) -> None:
    transfer = wish(payer)
    one = line(anna, "5000.00", transfer.reference)
    for person, error in ((builders.staff("support"), approvals.NotAllowed), (builders.user(), approvals.NotAllowed)):
        with pytest.raises(error):
            ask(one, transfer, person)
    approval = ask(one, transfer, anna)
    with pytest.raises(approvals.OwnRequest):
        approvals.decide(approval.pk, anna, approve=True)
    with pytest.raises(approvals.NotAllowed):
        approvals.decide(approval.pk, builders.staff("treasury"), approve=True)
    approvals.carry_out_waiting()
    assert not WalletEntry.objects.exists()
    assert AuditEntry.objects.filter(action="approval.refused").count() == 4
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE clearinghouse_web")
    try:
        for statement in (
            "UPDATE billing_bankline SET journal_id = 1",
            "UPDATE billing_bankline SET top_up_id = gen_random_uuid()",
            "UPDATE billing_bankline SET amount_cents = 1",
            "UPDATE billing_topup SET total_cents = 1",
        ):
            with pytest.raises(ProgrammingError, match="permission denied"), connection.cursor() as cursor:
                cursor.execute(statement)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


@pytest.mark.parametrize(("came", "cents"), [("4987.50", 498_750), ("6000.00", 600_000)])
def test_what_arrived_is_credited_whatever_was_asked_for(
    payer: Customer, anna: User, bert: User, came: str, cents: int
) -> None:
    transfer = wish(payer)
    one = line(anna, came, transfer.reference)
    approval = credited(one, transfer, anna, bert)
    assert approval.status == "done"
    assert "asked for were $5,000.00" in dict(bank_transfers.describe(approval.payload))["Arrived"]
    assert wallet_nano_usd(payer) == cents * 10**7 == -ledger.balance(postings.PREPAID, "USD", str(payer.pk))
    assert TopUp.objects.get().amount_cents == 500_000, "the wish stays what it was"
    booked_well()


def test_tax_of_the_wish_is_split_off_what_arrived_to_the_cent(payer: Customer, anna: User, bert: User) -> None:
    transfer = wish(payer)
    TopUp.objects.filter(pk=transfer.top_up_id).update(
        net_cents=500_000,
        tax_cents=95_000,
        total_cents=595_000,
        tax_parts={"DE": 95_000},
        credit_nano_usd=5_000 * 10**9,
    )
    credited(line(anna, "1000.01", transfer.reference), transfer, anna, bert)
    assert cents_on(postings.TAX_PAYABLE, "DE") == -15_967
    assert cents_on(postings.PREPAID, str(payer.pk)) == -(100_001 - 15_967)
    assert cents_on(postings.BANK) == 100_001
    booked_well()


def test_money_that_comes_twice_under_one_reference_is_credited_twice_and_a_line_only_once(
    payer: Customer, anna: User, bert: User
) -> None:
    transfer = wish(payer)
    first, second = line(anna, "3000.00", transfer.reference), line(anna, "2000.00", transfer.reference)
    assert credited(first, transfer, anna, bert).status == "done"
    assert credited(second, transfer, bert, anna).status == "done"
    assert wallet_nano_usd(payer) == 5_000 * 10**9
    assert sorted(TopUp.objects.values_list("total_cents", flat=True)) == [200_000, 300_000]
    assert Document.objects.filter(kind="receipt").count() == 2
    with pytest.raises(NotPossible, match="used already"):
        ask(first, transfer, anna)
    with pytest.raises(NotPossible, match="No bank transfer has the reference"):
        bank_transfers.ask_for_credit(line_id=first.pk, reference="CH-NOPE", reason="x", user=anna)
    with pytest.raises(NotPossible, match="Only money that came in"):
        ask(line(anna, "-5.00", transfer.reference), transfer, anna)
    with pytest.raises(NotPossible, match="The line is in EUR"):
        ask(line(anna, "5.00", transfer.reference, "eur"), transfer, anna)
    booked_well()


def test_eight_workers_and_a_line_matched_meanwhile_credit_once(payer: Customer, anna: User, bert: User) -> None:
    transfer, other = wish(payer), wish(payer, 700_000)
    one = line(anna, "5000.00", transfer.reference)
    approval = ask(one, transfer, anna)
    # A second request for the same line, as an older form or another door would leave it.
    twin = Approval.objects.create(
        kind=approval.kind,
        payload={**approval.payload, "transfer": str(other.pk)},
        reason="Also mine",
        customer=payer,
        asked_by=anna,
        expires_at=approval.expires_at,
    )
    for each in (approval, twin):
        approvals.decide(each.pk, bert, approve=True)
    together = threading.Barrier(8)

    def work() -> int:
        try:
            together.wait()
            return approvals.carry_out_waiting()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        done = sum(run.result() for run in [pool.submit(work) for _ in range(8)])
    approvals.carry_out_waiting()
    assert done == 1
    assert sorted(Approval.objects.values_list("status", flat=True)) == ["done", "failed"]
    assert WalletEntry.objects.count() == 1
    assert wallet_nano_usd(payer) == 5_000 * 10**9
    booked_well()


def test_a_worker_that_dies_in_the_middle_of_a_credit_has_credited_nothing(
    payer: Customer, anna: User, bert: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = wish(payer)
    one = line(anna, "5000.00", transfer.reference)
    approvals.decide(ask(one, transfer, anna).pk, bert, approve=True)

    class Died(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(documents, "issue_receipt", die)
        with pytest.raises(Died):
            approvals.carry_out_waiting()
    assert not WalletEntry.objects.exists()
    one.refresh_from_db()
    assert (one.journal_id, one.top_up_id) == (None, None)
    booked_well()
    assert approvals.carry_out_waiting() == 1
    assert wallet_nano_usd(payer) == 5_000 * 10**9
    booked_well()


def test_the_same_form_sent_four_times_at_once_is_one_wish_with_one_pro_forma(payer: Customer) -> None:
    wish_id, together = uuid.uuid4(), threading.Barrier(4)

    def send() -> str:
        try:
            together.wait()
            return wish(payer, wish_id=wish_id).reference
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert len({run.result() for run in [pool.submit(send) for _ in range(4)]}) == 1
    assert (BankTransfer.objects.count(), TopUp.objects.count(), Document.objects.count()) == (1, 1, 1)


def test_no_transfer_without_our_account_or_beyond_the_limits(payer: Customer, settings: Any) -> None:
    for amount_cents in (99_999, 100_000_001):
        with pytest.raises(bank_transfers.AmountOutOfRange):
            wish(payer, amount_cents)
    settings.BANK_ACCOUNT = {}
    with pytest.raises(bank_transfers.NotOffered):
        wish(payer)
    assert not TopUp.objects.exists()
