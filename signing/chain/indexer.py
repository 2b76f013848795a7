"""Follows the broker's events of our sender: provisional rows up to the newest block, books up to the final one.

Each pass reads the network first and then writes in one transaction, under the lock of one cursor row. A pass
that finds the cursor moved meanwhile gives up: somebody else did the work.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import LedgerAccount
from billing.postings import TREASURY_WALLET
from signing.chain import events, price_feed, snapshots
from signing.chain.bookings import Booker, Facts, open_books
from signing.chain.ethereum import Chain, ChainUnavailable, Header, Log, Receipt
from signing.chain.events import Scope
from signing.chain.price_feed import Rate
from signing.chain.view import read_funds
from signing.models import ChainCursor, TreasuryTransaction

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
    """One pass for the sender of the settings. Raises ChainUnavailable, BooksAheadOfChain, UnexpectedEvents."""
    scope = our_scope(chain)
    opened = _open(chain, scope)
    return Outcome(
        opened=opened,
        settled_to_block=_settle(chain, scope),
        previewed_to_block=_preview(chain, scope),
        snapshot=snapshots.take(chain, scope),
    )


def our_scope(chain: Chain) -> Scope:
    """The sender of the settings and every wallet the books know. Raises ChainUnavailable without a sender."""
    if not settings.SENDER_ADDRESS:
        raise ChainUnavailable("sender_not_configured", "SENDER_ADDRESS is not set")
    sender = settings.SENDER_ADDRESS.lower()
    booked = LedgerAccount.objects.filter(number=TREASURY_WALLET, asset="ETH").values_list("party", flat=True)
    wallets = {sender, settings.TREASURY_ADDRESS.lower(), *booked} - {""}
    return Scope(chain_id=chain.chain_id(), sender=sender, wallets=tuple(sorted(wallets)))


def cursor_name(purpose: str, scope: Scope) -> str:
    """`opening`, `booked` and `latest` are kept for each sender."""
    return f"{purpose}:{scope.chain_id}:{scope.sender}"


def _open(chain: Chain, scope: Scope) -> bool:
    """The opening balances, at the first final block anybody looks at; whatever came before is inside them."""
    if ChainCursor.objects.filter(name=cursor_name("booked", scope)).exists():
        return False
    target = chain.header(settings.FINALITY_TAG)
    funds = read_funds(chain, scope.sender, block=target.number)
    facts = _facts(chain, scope, target, receipts={})
    _require_unchanged(chain, target)
    place = {"block_number": target.number, "block_hash": target.hash}
    with transaction.atomic():
        _, is_ours = ChainCursor.objects.get_or_create(name=cursor_name("booked", scope), defaults=place)
        if not is_ours:
            return False
        ChainCursor.objects.create(name=cursor_name("opening", scope), **place)
        ChainCursor.objects.create(name=cursor_name("latest", scope), **place)
        open_books(scope, facts, deposit_wei=funds.deposit_wei, reserve_wei=funds.reserve_wei)
    log.info("opened the books of %s at block %d", scope.sender, target.number)
    return True


def _settle(chain: Chain, scope: Scope) -> int:
    """Books everything up to the finality tag; the block it reached, or 0 when there was nothing new."""
    cursor = ChainCursor.objects.get(name=cursor_name("booked", scope))
    target = chain.header(settings.FINALITY_TAG)
    if target.number < cursor.block_number or target.hash == cursor.block_hash:
        return 0
    start = _last_sure_block(chain, scope, cursor)
    logs, times = _read(chain, scope, first_block=start + 1, target=target)
    facts = _facts(chain, scope, target, receipts=_our_receipts(chain, scope, logs, target))
    _require_unchanged(chain, target)
    with transaction.atomic():
        if not _is_still(cursor):
            return 0
        events.replace(scope, logs, times, after_block=start, last_block=target.number)
        rows = scope.events().filter(booked_at=None, block_number__lte=target.number)
        rows = rows.select_related("redemption__payment").order_by("block_number", "log_index")
        Booker(scope, facts).book(list(rows))
        _move(cursor, target)
    return target.number


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


def _our_receipts(chain: Chain, scope: Scope, logs: list[Log], target: Header) -> dict[str, Receipt]:
    """Of the treasury's transactions whose gas is not booked, and of those that fund, unlock or withdraw.

    Raises ChainUnavailable when an endpoint has a transaction's events but not its receipt: without it, a funding
    of our own would be booked as somebody else's.
    """
    opening = ChainCursor.objects.get(name=cursor_name("opening", scope)).block_number
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
