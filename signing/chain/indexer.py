"""Follows the broker's events of our senders: provisional rows up to the newest block, books up to the final one.

Each pass reads the network first and then writes in one transaction, under the locks of its cursor rows. A pass
that finds a cursor moved meanwhile gives up: somebody else did the work. All senders are booked together up to one
block, because money moves between wallets and senders of ours.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import LedgerAccount
from billing.postings import TREASURY_WALLET
from signing.chain import events, price_feed, snapshots
from signing.chain.answers import ChainUnavailable, Header, Log, Receipt
from signing.chain.bookings import Booker, Facts, open_books
from signing.chain.ethereum import Chain
from signing.chain.events import Scope
from signing.chain.price_feed import Rate
from signing.chain.view import read_funds
from signing.models import ChainCursor, ChainEvent, TreasuryTransaction
from signing.sender_keys import followed

log = logging.getLogger(__name__)

# Whoever caused these may have paid their gas with our ether; a redemption's gas is its redeemer's.
_MAYBE_OURS = {"DepositFunded", "ReserveFunded", "Unlock", "UnlockCancelled", "Withdrawal"}


class BooksAheadOfChain(Exception):
    """A booked event is no longer on the chain: it was reorganised deeper than finality. Nothing more is booked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one pass did, for logs and tests; False and 0 where there was nothing to do."""

    opened: bool = False
    settled_to_block: int = 0
    previewed_to_block: int = 0
    snapshot: bool = False


def index(chain: Chain) -> Outcome:
    """One pass for every sender of ours. Raises ChainUnavailable, BooksAheadOfChain, UnexpectedEvents."""
    scopes = our_scopes(chain)
    settled = _settle(chain, [scope for scope in scopes if is_open(scope)])
    opened = [_open(chain, scope) for scope in scopes if not is_open(scope)]
    if opened:
        scopes = [scope for scope in our_scopes(chain) if is_open(scope)]
    previewed = [_preview(chain, scope) for scope in scopes]
    taken = [snapshots.take(chain, scope) for scope in scopes]
    return Outcome(
        opened=any(opened),
        settled_to_block=settled,
        previewed_to_block=max(previewed, default=0),
        snapshot=any(taken),
    )


def our_scopes(chain: Chain) -> list[Scope]:
    """Each sender of ours, the configured one first, with every wallet the books know. Raises ChainUnavailable.

    A sender's own wallet is known once its books are open.
    """
    if not settings.SENDER_ADDRESS:
        raise ChainUnavailable("sender_not_configured", "SENDER_ADDRESS is not set")
    chain_id = chain.chain_id()
    senders = tuple(followed(chain_id))
    booked = LedgerAccount.objects.filter(number=TREASURY_WALLET, asset="ETH").values_list("party", flat=True)
    opened = [sender for sender in senders if _has_cursor(f"booked:{chain_id}:{sender}")]
    wallets = {settings.TREASURY_ADDRESS.lower(), *opened, *booked} - {""}
    return [
        Scope(chain_id=chain_id, sender=sender, senders=senders, wallets=tuple(sorted(wallets | {sender})))
        for sender in senders
    ]


def is_open(scope: Scope) -> bool:
    """Whether the opening balances of this sender are booked."""
    return _has_cursor(cursor_name("booked", scope))


def _has_cursor(name: str) -> bool:
    return ChainCursor.objects.filter(name=name).exists()


def cursor_name(purpose: str, scope: Scope) -> str:
    """`opening`, `booked` and `latest` are kept for each sender."""
    return f"{purpose}:{scope.chain_id}:{scope.sender}"


def _open(chain: Chain, scope: Scope) -> bool:
    """The opening balances; whatever came before is inside them.

    The first sender's at the first final block anybody looks at; a later one's at the block where the books stand:
    money that reached it from a wallet of ours before that has left that wallet in the books.
    """
    standing = ChainCursor.objects.filter(name__startswith=f"booked:{scope.chain_id}:").order_by("name").first()
    target = chain.header(standing.block_number if standing else settings.FINALITY_TAG)
    if standing and target.hash != standing.block_hash:
        return False
    funds = read_funds(chain, scope.sender, block=target.number)
    facts = _facts(chain, scope, target, receipts={})
    _require_unchanged(chain, target)
    place = {"block_number": target.number, "block_hash": target.hash}
    with transaction.atomic():
        if standing and not _is_still(standing):
            return False
        _, is_ours = ChainCursor.objects.get_or_create(name=cursor_name("booked", scope), defaults=place)
        if not is_ours:
            return False
        ChainCursor.objects.create(name=cursor_name("opening", scope), **place)
        ChainCursor.objects.create(name=cursor_name("latest", scope), **place)
        open_books(scope, facts, deposit_wei=funds.deposit_wei, reserve_wei=funds.reserve_wei)
    log.info("opened the books of %s at block %d", scope.sender, target.number)
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stretch:
    """What one sender's books have not seen yet."""

    scope: Scope
    cursor: ChainCursor
    start: int
    logs: list[Log]
    times: dict[str, datetime]


def _settle(chain: Chain, scopes: Sequence[Scope]) -> int:
    """Books everything up to the finality tag; the block it reached, or 0 when there was nothing new."""
    cursors = [ChainCursor.objects.get(name=cursor_name("booked", scope)) for scope in scopes]
    target = chain.header(settings.FINALITY_TAG)
    if any(target.number < cursor.block_number for cursor in cursors):
        return 0
    if all(target.hash == cursor.block_hash for cursor in cursors):
        return 0
    stretches = [_stretch(chain, scope, cursor, target) for scope, cursor in zip(scopes, cursors, strict=True)]
    logs = [entry for stretch in stretches for entry in stretch.logs]
    facts = _facts(chain, scopes[0], target, receipts=_our_receipts(chain, scopes, logs, target))
    _require_unchanged(chain, target)
    with transaction.atomic():
        # In one order by everybody.
        for cursor in sorted(cursors, key=lambda cursor: cursor.pk):
            if not _is_still(cursor):
                return 0
        rows: list[ChainEvent] = []
        for each in stretches:
            events.replace(each.scope, each.logs, each.times, after_block=each.start, last_block=target.number)
            unbooked = each.scope.events().filter(booked_at=None, block_number__lte=target.number)
            rows += unbooked.select_related("redemption__payment")
        Booker(scopes[0], facts).book(sorted(rows, key=lambda row: (row.block_number, row.log_index)))
        for cursor in cursors:
            _move(cursor, target)
    return target.number


def _stretch(chain: Chain, scope: Scope, cursor: ChainCursor, target: Header) -> _Stretch:
    start = _last_sure_block(chain, scope, cursor)
    logs, times = _read(chain, scope, first_block=start + 1, target=target)
    return _Stretch(scope=scope, cursor=cursor, start=start, logs=logs, times=times)


def _preview(chain: Chain, scope: Scope) -> int:
    """Shows what the newest blocks hold, unbooked; the block it reached, or 0 when there was nothing new."""
    booked = ChainCursor.objects.get(name=cursor_name("booked", scope))
    latest = ChainCursor.objects.get(name=cursor_name("latest", scope))
    head = chain.header("latest")
    if head.number < max(booked.block_number, latest.block_number) or head.hash == latest.block_hash:
        return 0
    is_ahead = latest.block_number >= booked.block_number
    goes_on = is_ahead and chain.header(latest.block_number).hash == latest.block_hash
    start = latest.block_number if goes_on else booked.block_number
    logs, times = _read(chain, scope, first_block=start + 1, target=head)
    _require_unchanged(chain, head)
    with transaction.atomic():
        floor = max(start, ChainCursor.objects.select_for_update().get(pk=booked.pk).block_number)
        if not _is_still(latest):
            return 0
        logs = [entry for entry in logs if entry.block_number > floor]
        events.replace(scope, logs, times, after_block=floor, last_block=None)
        _move(latest, head)
    return head.number


def _last_sure_block(chain: Chain, scope: Scope, cursor: ChainCursor) -> int:
    """Where reading goes on: behind the cursor, or where its block was replaced, behind the last thing booked.

    Reading a stretch again books nothing twice. Raises BooksAheadOfChain.
    """
    if _is_on_chain(chain, cursor.block_number, cursor.block_hash):
        return cursor.block_number
    booked = scope.events().exclude(booked_at=None).order_by("-block_number", "-log_index").first()
    opening = ChainCursor.objects.get(name=cursor_name("opening", scope))
    last = booked or opening
    if not _is_on_chain(chain, last.block_number, last.block_hash):
        raise BooksAheadOfChain(f"block {last.block_number} was booked and is gone")
    log.warning("block %d was final and is gone; reading again from %d", cursor.block_number, last.block_number)
    return last.block_number


def _is_on_chain(chain: Chain, number: int, block_hash: str) -> bool:
    return chain.header(number).hash == block_hash


def _read(chain: Chain, scope: Scope, *, first_block: int, target: Header) -> tuple[list[Log], dict[str, datetime]]:
    page = settings.LOG_PAGE_BLOCKS
    logs = events.read_logs(chain, scope, first_block=first_block, last_block=target.number, page=page)
    return logs, events.read_times(chain, logs)


def _facts(chain: Chain, scope: Scope, target: Header, *, receipts: dict[str, Receipt]) -> Facts:
    blocks = {receipt.block_number for receipt in receipts.values()}
    return Facts(
        target=target,
        broker=chain.address_of("TicketBroker").lower(),
        receipts=receipts,
        receipt_times={number: chain.header(number).time for number in blocks},
        balances_wei={wallet: chain.balance(wallet, block=target.number) for wallet in scope.wallets},
        rate=_rate(chain, target),
    )


def _rate(chain: Chain, target: Header) -> Rate | None:
    """None when the feed gave none, or one too old to book with; few passes need one."""
    try:
        rate = price_feed.read_rate(chain, settings.ETH_USD_FEED_ADDRESS, block=target.number)
        price_feed.check_age(rate, at=target.time, max_age_seconds=settings.ETH_USD_MAX_AGE_SECONDS)
    except ChainUnavailable:
        return None
    return rate


def _our_receipts(chain: Chain, scopes: Sequence[Scope], logs: list[Log], target: Header) -> dict[str, Receipt]:
    """Of the treasury's transactions whose gas is not booked, and of those that fund, unlock or withdraw.

    Raises ChainUnavailable when an endpoint has a transaction's events but not its receipt: without it, a funding
    of our own would be booked as somebody else's.
    """
    openings = ChainCursor.objects.filter(name__in=[cursor_name("opening", scope) for scope in scopes])
    # The wallets came into the books with the first sender.
    opening = min(cursor.block_number for cursor in openings)
    unbooked = TreasuryTransaction.objects.exclude(tx_hash="").filter(
        Q(block_number=None) & ~Q(status=TreasuryTransaction.Status.FAILED) | Q(block_number__gt=opening),
        gas_journal=None,
    )
    mined = {entry.tx_hash for entry in logs if entry.name in _MAYBE_OURS}
    hashes = mined | set(unbooked.values_list("tx_hash", flat=True))
    receipts = {tx_hash: chain.receipt(tx_hash) for tx_hash in sorted(hashes)}
    if any(receipts[tx_hash] is None for tx_hash in mined):
        raise ChainUnavailable("receipt_missing", "an endpoint has no receipt of a transaction that is final")
    return {
        tx_hash: receipt
        for tx_hash, receipt in receipts.items()
        if receipt is not None and opening < receipt.block_number <= target.number
    }


def _require_unchanged(chain: Chain, target: Header) -> None:
    if not _is_on_chain(chain, target.number, target.hash):
        raise ChainUnavailable("reorganised", f"block {target.number} was replaced while it was read")


def _is_still(cursor: ChainCursor) -> bool:
    """Locks the cursor's row; whether it stands where it stood when the pass began."""
    now = ChainCursor.objects.select_for_update().get(pk=cursor.pk)
    return (now.block_number, now.block_hash) == (cursor.block_number, cursor.block_hash)


def _move(cursor: ChainCursor, target: Header) -> None:
    ChainCursor.objects.filter(pk=cursor.pk).update(
        block_number=target.number, block_hash=target.hash, updated_at=Now()
    )
