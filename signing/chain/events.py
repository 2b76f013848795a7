"""The event rows of one sender: what was read from the chain, replacing whatever a reorganisation took away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from signing.chain.answers import ChainUnavailable, Log
from signing.chain.ethereum import Chain
from signing.chain.redemptions import issued_payment, redeemed_tickets
from signing.models import ChainEvent, Redemption

NAMES = (
    "DepositFunded",
    "ReserveFunded",
    "ReserveClaimed",
    "WinningTicketTransfer",
    "WinningTicketRedeemed",
    "Unlock",
    "UnlockCancelled",
    "Withdrawal",
)
_LARGEST_BIGINT = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Whose events: one sender on one chain.

    `wallets` are the addresses whose keys are ours, `senders` all that sign tickets for us, lower-case.
    """

    chain_id: int
    sender: str
    wallets: tuple[str, ...]
    senders: tuple[str, ...]

    def events(self) -> QuerySet[ChainEvent]:
        return ChainEvent.objects.filter(chain_id=self.chain_id, sender=self.sender)


def read_logs(chain: Chain, scope: Scope, *, first_block: int, last_block: int, page: int) -> list[Log]:
    """Every event of the broker that concerns the sender. Raises ChainUnavailable."""
    return chain.logs(
        "TicketBroker", NAMES, party=scope.sender, first_block=first_block, last_block=last_block, page=page
    )


def read_times(chain: Chain, logs: Sequence[Log]) -> dict[str, datetime]:
    """Block hash -> time, asking the chain only for blocks no row tells of.

    Raises ChainUnavailable when a block was replaced since its logs were read.
    """
    hashes = {log.block_hash: log.block_number for log in logs}
    known = ChainEvent.objects.filter(block_hash__in=hashes).values_list("block_hash", "block_time")
    times = dict(known.distinct())
    for block_hash, number in hashes.items():
        if block_hash not in times:
            header = chain.header(number)
            if header.hash != block_hash:
                raise ChainUnavailable("reorganised", f"block {number} was replaced while it was read")
            times[block_hash] = header.time
    return times


def replace(
    scope: Scope, logs: Sequence[Log], times: Mapping[str, datetime], *, after_block: int, last_block: int | None
) -> None:
    """Makes the unbooked rows behind `after_block` (up to `last_block`) exactly these; booked rows stay.

    Called inside a transaction that holds the indexer's lock. Raises UnexpectedEvents.
    """
    wanted = {(*_key(log), log.block_hash) for log in logs}
    here = Q(block_number__gt=after_block)
    if last_block is not None:
        here &= Q(block_number__lte=last_block)
    # A transaction that was mined again in another block has one row, wherever that stood.
    again = Q(tx_hash__in={log.tx_hash for log in logs})
    unbooked = scope.events().filter(here | again, booked_at=None)
    vanished = [row.pk for row in unbooked if (row.tx_hash, row.log_index, row.block_hash) not in wanted]
    ChainEvent.objects.filter(pk__in=vanished).delete()
    present = set(scope.events().filter(again).values_list("tx_hash", "log_index"))
    _insert(scope, [log for log in logs if _key(log) not in present], logs, times)


def _insert(scope: Scope, new: Sequence[Log], logs: Sequence[Log], times: Mapping[str, datetime]) -> None:
    if not new:
        return
    rows = ChainEvent.objects.bulk_create(
        (
            ChainEvent(
                chain_id=scope.chain_id,
                block_number=log.block_number,
                block_hash=log.block_hash,
                block_time=times[log.block_hash],
                tx_hash=log.tx_hash,
                log_index=log.log_index,
                sender=scope.sender,
                name=log.name,
                arguments={name: str(value) for name, value in log.arguments.items()},
            )
            for log in new
        ),
        batch_size=1_000,
    )
    by_key = {(row.tx_hash, row.log_index): row for row in rows}
    tickets = [ticket for ticket in redeemed_tickets(logs) if _key(ticket.log) in by_key]
    hashes = ["0x" + ticket.ticket_hash.hex() for ticket in tickets]
    # A ticket is redeemed once: another unbooked row of it is of a block that is gone.
    ChainEvent.objects.filter(redemption__ticket_hash__in=hashes, booked_at=None).delete()
    for ticket in tickets:
        payment = issued_payment(ticket)
        Redemption.objects.create(
            event=by_key[_key(ticket.log)],
            ticket_hash="0x" + ticket.ticket_hash.hex(),
            sender=ticket.sender,
            recipient=ticket.recipient,
            face_value_wei=ticket.face_value_wei,
            paid_wei=ticket.paid_wei,
            from_reserve_wei=ticket.from_reserve_wei,
            payment=payment,
            customer_id=None if payment is None else payment.customer_id,
            sender_nonce=min(ticket.sender_nonce, _LARGEST_BIGINT),
        )


def _key(log: Log) -> tuple[str, int]:
    return log.tx_hash, log.log_index
