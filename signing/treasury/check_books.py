"""What must hold between the books, the chain and the tickets: each invariant gives a number that must be 0."""

from dataclasses import dataclass

from django.db import connection, transaction

from signing.chain import ethereum
from signing.chain.ethereum import Chain
from signing.chain.events import Scope
from signing.chain.indexer import cursor_name, our_scopes
from signing.chain.view import read_funds
from signing.models import ChainCursor

# How many of the last booked blocks are looked up on the chain.
BLOCKS_LOOKED_UP = 20

QUERIES: dict[str, str] = {
    # Every event that moved ether has its journal; the three events of one redemption share one.
    "booked_events_without_journal": """
        SELECT count(*) FROM signing_chainevent e
        LEFT JOIN signing_redemption r ON r.event_id = e.id
        WHERE e.booked_at IS NOT NULL AND e.journal_id IS NULL AND (
            (e.name IN ('DepositFunded', 'ReserveFunded', 'ReserveClaimed', 'WinningTicketTransfer')
             AND e.arguments ->> 'amount' <> '0')
            OR e.name = 'Withdrawal' OR (e.name = 'WinningTicketRedeemed' AND r.paid_wei > 0))""",
    "final_events_not_booked": """
        SELECT count(*) FROM signing_chainevent e
        JOIN signing_chaincursor c ON c.name = 'booked:' || e.chain_id || ':' || e.sender
        WHERE e.booked_at IS NULL AND e.block_number <= c.block_number""",
    "redemption_events_without_ticket": """
        SELECT count(*) FROM signing_chainevent e WHERE e.name = 'WinningTicketRedeemed'
        AND NOT EXISTS (SELECT 1 FROM signing_redemption r WHERE r.event_id = e.id)""",
    "redemptions_of_tickets_never_issued": "SELECT count(*) FROM signing_redemption WHERE payment_id IS NULL",
    "redemptions_paid_differ_from_transfers_wei": """
        SELECT (SELECT coalesce(sum(paid_wei), 0) FROM signing_redemption)
             - (SELECT coalesce(sum((arguments ->> 'amount')::numeric), 0) FROM signing_chainevent
                WHERE name = 'WinningTicketTransfer')""",
    # A payment hands out exactly the expected value that was charged, one charge each.
    "payments_whose_value_differs_from_their_charge": """
        SELECT count(*) FROM signing_payment p
        JOIN billing_usage u ON u.customer_id = p.customer_id AND u.id = p.usage_id
        WHERE u.cost_wei <> div(p.tickets * p.face_value_wei * p.win_prob + (2::numeric ^ 256 - 2),
                                2::numeric ^ 256 - 1)
           OR u.counterparty <> p.recipient OR u.quantity <> p.tickets OR u.source <> p.session_id""",
    "payments_without_usage": """
        SELECT count(*) FROM signing_payment p WHERE NOT EXISTS (
            SELECT 1 FROM billing_usage u WHERE u.customer_id = p.customer_id AND u.id = p.usage_id)""",
    "usage_without_payment": """
        SELECT count(*) FROM billing_usage u WHERE u.unit = 'ticket' AND NOT EXISTS (
            SELECT 1 FROM signing_payment p WHERE p.customer_id = u.customer_id AND p.usage_id = u.id)""",
    "usage_with_several_payments": """
        SELECT count(*) FROM (SELECT 1 FROM signing_payment GROUP BY customer_id, usage_id HAVING count(*) > 1) x""",
    # Tickets are redeemed in their round and the next: those that are good together lie in rounds beside each other,
    # which share a pair of rounds, counted from an even or from an odd one.
    "sender_nonces_issued_twice": """
        SELECT count(DISTINCT id) FROM (
            SELECT id, first_nonce, max(first_nonce + tickets - 1) OVER (
                PARTITION BY sender, recipient_rand_hash, shift, (creation_round - shift) >> 1 ORDER BY first_nonce, id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_before
            FROM signing_payment CROSS JOIN (VALUES (0), (1)) AS pairs (shift)
        ) x WHERE first_nonce <= last_before""",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Booked:
    """The books' ether accounts, read together with the block they were booked up to."""

    block_number: int
    block_hash: str
    wei: dict[tuple[int, str], int]


def invariants() -> dict[str, int]:
    """Name and figure of every invariant. Raises ChainUnavailable when books exist that cannot be compared."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        figures = {}
        for name, query in QUERIES.items():
            cursor.execute(query)
            (figure,) = cursor.fetchone()
            figures[name] = int(figure or 0)
    return {**figures, **chain_invariants()}


def chain_invariants() -> dict[str, int]:
    """Deposit, reserve and wallets against the chain at the last booked block, in wei. Raises ChainUnavailable."""
    names = ("deposit_differs_from_chain_wei", "reserve_differs_from_chain_wei", "wallets_differ_from_chain_wei")
    if not _anything_booked():
        return dict.fromkeys((*names, "booked_blocks_not_on_chain"), 0)
    chain = ethereum.connect()
    try:
        figures = dict.fromkeys((*names, "booked_blocks_not_on_chain"), 0)
        opened = [(scope, booked) for scope in our_scopes(chain) if (booked := _booked(scope)) is not None]
        for scope, booked in opened:
            deposit_wei, reserve_wei = _differences(chain, scope, booked)
            figures["deposit_differs_from_chain_wei"] += deposit_wei
            figures["reserve_differs_from_chain_wei"] += reserve_wei
            figures["booked_blocks_not_on_chain"] += _vanished(chain, scope, booked)
        # All senders' books stand at one block, and every wallet is in them once.
        for scope, booked in opened[:1]:
            figures["wallets_differ_from_chain_wei"] = _wallets_differ(chain, scope, booked)
        return figures
    finally:
        chain.close()


def _differences(chain: Chain, scope: Scope, booked: _Booked) -> tuple[int, int]:
    funds = read_funds(chain, scope.sender, block=booked.block_number)
    return (
        abs(booked.wei.get((1310, scope.sender), 0) - funds.deposit_wei),
        abs(booked.wei.get((1320, scope.sender), 0) - funds.reserve_wei),
    )


def _wallets_differ(chain: Chain, scope: Scope, booked: _Booked) -> int:
    wallets = {party for number, party in booked.wei if number == 1300} | set(scope.wallets)
    return sum(
        abs(booked.wei.get((1300, wallet), 0) - chain.balance(wallet, block=booked.block_number)) for wallet in wallets
    )


def _vanished(chain: Chain, scope: Scope, booked: _Booked) -> int:
    last = scope.events().exclude(booked_at=None).order_by("-block_number")
    blocks = {(row.block_number, row.block_hash) for row in last.only("block_number", "block_hash")[:BLOCKS_LOOKED_UP]}
    blocks.add((booked.block_number, booked.block_hash))
    return sum(chain.header(number).hash != block_hash for number, block_hash in blocks)


def _anything_booked() -> bool:
    return ChainCursor.objects.filter(name__startswith="booked:").exists()


def _booked(scope: Scope) -> _Booked | None:
    """One statement, so that cursor and accounts are of the same moment while an indexer runs."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.block_number, c.block_hash, b.number, b.party, b.balance FROM signing_chaincursor c"
            " LEFT JOIN billing_account_balance b ON b.asset = 'ETH' AND b.number IN (1300, 1310, 1320)"
            " WHERE c.name = %s",
            [cursor_name("booked", scope)],
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    wei = {(number, party): int(balance) for _, _, number, party, balance in rows if number is not None}
    return _Booked(block_number=rows[0][0], block_hash=rows[0][1], wei=wei)
