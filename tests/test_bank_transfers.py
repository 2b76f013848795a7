"""Money that comes over our bank: transfers of customers, credited by two people, and payouts that arrive."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.utils import IntegrityError
from django.utils import timezone

from accounts import approvals
from accounts.approvals import NotPossible
from accounts.models import Approval, AuditEntry, Customer, User
from billing import bank_statement, bank_transfers, documents, ledger, postings, topups
from billing.bank_statement import WrongFile
from billing.models import BankLine, BankTransfer, Document, Payout, TopUp, Wallet, WalletEntry
from tests import builders
from tests.acting import acting_as
from tests.provider_stage import booked_well

pytestmark = pytest.mark.django_db(transaction=True)
TODAY = timezone.now().date()


@pytest.fixture(autouse=True)
def _our_bank(settings: Any) -> Iterator[None]:
    settings.BANK_ACCOUNT = {"Account holder": "Clearinghouse Inc", "IBAN": "DE02 1203 0000 0000 2020 51"}
    approvals.kinds.cache_clear()
    yield
    approvals.kinds.cache_clear()


@pytest.fixture
def payer() -> Customer:
    return builders.customer("Big Corp")


@pytest.fixture
def anna() -> User:
    return builders.staff("finance")


@pytest.fixture
def bert() -> User:
    return builders.staff("finance")


def wish(payer: Customer, amount_cents: int = 500_000, **more: Any) -> BankTransfer:
    with acting_as("web"):
        return bank_transfers.start(customer=payer, user=payer.members.get(), amount_cents=amount_cents, **more)


def line(
    user: User, amount: str, reference: str = "", currency: str = "usd", counterparty: str = "BIG CORP"
) -> BankLine:
    text = f"date,amount,currency,reference,counterparty\n{TODAY},{amount},{currency},{reference},{counterparty}\n"
    with acting_as("web"):
        assert bank_statement.enter(bank_statement.read(text), user=user) == 1
    return BankLine.objects.latest("id")


def ask(one: BankLine, transfer: BankTransfer, user: User, **more: Any) -> Approval:
    return bank_transfers.ask_for_credit(
        line_id=one.pk, reference=transfer.reference, reason="It is on the statement", user=user, **more
    )


def credited(one: BankLine, transfer: BankTransfer, asker: User, decider: User) -> Approval:
    with acting_as("web"):
        approval = approvals.decide(ask(one, transfer, asker).pk, decider, approve=True)
    with acting_as("worker"):
        approvals.carry_out_waiting()
    approval.refresh_from_db()
    return approval


def wallet_nano_usd(payer: Customer) -> int:
    return sum(Wallet.objects.filter(customer=payer).values_list("available_nano_usd", flat=True))


def cents_on(number: int, party: str = "") -> int:
    cents, rest = divmod(ledger.balance(number, "USD", party), 10**7)
    assert rest == 0
    return cents


# -- a customer's transfer ----------------------------------------------------------------------------------


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


# -- the bank's statement -----------------------------------------------------------------------------------

FILE = f"""\ufeffdate;amount;currency;reference;counterparty;balance
{TODAY};450.00;USD;STRIPE TRANSFER po_1;STRIPE PAYMENTS;1
{TODAY};-12.3;usd;office coffee;Beans Ltd;2
{TODAY};10;usd;rent share;Room mate;3
{TODAY};10;usd;rent share;Room mate;3
"""


def test_a_file_read_twice_adds_nothing_and_two_equal_lines_are_two(anna: User) -> None:
    assert bank_statement.enter(bank_statement.read(FILE), user=anna, file_name="november.csv") == 4
    assert bank_statement.enter(bank_statement.read(FILE), user=anna, file_name="again.csv") == 0
    more = FILE + f"{TODAY};10;usd;rent share;Room mate;3\n"
    assert bank_statement.enter(bank_statement.read(more), user=anna) == 1
    assert sorted(BankLine.objects.values_list("amount_cents", flat=True)) == [-1_230, 1_000, 1_000, 1_000, 45_000]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("450.00", "450,00"), r"Line 2: the amount '450,00' is not like"),
        (("-12.3", "0.00"), r"Line 3: the amount is nothing"),
        (("-12.3", "1e3"), r"Line 3: the amount '1e3'"),
        (("-12.3", "٣"), r"Line 3: the amount"),
        ((f"{TODAY};-12.3", "21.11.2026;-12.3"), r"Line 3: the date '21.11.2026' is not like"),
        ((f"{TODAY};-12.3", f"{TODAY + timedelta(days=40)};-12.3"), r"has not come yet"),
        (("USD;STRIPE", "CHF;STRIPE"), r"Line 2: the currency 'CHF' is none of"),
        (("office coffee", "x" * 201), r"Line 3: the reference is longer"),
        (("counterparty", "name"), r"The heading lacks counterparty"),
    ],
)
def test_a_wrong_line_is_one_clear_error_and_nothing_is_taken_over(
    anna: User, change: tuple[str, str], words: str
) -> None:
    with pytest.raises(WrongFile, match=words):
        bank_statement.enter(bank_statement.read(FILE.replace(*change, 1)), user=anna)
    assert not BankLine.objects.exists()
    with pytest.raises(WrongFile, match="no lines"):
        bank_statement.read("date,amount,currency,reference,counterparty\n")


def payout(payout_id: str, cents: int, *, status: str = "paid") -> Payout:
    """A payout as the sync leaves it, booked in transit."""
    now = timezone.now()
    row = Payout.objects.create(
        id=payout_id,
        amount_cents=cents,
        currency="usd",
        status=status,
        automatic=False,
        created_at=now,
        arrives_at=now,
        value_nano_usd=cents * 10**7,
    )
    transfers = postings.payout(payout_id=payout_id, value_nano_usd=cents * 10**7)
    ledger.book(kind="payout", reference=f"stripe:{payout_id}", occurred_at=now, transfers=transfers)
    return row


def test_a_payout_on_the_statement_clears_its_way_once_and_what_is_unclear_is_left_to_people(anna: User) -> None:
    first, twin_a, twin_b = payout("po_1", 45_000), payout("po_2", 1_000), payout("po_3", 1_000)
    bank_statement.enter(bank_statement.read(FILE), user=anna)
    assert [each.id for each in bank_statement.payouts_on_their_way()] == ["po_1", "po_2", "po_3"]
    assert bank_statement.match_alone() == 1, "only one line names what it is"
    assert bank_statement.match_alone() == 0
    assert (bank_statement.book_matched(), bank_statement.book_matched()) == (1, 0)
    assert (cents_on(postings.BANK), cents_on(postings.PAYOUTS, first.id)) == (45_000, 0)
    coffee, rent, rent_again = BankLine.objects.exclude(payout=first).order_by("id")
    assert bank_statement.ignore(coffee.pk, "Not ours to book here", user=anna)
    bank_statement.match_payout(rent.pk, twin_a.id, user=anna)
    bank_statement.match_payout(rent.pk, twin_a.id, user=anna)
    for wrong in (twin_a.id, "po_1", "po_none"):
        with pytest.raises(bank_statement.NotThatPayout):
            bank_statement.match_payout(rent_again.pk, wrong, user=anna)
    with pytest.raises(bank_statement.NotThatPayout, match="matched meanwhile"):
        bank_statement.match_payout(coffee.pk, twin_b.id, user=anna)
    assert bank_statement.book_matched() == 1
    assert not bank_statement.ignore(rent.pk, "Changed my mind", user=anna)
    assert [each.id for each in bank_statement.payouts_on_their_way()] == ["po_3"]
    booked_well()
    with pytest.raises(IntegrityError, match="stays as it is"), transaction.atomic():
        BankLine.objects.filter(pk=rent.pk).update(payout=None)


def test_two_lines_at_once_never_clear_one_payout_twice(anna: User) -> None:
    payout("po_1", 1_000)
    lines = [line(anna, "10.00", f"a{number}") for number in range(6)]
    together = threading.Barrier(6)

    def match(one: BankLine) -> bool:
        try:
            together.wait()
            bank_statement.match_payout(one.pk, "po_1", user=anna)
        except bank_statement.NotThatPayout:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(match, lines)) == 1
    assert bank_statement.book_matched() == 1
    assert cents_on(postings.PAYOUTS, "po_1") == 0
    booked_well()


def test_a_payout_that_the_bank_sent_back_leaves_our_account_again(anna: User) -> None:
    row = payout("po_1", 45_000)
    came = line(anna, "450.00", "STRIPE po_1")
    bank_statement.match_alone()
    bank_statement.book_matched()
    assert bank_statement.may_be(line(anna, "-450.00", "STRIPE RETURN po_1")) == [], "not before it is known to fail"
    Payout.objects.filter(id=row.id).update(status="failed")
    ledger.book(
        kind="payout_return",
        reference=f"stripe:{row.id}:returned",
        occurred_at=timezone.now(),
        transfers=postings.payout_return(payout_id=row.id, value_nano_usd=45_000 * 10**7),
    )
    booked_well()
    assert cents_on(postings.PAYOUTS, row.id) == -45_000
    assert bank_statement.match_alone() == 1
    assert bank_statement.book_matched() == 1
    assert (cents_on(postings.BANK), cents_on(postings.PAYOUTS, row.id)) == (0, 0)
    assert came.booked_on == date.fromisoformat(str(TODAY))
    booked_well()
