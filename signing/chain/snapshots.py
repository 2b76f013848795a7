"""A row every few seconds of how the sender stands on the chain, for pages and forecasts; old ones go."""

from datetime import timedelta

from django.db.models.functions import Now

from signing.chain.ethereum import Chain
from signing.chain.events import Scope
from signing.chain.view import read_funds
from signing.models import ChainSnapshot

EVERY = timedelta(seconds=15)
KEPT = timedelta(days=7)


def take(chain: Chain, scope: Scope) -> bool:
    """One snapshot at the newest block, unless the last is young. Raises ChainUnavailable."""
    if ChainSnapshot.objects.filter(sender=scope.sender, read_at__gt=Now() - EVERY).exists():
        return False
    head = chain.header("latest")
    block = head.number
    funds = read_funds(chain, scope.sender, block=block)
    balances = {wallet: chain.balance(wallet, block=block) for wallet in scope.wallets}
    ChainSnapshot.objects.create(
        sender=scope.sender,
        block_number=block,
        l1_block_number=head.l1_number,
        deposit_wei=funds.deposit_wei,
        reserve_wei=funds.reserve_wei,
        withdraw_round=funds.withdraw_round,
        current_round=chain.call("RoundsManager", "currentRound", block=block),
        last_initialized_round=chain.call("RoundsManager", "lastInitializedRound", block=block),
        pool_size=chain.call("BondingManager", "getTranscoderPoolSize", block=block),
        treasury_wei=sum(balance for wallet, balance in balances.items() if wallet not in scope.senders),
        sender_wei=balances[scope.sender],
    )
    ChainSnapshot.objects.filter(read_at__lt=Now() - KEPT).delete()
    return True
