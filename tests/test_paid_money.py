"""Paid money in a wallet: it ages first in first out, is taken once, and pays a debt first."""

import pytest
from django.db import transaction

from accounts.models import Customer
from billing import ledger, postings
from billing.models import Usage, WalletEntry
from billing.postings import Account, usd
from tests import builders
from tests.grant_stage import (
    DOLLAR,
    NOW,
    assert_books_agree,
    figures,
    grant,
    later,
    remaining,
    spend,
    take,
    time_passes,
    usd_balance,
)


@pytest.fixture
def payer(db: None) -> Customer:
    return builders.customer()


def test_aged_money_goes_before_fresh_and_a_charge_says_how_much_was_fresh(payer: Customer) -> None:
    builders.top_up(payer, 20, aged_at=later())
    builders.top_up(payer, 10)
    assert figures(payer) == (30 * DOLLAR, 0, 20 * DOLLAR, 0)
    for dollars, fresh in ((4, 0), (8, 2), (5, 5)):
        assert spend(payer, dollars * DOLLAR) is None
        assert Usage.objects.latest("id").fresh_nano_usd == fresh * DOLLAR
    assert figures(payer) == (13 * DOLLAR, 0, 13 * DOLLAR, 0)
    ledger.post_usage()
    assert_books_agree()


def test_money_ages_first_in_first_out(payer: Customer) -> None:
    """The younger of two credits stays fresh whole, whatever was spent of the older."""
    builders.top_up(payer, 10, aged_at=later(1))
    builders.top_up(payer, 10, aged_at=later(2))
    assert spend(payer, 4 * DOLLAR) is None
    assert ledger.age_grants() == 0
    time_passes(days=1.5)
    assert ledger.age_grants() == 1
    assert ledger.age_grants() == 0
    assert figures(payer) == (16 * DOLLAR, 0, 10 * DOLLAR, 0)
    assert spend(payer, 9 * DOLLAR) is None
    assert Usage.objects.latest("id").fresh_nano_usd == 3 * DOLLAR
    builders.top_up(payer, 5)
    assert figures(payer) == (12 * DOLLAR, 0, 7 * DOLLAR, 0)
    time_passes(days=1)
    assert ledger.age_grants() == 1
    assert figures(payer) == (12 * DOLLAR, 0, 0, 0)
    assert_books_agree()


def test_what_is_taken_is_paid_money_alone_once_and_never_more_than_there_is(payer: Customer) -> None:
    builders.top_up(payer, 10)
    grant(payer, 5)
    spend(payer, 3 * DOLLAR, promo_ok=False)
    with pytest.raises(ledger.NotEnough):
        take(payer, 7 * DOLLAR + 1, reference="refund:1")
    assert figures(payer) == (12 * DOLLAR, 5 * DOLLAR, 0, 0)
    assert take(payer, 7 * DOLLAR, reference="refund:1")
    assert take(payer, 7 * DOLLAR, reference="refund:1") is None
    assert figures(payer) == (5 * DOLLAR, 5 * DOLLAR, 0, 0)
    assert usd_balance(2120, str(payer.pk)) == -7 * DOLLAR
    assert_books_agree()


def test_a_refund_comes_from_the_credit_it_names_and_leaves_the_age_of_the_rest_alone(payer: Customer) -> None:
    builders.credit(payer, 10 * DOLLAR, reference="stripe:old")
    builders.credit(payer, 10 * DOLLAR, reference="stripe:new", aged_at=later())
    take(payer, 4 * DOLLAR, reference="refund:new", from_reference="stripe:new")
    assert remaining(payer) == {"stripe:old": 10 * DOLLAR, "stripe:new": 6 * DOLLAR}
    assert figures(payer) == (16 * DOLLAR, 0, 6 * DOLLAR, 0)
    take(payer, 12 * DOLLAR, reference="refund:any")
    assert remaining(payer) == {"stripe:old": 0, "stripe:new": 4 * DOLLAR}
    assert figures(payer) == (4 * DOLLAR, 0, 4 * DOLLAR, 0)


def test_the_journal_of_what_moves_a_wallet_must_move_as_much(payer: Customer) -> None:
    builders.top_up(payer, 10)
    other = usd(Account(postings.PREPAID, "999"), Account(postings.REFUNDS, "999"), DOLLAR)
    for transfers in ([other], postings.provider_fee(fee_nano_usd=DOLLAR)):
        for call in (ledger.credit, ledger.take):
            with pytest.raises(Exception, match="2100"), transaction.atomic():
                call(
                    customer_id=payer.pk,
                    amount_nano_usd=DOLLAR,
                    kind="adjustment",
                    reference="x",
                    occurred_at=NOW,
                    transfers=transfers,
                )
    assert figures(payer) == (10 * DOLLAR, 0, 0, 0)


def test_debt_keeps_signing_shut_and_the_next_money_pays_it_first(payer: Customer) -> None:
    builders.top_up(payer, 1)
    ledger.book(
        kind="dispute_lost",
        reference="dispute:1:lost",
        occurred_at=NOW,
        customer_id=payer.pk,
        transfers=[usd(Account(postings.RECEIVABLE, str(payer.pk)), Account(postings.DISPUTED, "dp_1"), 30 * DOLLAR)],
    )
    assert figures(payer) == (DOLLAR, 0, 0, 30 * DOLLAR)
    assert spend(payer, 1) == "account_frozen"
    builders.top_up(payer, 20, aged_at=later())
    assert figures(payer) == (DOLLAR, 0, 0, 10 * DOLLAR)
    assert spend(payer, 1) == "account_frozen"
    builders.top_up(payer, 100, aged_at=later())
    assert figures(payer) == (91 * DOLLAR, 0, 90 * DOLLAR, 0)
    assert usd_balance(1160, str(payer.pk)) == 0
    assert [entry.amount_nano_usd for entry in WalletEntry.objects.filter(kind="debt_repayment").order_by("id")] == [
        -20 * DOLLAR,
        -10 * DOLLAR,
    ]
    assert spend(payer, DOLLAR) is None
    assert_books_agree()


def test_a_locked_wallet_tells_what_it_holds(payer: Customer) -> None:
    builders.top_up(payer, 10, aged_at=later())
    grant(payer, 5)
    with transaction.atomic():
        held = ledger.lock_wallet(payer.pk)
    assert (held.available, held.promo, held.fresh, held.paid, held.debt) == (
        15 * DOLLAR, 5 * DOLLAR, 10 * DOLLAR, 10 * DOLLAR, 0
    )  # fmt: skip
