"""Lines of our bank's statement: each is read once, and payouts that arrive are cleared once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest
from django.db import connection, transaction
from django.db.utils import IntegrityError
from django.utils import timezone

from accounts.models import User
from billing import bank_statement, ledger, postings
from billing.bank_statement import WrongFile
from billing.models import BankLine, Payout
from tests.bank_stage import TODAY, _our_bank, anna, bert, cents_on, line, payout
from tests.provider_stage import booked_well

__all__ = ["_our_bank", "anna", "bert"]

pytestmark = pytest.mark.django_db(transaction=True)
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
