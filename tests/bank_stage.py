"""Our bank in tests: two people of finance, a payer and its wishes, lines of the statement, and payouts."""

from typing import Any

import pytest
from django.utils import timezone

from accounts import approvals
from accounts.models import Approval, Customer, User
from billing import bank_statement, bank_transfers, ledger, postings
from billing.models import BankLine, BankTransfer, Payout, Wallet
from tests import builders
from tests.acting import acting_as

TODAY = timezone.now().date()


@pytest.fixture(autouse=True)
def _our_bank(settings: Any) -> None:
    settings.BANK_ACCOUNT = {"Account holder": "Clearinghouse Inc", "IBAN": "DE02 1203 0000 0000 2020 51"}
    settings.STAFF_MFA_REQUIRED = False


@pytest.fixture
def anna() -> User:
    return builders.staff("finance")


@pytest.fixture
def bert() -> User:
    return builders.staff("finance")


@pytest.fixture
def payer() -> Customer:
    return builders.customer("Big Corp")


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
