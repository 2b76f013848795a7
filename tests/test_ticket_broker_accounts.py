"""The TicketBroker's promises about a sender's account: each recipient's share of the reserve, unlock, withdrawal.

Runs against a sandbox chain or the deployment that test_ticket_broker_checks.py tells how to name.
"""

from collections.abc import Iterator

import pytest

from sandbox.chain.client import ETHER_WEI
from tests.broker_stage import BrokerStage, broker_stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerStage]:
    with broker_stage(tmp_path_factory.mktemp("chain")) as ready:
        yield ready


# The reserve and each recipient's limit


def test_a_recipient_may_draw_its_share_of_the_reserve_once_a_round(stage: BrokerStage) -> None:
    members = stage.bonding.functions.getTranscoderPoolSize().call()
    sender = stage.sender(reserve_wei=1_000 * members + members - 1)
    assert stage.claimable_wei(sender) == 1_000
    receipt = stage.redeem(stage.ticket(sender, nonce=1, face_value_wei=1_500))
    assert stage.amounts(receipt, "WinningTicketTransfer") == [1_000]
    assert stage.claimable_wei(sender) == 0
    assert stage.broker.functions.claimedReserve(sender.address, stage.orchestrator).call() == 1_000
    left = 1_000 * members + members - 1 - 1_000
    assert stage.sender_info(sender) == ((0, 0), (left, 1_000))

    burnt = stage.redeem(stage.ticket(sender, nonce=2, face_value_wei=1))
    assert stage.amounts(burnt, "WinningTicketTransfer") == []

    stage.next_round()
    assert stage.sender_info(sender) == ((0, 0), (left, 0))
    assert stage.claimable_wei(sender) == left // members


def test_the_share_is_counted_on_what_was_there_before_the_claims_of_the_round(stage: BrokerStage) -> None:
    members = stage.bonding.functions.getTranscoderPoolSize().call()
    sender = stage.sender(reserve_wei=1_000 * members)
    stage.redeem(stage.ticket(sender, face_value_wei=300))
    assert stage.claimable_wei(sender) == 700


def test_a_top_up_in_mid_round_raises_the_share_at_once(stage: BrokerStage) -> None:
    members = stage.bonding.functions.getTranscoderPoolSize().call()
    sender = stage.sender(reserve_wei=1_000 * members)
    stage.redeem(stage.ticket(sender, face_value_wei=1_000))
    stage.transact(sender, stage.broker.functions.fundReserve(), value_wei=10 * members)
    assert stage.claimable_wei(sender) == 10


def test_an_inactive_recipient_has_no_share(stage: BrokerStage) -> None:
    sender = stage.sender(reserve_wei=1_000)
    assert stage.broker.functions.claimableReserve(sender.address, stage.account().address).call() == 0


def test_the_claims_of_a_round_are_forgotten_when_the_number_moves_initialised_or_not(stage: BrokerStage) -> None:
    sender = stage.sender(reserve_wei=1_000)
    stage.redeem(stage.ticket(sender, face_value_wei=7))
    assert stage.broker.functions.getReserveInfo(sender.address).call() == (993, 7)
    with stage.nobody_initialises_rounds():
        stage.mine_to_next_round()
        assert stage.broker.functions.getReserveInfo(sender.address).call() == (993, 0)
        stage.transact(stage.funder, stage.rounds.functions.initializeRound())


# Unlock and withdrawal


def test_unlocking_needs_money_and_starts_once(stage: BrokerStage) -> None:
    broke = stage.account(with_wei=ETHER_WEI)
    unlock = stage.broker.functions.unlock()
    assert "sender deposit and reserve are zero" in stage.refusal(unlock, sender=broke.address)
    sender = stage.sender(deposit_wei=1)
    receipt = stage.transact(sender, unlock)
    current = stage.rounds.functions.currentRound().call()
    end = current + stage.broker.functions.unlockPeriod().call()
    unlocking = {"sender": sender.address, "startRound": current, "endRound": end}
    assert stage.events(receipt) == [("Unlock", unlocking)]
    assert stage.sender_info(sender) == ((1, end), (0, 0))
    assert "unlock already initiated" in stage.refusal(unlock, sender=sender.address)


def test_an_unlock_can_be_taken_back_before_and_after_its_end(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=1)
    cancel = stage.broker.functions.cancelUnlock()
    assert "no unlock request in progress" in stage.refusal(cancel, sender=sender.address)
    for rounds in (0, stage.broker.functions.unlockPeriod().call()):
        stage.transact(sender, stage.broker.functions.unlock())
        for _ in range(rounds):
            stage.next_round()
        assert stage.events(stage.transact(sender, cancel)) == [("UnlockCancelled", {"sender": sender.address})]
        assert stage.sender_info(sender)[0] == (1, 0)


def test_withdrawing_names_what_is_missing_in_order(stage: BrokerStage) -> None:
    withdraw = stage.broker.functions.withdraw()
    broke = stage.account(with_wei=ETHER_WEI)
    assert "sender deposit and reserve are zero" in stage.refusal(withdraw, sender=broke.address)
    sender = stage.sender(reserve_wei=1)
    assert "no unlock request in progress" in stage.refusal(withdraw, sender=sender.address)
    stage.transact(sender, stage.broker.functions.unlock())
    assert "account is locked" in stage.refusal(withdraw, sender=sender.address)


def test_a_withdrawal_pays_everything_to_the_sender_and_leaves_it_unlocking(stage: BrokerStage) -> None:
    """Works in a round nobody initialised, too. Afterwards only the sender itself can make the account usable."""
    sender = stage.sender(deposit_wei=30, reserve_wei=12)
    stage.transact(sender, stage.broker.functions.unlock())
    stage.next_round()
    with stage.nobody_initialises_rounds():
        stage.mine_to_next_round()
        before_wei, purse_wei = stage.w3.eth.get_balance(sender.address), stage.purse_wei()
        receipt = stage.transact(sender, stage.broker.functions.withdraw())
        stage.transact(stage.funder, stage.rounds.functions.initializeRound())
    cost_wei = receipt["gasUsed"] * receipt["effectiveGasPrice"]
    assert stage.events(receipt) == [("Withdrawal", {"sender": sender.address, "deposit": 30, "reserve": 12})]
    assert stage.w3.eth.get_balance(sender.address) == before_wei + 42 - cost_wei
    assert stage.purse_wei() == purse_wei - 42
    (deposit_wei, withdraw_round), reserve = stage.sender_info(sender)
    assert (deposit_wei, reserve) == (0, (0, 0))
    assert withdraw_round > 0

    stage.transact(stage.funder, stage.broker.functions.fundDepositAndReserveFor(sender.address, 10, 0), value_wei=10)
    unlock = stage.broker.functions.unlock()
    assert "unlock already initiated" in stage.refusal(unlock, sender=sender.address)
    assert "sender is unlocked" in stage.refusal(stage.redeem_call(stage.ticket(sender)))
    stage.transact(sender, stage.broker.functions.fundDeposit())
    stage.redeem(stage.ticket(sender, face_value_wei=1))
