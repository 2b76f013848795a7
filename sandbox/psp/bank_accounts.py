"""The test bank accounts: what is paid from them arrives days later, or not at all (pure)."""

import dataclasses
from typing import Literal

type Kind = Literal["sepa_debit", "us_bank_account"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TestAccount:
    """One account of the fixed table; `failure` is the code with which a payment from it comes back, if it does."""

    __test__ = False

    number: str
    token: str
    kind: Kind
    country: str
    bank: str
    failure: str = ""
    message: str = ""


ACCOUNTS = (
    TestAccount(
        number="DE89370400440532013000", token="pm_sepaDebit", kind="sepa_debit", country="DE", bank="37040044"
    ),
    TestAccount(
        number="DE62370400440532013001",
        token="pm_sepaDebit_fails",
        kind="sepa_debit",
        country="DE",
        bank="37040044",
        failure="debit_not_authorized",
        message="The bank sent the direct debit back: it was not authorized.",
    ),
    TestAccount(
        number="000123456789", token="pm_usBankAccount", kind="us_bank_account", country="US", bank="STRIPE TEST BANK"
    ),
    TestAccount(
        number="000222222227",
        token="pm_usBankAccount_insufficientFunds",
        kind="us_bank_account",
        country="US",
        bank="STRIPE TEST BANK",
        failure="insufficient_funds",
        message="The account did not hold enough.",
    ),
)
BY_NUMBER = {account.number: account for account in ACCOUNTS}
BY_TOKEN = {account.token: account for account in ACCOUNTS}
# Which currency each kind of account pays.
CURRENCIES: dict[str, str] = {"sepa_debit": "eur", "us_bank_account": "usd"}


class AccountRefused(Exception):
    """What was typed on the page is none of the test accounts, or none that this order takes."""


def read_account(number: str, *, kinds: list[str]) -> TestAccount:
    account = BY_NUMBER.get("".join(number.split()).upper())
    if account is None or account.kind not in kinds:
        raise AccountRefused("Only the listed test accounts work here. Never type a real account number.")
    return account
