"""Final events into the books: one journal per event, and wallets brought to what the chain says they hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models.functions import Now

from billing import ledger
from billing.models import Journal, Usage
from billing.postings import Transfer
from signing.chain.answers import ChainUnavailable, Header, Receipt
from signing.chain.events import Scope
from signing.chain.price_feed import Rate
from signing.chain.redemptions import CLAIMED, PAID, REDEEMED
from signing.models import ChainEvent, Redemption, TreasuryTransaction
from signing.treasury import postings
from signing.treasury.holdings import Holdings
from signing.treasury.postings import value_floor

FUNDED = {"DepositFunded": postings.deposit, "ReserveFunded": postings.reserve}
WITHDRAWN = "Withdrawal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the network said of a stretch of final blocks that ends with `target`.

    `receipts` are those of transactions that may be ours, by hash; `balances_wei` the wallets' at `target`;
    `rate` the feed's answer at `target`, None when it gave none or an old one.
    """

    target: Header
    broker: str
    receipts: Mapping[str, Receipt]
    receipt_times: Mapping[int, datetime]
    balances_wei: Mapping[str, int]
    rate: Rate | None

    def price(self) -> int:
        """Nano-dollars per ETH, recorded as used. Raises ChainUnavailable when there is no rate."""
        if self.rate is None:
            raise ChainUnavailable("rate_stale", "the price feed has no fresh answer to book with")
        ledger.record_rate(
            feed_address=self.rate.feed_address,
            feed_round=self.rate.feed_round,
            nano_usd_per_eth=self.rate.nano_usd_per_eth,
            updated_at=self.rate.updated_at,
        )
        return self.rate.nano_usd_per_eth


def open_books(scope: Scope, facts: Facts, *, deposit_wei: int, reserve_wei: int) -> None:
    """What the sender and the wallets held at first sight, brought in as equity at the price of that moment."""
    held = {postings.deposit(scope.sender): deposit_wei, postings.reserve(scope.sender): reserve_wei}
    holdings = Holdings()
    for address, balance_wei in facts.balances_wei.items():
        # Another sender's books may have brought the same wallet in.
        held[postings.wallet(address)] = balance_wei - holdings.of(postings.wallet(address)).wei
    transfers = [
        transfer
        for account, wei in held.items()
        if wei > 0
        for transfer in postings.arrival(account, wei=wei, nano_usd_per_eth=facts.price())
    ]
    if transfers:
        ledger.book(
            kind="opening",
            reference=f"opening:{scope.chain_id}:{scope.sender}",
            occurred_at=facts.target.time,
            transfers=transfers,
            description=f"Held at block {facts.target.number}",
        )


class Booker:
    """Books one stretch inside one transaction that holds the indexer's lock."""

    def __init__(self, scope: Scope, facts: Facts) -> None:
        self._scope = scope
        self._facts = facts
        self._holdings = Holdings()
        self._booked: dict[str, int] = {}

    def book(self, rows: list[ChainEvent]) -> None:
        """Every row, in chain order, and the gas of our transactions; then each wallet equals the chain.

        What a wallet holds beyond the known movements came from outside before them, or left after them.
        """
        gas = [receipt for receipt in self._facts.receipts.values() if self._costs_us(receipt)]
        references = [self._reference(row) for row in rows] + [self._gas_reference(receipt) for receipt in gas]
        self._booked = dict(Journal.objects.filter(reference__in=references).values_list("reference", "pk"))
        unexplained = self._unexplained(rows, gas)
        for wallet, wei in unexplained.items():
            if wei > 0:
                self._book_difference(wallet, wei)
        self._book_events(rows)
        for receipt in gas:
            self._book_gas(receipt)
        for wallet, wei in unexplained.items():
            if wei < 0:
                self._book_difference(wallet, wei)

    def _unexplained(self, rows: list[ChainEvent], gas: list[Receipt]) -> dict[str, int]:
        """Wallet -> wei on the chain beyond the books and everything this pass is about to book."""
        differences = {
            wallet: balance - self._holdings.of(postings.wallet(wallet)).wei
            for wallet, balance in self._facts.balances_wei.items()
        }
        for row in rows:
            if self._reference(row) in self._booked:
                continue
            if row.name in FUNDED and (funder := self._own_funder(row)):
                differences[funder] += int(row.arguments["amount"])
            elif row.name == WITHDRAWN and row.sender in differences:
                differences[row.sender] -= int(row.arguments["deposit"]) + int(row.arguments["reserve"])
        for receipt in gas:
            if self._gas_reference(receipt) not in self._booked:
                differences[receipt.sender] += receipt.gas_cost_wei
        return differences

    def _book_events(self, rows: list[ChainEvent]) -> None:
        together: list[int] = []
        for row in rows:
            together.append(row.pk)
            if row.name in (CLAIMED, PAID):
                continue
            journal = self._book_event(row)
            ChainEvent.objects.filter(pk__in=together, booked_at=None).update(booked_at=Now(), journal=journal)
            together = []
        assert not together, "a payment of a ticket is followed by its redemption"

    def _book_event(self, row: ChainEvent) -> int | None:
        """The journal of an event that moved money, else None."""
        if row.name == REDEEMED:
            redemption = row.redemption
            description = f"Winning ticket {redemption.ticket_hash}"
            return self._book_row(row, "redemption", self._redemption(redemption), description, redemption.customer_id)
        if row.name in FUNDED:
            return self._book_row(row, "funding", self._funding(row), row.name)
        if row.name == WITHDRAWN:
            return self._book_row(row, "withdrawal", self._withdrawal(row), row.name)
        return None

    def _funding(self, row: ChainEvent) -> list[Transfer]:
        account, wei = FUNDED[row.name](row.sender), int(row.arguments["amount"])
        if not wei:
            return []
        funder = self._own_funder(row)
        if funder:
            return postings.move(self._holdings.part(postings.wallet(funder), wei), to=account)
        return postings.arrival(account, wei=wei, nano_usd_per_eth=self._facts.price())

    def _withdrawal(self, row: ChainEvent) -> list[Transfer]:
        parts = [
            self._holdings.part(postings.deposit(row.sender), int(row.arguments["deposit"])),
            self._holdings.part(postings.reserve(row.sender), int(row.arguments["reserve"])),
        ]
        home = postings.wallet(row.sender)
        return [transfer for part in parts for transfer in postings.move(part, to=home)]

    def _redemption(self, redemption: Redemption) -> list[Transfer]:
        if not redemption.paid_wei:
            return []
        from_deposit_wei = redemption.paid_wei - redemption.from_reserve_wei
        return postings.redemption(
            recipient=redemption.recipient,
            liability_nano_usd=value_floor(redemption.paid_wei, self._issue_price(redemption)),
            parts=[
                self._holdings.part(postings.deposit(redemption.sender), from_deposit_wei),
                self._holdings.part(postings.reserve(redemption.sender), redemption.from_reserve_wei),
            ],
        )

    def _issue_price(self, redemption: Redemption) -> int:
        """Nano-dollars per ETH when the ticket was signed; today's for a ticket we know nothing of."""
        payment = redemption.payment
        if payment is None:
            return self._facts.price()
        usage = Usage.objects.select_related("rate").get(customer_id=payment.customer_id, id=payment.usage_id)
        return usage.rate.nano_usd_per_eth

    def _book_gas(self, receipt: Receipt) -> None:
        part = self._holdings.part(postings.wallet(receipt.sender), receipt.gas_cost_wei)
        occurred_at = self._facts.receipt_times[receipt.block_number]
        description = f"Gas of {receipt.tx_hash}"
        journal = self._book("gas", self._gas_reference(receipt), occurred_at, postings.gas(part), description)
        TreasuryTransaction.objects.filter(tx_hash=receipt.tx_hash, gas_journal=None).update(gas_journal=journal)

    def _book_difference(self, wallet: str, wei: int) -> None:
        """Positive: ether came from outside. Negative: it left without a transaction we know."""
        account = postings.wallet(wallet)
        if wei > 0:
            kind = "wallet_arrival"
            transfers = postings.arrival(account, wei=wei, nano_usd_per_eth=self._facts.price())
        else:
            kind = "wallet_departure"
            transfers = postings.departure(self._holdings.part(account, -wei))
        target = self._facts.target
        reference = f"wallet:{self._scope.chain_id}:{wallet}:{target.number}"
        self._book(kind, reference, target.time, transfers, f"Balance at block {target.number}")

    def _book_row(
        self, row: ChainEvent, kind: str, transfers: list[Transfer], description: str, customer_id: int | None = None
    ) -> int | None:
        return self._book(kind, self._reference(row), row.block_time, transfers, description, customer_id)

    def _book(
        self,
        kind: str,
        reference: str,
        occurred_at: datetime,
        transfers: list[Transfer],
        description: str,
        customer_id: int | None = None,
    ) -> int | None:
        """The journal with this reference, new or old; None when nothing moved."""
        if reference in self._booked or not transfers:
            return self._booked.get(reference)
        journal = ledger.book(
            kind=kind,
            reference=reference,
            occurred_at=occurred_at,
            transfers=transfers,
            description=description,
            customer_id=customer_id,
        )
        if journal is not None:
            self._holdings.apply(transfers)
        return journal

    def _own_funder(self, row: ChainEvent) -> str:
        """The wallet of ours that called the broker itself, or nothing."""
        receipt = self._facts.receipts.get(row.tx_hash)
        if receipt is None or receipt.recipient != self._facts.broker:
            return ""
        return receipt.sender if receipt.sender in self._facts.balances_wei else ""

    def _costs_us(self, receipt: Receipt) -> bool:
        return (
            receipt.gas_cost_wei > 0
            and receipt.sender in self._facts.balances_wei
            and receipt.block_number in self._facts.receipt_times
        )

    def _reference(self, row: ChainEvent) -> str:
        return f"chain:{row.chain_id}:{row.tx_hash}:{row.log_index}"

    def _gas_reference(self, receipt: Receipt) -> str:
        return f"gas:{self._scope.chain_id}:{receipt.tx_hash}"
