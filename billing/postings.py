"""The chart of accounts and the posting rules: pure functions from an event to its transfers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Asset = Literal["USD", "ETH"]

BANK = 1000
STRIPE_BALANCE = 1100
PAYOUTS = 1120
DISPUTED = 1150
RECEIVABLE = 1160
TREASURY_WALLET = 1300
DEPOSIT = 1310
RESERVE = 1320
PREPAID = 2100
FROZEN = 2110
REFUNDS = 2120
TAX_PAYABLE = 2200
ACCRUED_TICKETS = 2300
EQUITY = 3000
USAGE_REVENUE = 4000
BREAKAGE = 4100
PROMO_APPLIED = 4900
NETWORK_COST = 5000
GAS = 5200
STRIPE_FEES = 6100
DISPUTE_FEES = 6110
CHARGEBACK_LOSSES = 6120
CURRENCY_GAINS = 7100
ETH_GAINS = 7200
ETH_WORLD = 9100
PROMO_GRANTED = 9200
PROMO_OUTSTANDING = 9210

# number: (name, side on which the account normally stands)
CHART: dict[int, tuple[str, Literal["debit", "credit"]]] = {
    BANK: ("Bank", "debit"),
    STRIPE_BALANCE: ("Stripe balance", "debit"),
    PAYOUTS: ("Payouts in transit", "debit"),  # party: payout
    DISPUTED: ("Disputed funds", "debit"),  # party: dispute
    RECEIVABLE: ("Customer receivable", "debit"),  # party: customer
    TREASURY_WALLET: ("ETH treasury wallet", "debit"),
    DEPOSIT: ("TicketBroker deposit", "debit"),
    RESERVE: ("TicketBroker reserve", "debit"),
    PREPAID: ("Customer prepaid balances", "credit"),  # party: customer
    FROZEN: ("Prepaid balances frozen", "credit"),  # party: customer
    REFUNDS: ("Refunds pending", "credit"),  # party: customer
    TAX_PAYABLE: ("VAT and sales tax payable", "credit"),  # party: jurisdiction, such as DE or US-CA
    ACCRUED_TICKETS: ("Accrued ticket liability at expected value", "credit"),
    EQUITY: ("Equity", "credit"),
    USAGE_REVENUE: ("Usage revenue", "credit"),
    BREAKAGE: ("Breakage revenue", "credit"),
    PROMO_APPLIED: ("Promotional credit applied (contra revenue)", "debit"),  # party: campaign
    NETWORK_COST: ("Network cost at expected value", "debit"),
    GAS: ("On-chain gas", "debit"),
    STRIPE_FEES: ("Payment provider fees", "debit"),
    DISPUTE_FEES: ("Dispute fees", "debit"),
    CHARGEBACK_LOSSES: ("Chargeback losses", "debit"),
    CURRENCY_GAINS: ("Currency gain and loss", "credit"),
    ETH_GAINS: ("Realised gain and loss on ETH", "credit"),
    ETH_WORLD: ("ETH outside world (quantity contra)", "debit"),
    PROMO_GRANTED: ("Memo: promotional credit granted", "debit"),  # party: campaign
    PROMO_OUTSTANDING: ("Memo: promotional credit outstanding", "credit"),  # party: customer
}


@dataclass(frozen=True, slots=True)
class Account:
    """A number of the chart, with a party where several stand under one number."""

    number: int
    party: str = ""

    def __post_init__(self) -> None:
        assert self.number in CHART, f"{self.number} is not in the chart of accounts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """One positive amount of one asset (nano-dollars or wei) from `credit` to `debit`."""

    debit: Account
    credit: Account
    asset: Asset
    amount: int

    def __post_init__(self) -> None:
        assert self.amount > 0, "a transfer moves a positive amount"
        assert self.debit != self.credit, "a transfer needs two accounts"


def usd(debit: Account, credit: Account, nano_usd: int) -> Transfer:
    return Transfer(debit=debit, credit=credit, asset="USD", amount=nano_usd)


def eth(debit: Account, credit: Account, wei: int) -> Transfer:
    return Transfer(debit=debit, credit=credit, asset="ETH", amount=wei)


def provider_balance(currency: str = "usd") -> Account:
    """Our balance at the provider, kept apart by the currency it stands in; all of them are carried in dollars."""
    return Account(STRIPE_BALANCE, "" if currency == "usd" else currency)


def top_up(
    *, customer_id: int, gross_nano_usd: int, tax_nano_usd: Mapping[str, int] | None = None, currency: str = "usd"
) -> list[Transfer]:
    """A payment succeeded: the provider owes us the gross amount, we owe the customer the net and tax offices the tax.

    `tax_nano_usd` by jurisdiction, such as DE or US-CA.
    """
    return _paid_in(provider_balance(currency), customer_id, gross_nano_usd, tax_nano_usd or {})


def bank_top_up(
    *, customer_id: int, gross_nano_usd: int, tax_nano_usd: Mapping[str, int] | None = None, currency: str = "usd"
) -> list[Transfer]:
    """The same, when a customer's bank transfer arrived on our own account."""
    return _paid_in(bank(currency), customer_id, gross_nano_usd, tax_nano_usd or {})


def _paid_in(money: Account, customer_id: int, gross_nano_usd: int, taxes: Mapping[str, int]) -> list[Transfer]:
    net_nano_usd = gross_nano_usd - sum(taxes.values())
    return [
        usd(money, Account(PREPAID, str(customer_id)), net_nano_usd),
        *(usd(money, Account(TAX_PAYABLE, place), tax) for place, tax in sorted(taxes.items()) if tax),
    ]


def exchange(*, from_currency: str, carried_nano_usd: int, to_currency: str, arrived_nano_usd: int) -> list[Transfer]:
    """The provider exchanged money: what was carried leaves one balance, what arrived enters the other.

    The difference is a currency gain, or a loss.
    """
    old, new = provider_balance(from_currency), provider_balance(to_currency)
    gains, moved = Account(CURRENCY_GAINS), min(carried_nano_usd, arrived_nano_usd)
    legs = [usd(new, old, moved)]
    if arrived_nano_usd > moved:
        legs.append(usd(new, gains, arrived_nano_usd - moved))
    if carried_nano_usd > moved:
        legs.append(usd(gains, old, carried_nano_usd - moved))
    return legs


def provider_fee(*, fee_nano_usd: int, currency: str = "usd") -> list[Transfer]:
    """The provider kept its fee from our balance there."""
    return [usd(Account(STRIPE_FEES), provider_balance(currency), fee_nano_usd)]


def bank(currency: str = "usd") -> Account:
    """Our bank accounts, kept apart by currency as the balance at the provider is."""
    return Account(BANK, "" if currency == "usd" else currency)


def payout(*, payout_id: str, value_nano_usd: int, currency: str = "usd") -> list[Transfer]:
    """The provider sent part of our balance to the bank: it is on its way."""
    return [usd(Account(PAYOUTS, payout_id), provider_balance(currency), value_nano_usd)]


def payout_return(*, payout_id: str, value_nano_usd: int, currency: str = "usd") -> list[Transfer]:
    """It came back, or never left: it stands on our balance at the provider again."""
    return [usd(provider_balance(currency), Account(PAYOUTS, payout_id), value_nano_usd)]


def payout_arrived(*, payout_id: str, value_nano_usd: int, currency: str = "usd") -> list[Transfer]:
    """The bank shows it."""
    return [usd(bank(currency), Account(PAYOUTS, payout_id), value_nano_usd)]


def payout_left_bank(*, payout_id: str, value_nano_usd: int, currency: str = "usd") -> list[Transfer]:
    """The bank sent it back after it had shown it."""
    return [usd(Account(PAYOUTS, payout_id), bank(currency), value_nano_usd)]


def adjustment(*, customer_id: int, nano_usd: int) -> list[Transfer]:
    """A charge is corrected: revenue goes back to the customer, or, when negative, comes from him."""
    revenue, prepaid = Account(USAGE_REVENUE), Account(PREPAID, str(customer_id))
    return [usd(revenue, prepaid, nano_usd) if nano_usd > 0 else usd(prepaid, revenue, -nano_usd)]


def refund_requested(*, customer_id: int, credit_nano_usd: int) -> list[Transfer]:
    """Credit that goes back leaves what can be spent before the provider is asked."""
    return [usd(Account(PREPAID, str(customer_id)), Account(REFUNDS, str(customer_id)), credit_nano_usd)]


def refund_owed(*, customer_id: int, credit_nano_usd: int) -> list[Transfer]:
    """More went back to a card than the customer had left: he owes it."""
    return [usd(Account(RECEIVABLE, str(customer_id)), Account(REFUNDS, str(customer_id)), credit_nano_usd)]


def refund_sent(
    *, customer_id: int, credit_nano_usd: int, tax_nano_usd: Mapping[str, int], currency: str
) -> list[Transfer]:
    """The refund left our balance at the provider, and with the credit its tax. The fee of the payment stays spent."""
    balance = provider_balance(currency)
    return [
        usd(Account(REFUNDS, str(customer_id)), balance, credit_nano_usd),
        *(usd(Account(TAX_PAYABLE, place), balance, tax) for place, tax in sorted(tax_nano_usd.items()) if tax),
    ]


def bank_refund(
    *, customer_id: int, credit_nano_usd: int, tax_nano_usd: Mapping[str, int], currency: str = "usd"
) -> list[Transfer]:
    """Credit that came by bank transfer left our own account again, and with it its tax."""
    return [
        usd(Account(PREPAID, str(customer_id)), bank(currency), credit_nano_usd),
        *(usd(Account(TAX_PAYABLE, place), bank(currency), tax) for place, tax in sorted(tax_nano_usd.items()) if tax),
    ]


def refund_returned(
    *, customer_id: int, credit_nano_usd: int, tax_nano_usd: Mapping[str, int], currency: str | None
) -> list[Transfer]:
    """The refund came to nothing: spendable again. Without a currency the money never left our balance."""
    source = Account(REFUNDS, str(customer_id)) if currency is None else provider_balance(currency)
    return [
        usd(source, Account(PREPAID, str(customer_id)), credit_nano_usd),
        *(usd(source, Account(TAX_PAYABLE, place), tax) for place, tax in sorted(tax_nano_usd.items()) if tax),
    ]


def dispute_moved(*, dispute: str, amount_nano_usd: int, fee_nano_usd: int, currency: str) -> list[Transfer]:
    """The provider took a disputed payment out of our balance (below zero) or put it back; the same for its fee."""
    balance, funds, fees = provider_balance(currency), Account(DISPUTED, dispute), Account(DISPUTE_FEES)
    moved = []
    if amount_nano_usd:
        legs = (funds, balance) if amount_nano_usd < 0 else (balance, funds)
        moved.append(usd(*legs, abs(amount_nano_usd)))
    if fee_nano_usd:
        legs = (fees, balance) if fee_nano_usd > 0 else (balance, fees)
        moved.append(usd(*legs, abs(fee_nano_usd)))
    return moved


def credit_frozen(*, customer_id: int, nano_usd: int) -> list[Transfer]:
    """Credit that a dispute may need is no longer spendable."""
    return [usd(Account(PREPAID, str(customer_id)), Account(FROZEN, str(customer_id)), nano_usd)]


def credit_released(*, customer_id: int, nano_usd: int) -> list[Transfer]:
    return [usd(Account(FROZEN, str(customer_id)), Account(PREPAID, str(customer_id)), nano_usd)]


def dispute_lost(
    *,
    dispute: str,
    customer_id: int,
    frozen_nano_usd: int,
    wallet_nano_usd: int,
    tax_nano_usd: Mapping[str, int],
    owed_nano_usd: int,
) -> list[Transfer]:
    """What was taken back is gone: frozen credit and the wallet pay, tax is relieved, the rest the customer owes."""
    funds, party = Account(DISPUTED, dispute), str(customer_id)
    payers = [
        (Account(FROZEN, party), frozen_nano_usd),
        (Account(PREPAID, party), wallet_nano_usd),
        *((Account(TAX_PAYABLE, place), tax) for place, tax in sorted(tax_nano_usd.items())),
        (Account(RECEIVABLE, party), owed_nano_usd),
    ]
    return [usd(account, funds, nano_usd) for account, nano_usd in payers if nano_usd]


def dispute_restored(
    *, dispute: str, customer_id: int, credit_nano_usd: int, tax_nano_usd: Mapping[str, int], recovered_nano_usd: int
) -> list[Transfer]:
    """A lost dispute was won after all: the customer's credit again, its tax, and first the loss that was given up."""
    funds = Account(DISPUTED, dispute)
    payees = [
        (Account(CHARGEBACK_LOSSES), recovered_nano_usd),
        (Account(PREPAID, str(customer_id)), credit_nano_usd),
        *((Account(TAX_PAYABLE, place), tax) for place, tax in sorted(tax_nano_usd.items())),
    ]
    return [usd(funds, account, nano_usd) for account, nano_usd in payees if nano_usd]


def debt_given_up(*, customer_id: int, nano_usd: int) -> list[Transfer]:
    """What a customer owes will not be paid: a loss."""
    return [usd(Account(CHARGEBACK_LOSSES), Account(RECEIVABLE, str(customer_id)), nano_usd)]
