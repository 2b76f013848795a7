"""The posting rules of the chain: pure functions from an event to its transfers, in wei and at dollar cost.

ETH is carried at average cost. Rounding is always down, and an account that is emptied gives all its cost away,
so no cost stays where no ether is.
"""

from dataclasses import dataclass

from billing.postings import (
    ACCRUED_TICKETS,
    DEPOSIT,
    EQUITY,
    ETH_GAINS,
    ETH_WORLD,
    GAS,
    RESERVE,
    TREASURY_WALLET,
    Account,
    Transfer,
    eth,
    usd,
)

WEI_PER_ETH = 10**18


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """Ether on an account and what it cost."""

    wei: int = 0
    nano_usd: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some ether that leaves an account, and its share of the account's cost."""

    account: Account
    wei: int
    cost_nano_usd: int


def wallet(address: str) -> Account:
    """1300: ether at an address whose key is ours."""
    return Account(TREASURY_WALLET, address.lower())


def deposit(sender: str) -> Account:
    """1310: a sender's deposit in the TicketBroker."""
    return Account(DEPOSIT, sender.lower())


def reserve(sender: str) -> Account:
    """1320: a sender's remaining reserve in the TicketBroker."""
    return Account(RESERVE, sender.lower())


def tickets(recipient: str) -> Account:
    """2300: what signed tickets are expected to cost at one orchestrator."""
    return Account(ACCRUED_TICKETS, recipient.lower())


def value_floor(wei: int, nano_usd_per_eth: int) -> int:
    """Nano-dollars, rounded down."""
    return wei * nano_usd_per_eth // WEI_PER_ETH


def share_floor(holding: Holding, wei: int) -> int:
    """The cost that leaves with `wei`: the average, rounded down, or all of it when nothing remains."""
    if wei >= holding.wei:
        return holding.nano_usd
    return holding.nano_usd * wei // holding.wei


def arrival(account: Account, *, wei: int, nano_usd_per_eth: int) -> list[Transfer]:
    """Ether came from outside, worth its price of that moment: opening balances, deliveries, foreign funding."""
    return _moved(debit=account, credit=Account(EQUITY), nano_usd=value_floor(wei, nano_usd_per_eth)) + _counted(
        debit=account, credit=Account(ETH_WORLD), wei=wei
    )


def departure(part: Part) -> list[Transfer]:
    """Ether left a wallet of ours for outside."""
    return _moved(debit=Account(EQUITY), credit=part.account, nano_usd=part.cost_nano_usd) + _counted(
        debit=Account(ETH_WORLD), credit=part.account, wei=part.wei
    )


def move(part: Part, *, to: Account) -> list[Transfer]:
    """Ether moved between two accounts of ours, at cost: funding and withdrawal."""
    return _moved(debit=to, credit=part.account, nano_usd=part.cost_nano_usd) + _counted(
        debit=to, credit=part.account, wei=part.wei
    )


def gas(part: Part) -> list[Transfer]:
    """A transaction of ours was mined."""
    return _moved(debit=Account(GAS), credit=part.account, nano_usd=part.cost_nano_usd) + _counted(
        debit=Account(ETH_WORLD), credit=part.account, wei=part.wei
    )


def redemption(*, recipient: str, liability_nano_usd: int, parts: list[Part]) -> list[Transfer]:
    """A winning ticket was paid from deposit, reserve or both.

    The liability is relieved at the price of the day the ticket was signed, the assets leave at cost, and the
    difference is a realised gain or loss. Parts without ether may be given.
    """
    liability, transfers = tickets(recipient), list[Transfer]()
    left = liability_nano_usd
    for part in parts:
        covered = min(left, part.cost_nano_usd)
        left -= covered
        transfers += _moved(debit=liability, credit=part.account, nano_usd=covered)
        transfers += _moved(debit=Account(ETH_GAINS), credit=part.account, nano_usd=part.cost_nano_usd - covered)
    transfers += _moved(debit=liability, credit=Account(ETH_GAINS), nano_usd=left)
    for part in parts:
        transfers += _counted(debit=liability, credit=part.account, wei=part.wei)
    return transfers


def _moved(*, debit: Account, credit: Account, nano_usd: int) -> list[Transfer]:
    return [usd(debit, credit, nano_usd)] if nano_usd else []


def _counted(*, debit: Account, credit: Account, wei: int) -> list[Transfer]:
    return [eth(debit, credit, wei)] if wei else []
