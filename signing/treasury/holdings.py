"""The ether accounts as they stand while one pass books: read once from the books, then kept in step."""

from collections.abc import Iterable

from django.db.models import Sum

from billing.models import Transfer as TransferRow
from billing.postings import Account, Transfer
from signing.treasury import postings
from signing.treasury.postings import Holding, Part


class Holdings:
    """Ask and apply inside one transaction that holds the indexer's lock, or the figures may be old."""

    def __init__(self) -> None:
        self._held: dict[Account, Holding] = {}

    def of(self, account: Account) -> Holding:
        if account not in self._held:
            self._held[account] = _read(account)
        return self._held[account]

    def part(self, account: Account, wei: int) -> Part:
        """Some ether of an account with its share of the cost."""
        return Part(account=account, wei=wei, cost_nano_usd=postings.share_floor(self.of(account), wei))

    def apply(self, transfers: Iterable[Transfer]) -> None:
        """What was just booked."""
        for transfer in transfers:
            self._change(transfer.debit, transfer, +1)
            self._change(transfer.credit, transfer, -1)

    def _change(self, account: Account, transfer: Transfer, sign: int) -> None:
        held = self._held.get(account)
        if held is None:
            return
        is_eth = transfer.asset == "ETH"
        self._held[account] = Holding(
            wei=held.wei + sign * transfer.amount * is_eth,
            nano_usd=held.nano_usd + sign * transfer.amount * (not is_eth),
        )


def _read(account: Account) -> Holding:
    debits = TransferRow.objects.filter(debit__number=account.number, debit__party=account.party)
    credits = TransferRow.objects.filter(credit__number=account.number, credit__party=account.party)
    sums = {"wei": Sum("amount_wei"), "nano_usd": Sum("amount_nano_usd")}
    came, went = debits.aggregate(**sums), credits.aggregate(**sums)
    return Holding(
        wei=int(came["wei"] or 0) - int(went["wei"] or 0),
        nano_usd=int(came["nano_usd"] or 0) - int(went["nano_usd"] or 0),
    )
