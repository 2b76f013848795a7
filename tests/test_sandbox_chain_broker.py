"""The sandbox protocol's rarer days, which its owner brings about: pauses, zero hashes, a growing pool, new rules."""

import re
from collections.abc import Iterator

import pytest

from sandbox.chain.client import ETHER_WEI, SandboxChain
from tests.broker_stage import BrokerStage, SignedTicket, sandbox_stage

PARAMETER_UPDATE_TOPIC = "0x9f5033568d78ae30f29f01e944f97b2216493bd19d1b46d429673acff3dcd674"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerStage]:
    with sandbox_stage(tmp_path_factory.mktemp("chain")) as ready:
        yield ready


@pytest.fixture
def chain(stage: BrokerStage) -> SandboxChain:
    assert stage.sandbox is not None
    return stage.sandbox


# Pause


def test_a_pause_stops_every_change_and_no_view(stage: BrokerStage, chain: SandboxChain) -> None:
    sender = stage.sender(deposit_wei=10, reserve_wei=10)
    signed = stage.ticket(sender)
    with stage.nobody_initialises_rounds():
        stage.mine_to_next_round()
        chain.send("deployer", "Controller", "pause")
        calls = [
            stage.broker.functions.fundDeposit(),
            stage.broker.functions.fundReserve(),
            stage.broker.functions.fundDepositAndReserve(0, 0),
            stage.broker.functions.fundDepositAndReserveFor(sender.address, 0, 0),
            stage.broker.functions.unlock(),
            stage.broker.functions.cancelUnlock(),
            stage.broker.functions.withdraw(),
            stage.redeem_call(signed),
            stage.batch_call([signed]),
            stage.rounds.functions.initializeRound(),
        ]
        refusals = [stage.refusal(call, sender=sender.address) for call in calls]
        info = stage.sender_info(sender)
        chain.send("deployer", "Controller", "unpause")
    assert all("system is paused" in refusal for refusal in refusals)
    assert info == ((10, 0), (10, 0))
    stage.next_round()


def test_the_keeper_waits_out_a_pause(stage: BrokerStage, chain: SandboxChain) -> None:
    chain.send("deployer", "Controller", "pause")
    stage.mine_to_next_round()
    assert not chain.read("RoundsManager", "currentRoundInitialized")
    chain.send("deployer", "Controller", "unpause")
    assert chain.read("RoundsManager", "currentRoundInitialized")


# Rounds


def test_tickets_of_a_round_that_stored_no_hash_can_never_be_redeemed(stage: BrokerStage, chain: SandboxChain) -> None:
    sender = stage.sender(deposit_wei=10)
    before = stage.ticket(sender)
    chain.send("deployer", "RoundsManager", "sandboxSetZeroHash", True)
    chain.next_round()
    chain.send("deployer", "RoundsManager", "sandboxSetZeroHash", False)
    made_now = stage.ticket(sender)
    assert made_now.fields.aux_data[32:] == bytes(32)
    assert "ticket creationRound does not have a block hash" in stage.refusal(stage.redeem_call(made_now))
    stage.redeem(before)
    chain.next_round()


def test_the_round_number_follows_the_block_number_also_after_a_change_of_length(
    stage: BrokerStage, chain: SandboxChain
) -> None:
    current = chain.next_round()
    start = chain.read("RoundsManager", "currentRoundStartBlock")
    chain.send("deployer", "RoundsManager", "setRoundLength", 40)
    assert chain.current_round() == current
    chain.mine(start + 40 - chain.block_number())
    assert chain.current_round() == current + 1
    assert chain.read("RoundsManager", "currentRoundStartBlock") == start + 40
    chain.send("deployer", "RoundsManager", "setRoundLength", 120)


def test_a_round_is_locked_in_its_last_tenth(stage: BrokerStage, chain: SandboxChain) -> None:
    chain.next_round()
    start = chain.read("RoundsManager", "currentRoundStartBlock")
    chain.mine(start + 107 - chain.block_number())
    assert not chain.read("RoundsManager", "currentRoundLocked")
    chain.mine(1)
    assert chain.read("RoundsManager", "currentRoundLocked")


def test_block_hashes_can_be_asked_256_blocks_back(stage: BrokerStage, chain: SandboxChain) -> None:
    chain.mine(300)
    head = chain.block_number()
    block = chain.rpc("eth_getBlockByNumber", hex(head - 256), False)
    assert "0x" + chain.read("RoundsManager", "blockHash", head - 256).hex() == block["hash"]
    assert "past block" in stage.refusal(stage.rounds.functions.blockHash(head))
    assert "256" in stage.refusal(stage.rounds.functions.blockHash(head - 257))


# Orchestrators and the pool


def test_the_first_orchestrator_is_active_at_once_and_the_second_only_registered(chain: SandboxChain) -> None:
    first, second = (chain.accounts[role].address for role in ("orchestrator", "orchestrator2"))
    registered, active = (
        [chain.read("BondingManager", function, who) for who in (first, second)]
        for function in ("isRegisteredTranscoder", "isActiveTranscoder")
    )
    assert (registered, active) == ([True, True], [True, False])
    assert chain.read("BondingManager", "getTranscoderPoolSize") == 2


def test_an_orchestrator_without_stake_history_cannot_be_paid_until_it_is_active(
    stage: BrokerStage, chain: SandboxChain
) -> None:
    """Its share per stake divides by zero: Panic 0x12, also for money from the deposit."""
    newcomer = stage.account().address
    chain.register(newcomer, active_from_round=chain.current_round() + 1)
    signed = stage.ticket(stage.sender(deposit_wei=10), recipient=newcomer)
    assert "0x12" in stage.refusal(stage.redeem_call(signed))
    chain.next_round()
    stage.redeem(signed)
    chain.unregister(newcomer)
    assert "transcoder must be registered" in stage.refusal(
        stage.redeem_call(stage.ticket(stage.sender(deposit_wei=10), recipient=newcomer))
    )


def test_a_pool_that_grows_in_mid_round_makes_the_spent_share_underflow_until_the_round_ends(
    stage: BrokerStage, chain: SandboxChain
) -> None:
    chain.next_round()
    sender = stage.sender(reserve_wei=1_000)
    stage.redeem(stage.ticket(sender, face_value_wei=500))
    chain.set_pool_size(100)
    claimable = stage.broker.functions.claimableReserve(sender.address, stage.orchestrator)
    assert "0x11" in stage.refusal(claimable)
    assert "0x11" in stage.refusal(stage.redeem_call(stage.ticket(sender)))
    stage.transact(sender, stage.broker.functions.fundDeposit(), value_wei=1)
    stage.redeem(stage.ticket(sender, face_value_wei=1))
    chain.next_round()
    assert stage.claimable_wei(sender) == 5
    chain.set_pool_size(0)


def test_with_an_empty_pool_nobody_has_a_share(stage: BrokerStage, chain: SandboxChain) -> None:
    """The members leave the pool at once and stay active until the round ends."""
    sender = stage.sender(reserve_wei=1_000)
    members = {role: chain.accounts[role].address for role in ("orchestrator", "bystander")}
    for member in members.values():
        chain.deactivate(member, from_round=chain.current_round() + 1)
    assert chain.read("BondingManager", "getTranscoderPoolSize") == 0
    assert chain.read("BondingManager", "isActiveTranscoder", members["orchestrator"])
    assert stage.claimable_wei(sender) == 0
    chain.register(members["orchestrator"], stake_wei=5_000 * ETHER_WEI, active_from_round=chain.current_round())
    chain.register(members["bystander"], active_from_round=chain.current_round())
    assert stage.claimable_wei(sender) == 500


def test_the_pool_is_a_list_by_stake(stage: BrokerStage, chain: SandboxChain) -> None:
    middle, last = stage.account().address, stage.account().address
    chain.register(last, stake_wei=1, active_from_round=chain.current_round())
    chain.register(middle, stake_wei=2_000 * ETHER_WEI, active_from_round=chain.current_round())
    walk = [chain.read("BondingManager", "getFirstTranscoderInPool")]
    while int(walk[-1], 16):
        walk.append(chain.read("BondingManager", "getNextTranscoderInPool", walk[-1]))
    members = [chain.accounts["orchestrator"].address, middle, chain.accounts["bystander"].address, last]
    assert walk[:-1] == [member.lower() for member in members]
    for member in (middle, last):
        chain.unregister(member)
    assert chain.read("BondingManager", "getTranscoderPoolSize") == 2


def test_earned_fees_leave_the_purse_only_when_the_orchestrator_withdraws_them(
    stage: BrokerStage, chain: SandboxChain
) -> None:
    stage.redeem(stage.ticket(stage.sender(deposit_wei=10), face_value_wei=10))
    fees_wei, purse_wei = stage.pending_fees_wei(), stage.purse_wei()
    payee = stage.account(with_wei=0).address
    chain.send("orchestrator", "BondingManager", "withdrawFees", payee, fees_wei)
    assert stage.w3.eth.get_balance(payee) == fees_wei
    assert stage.purse_wei() == purse_wei - fees_wei
    assert stage.pending_fees_wei() == 0
    refusal = stage.refusal(stage.bonding.functions.withdrawFees(payee, 1), sender=stage.orchestrator)
    assert "insufficient fees to withdraw" in refusal


def test_only_the_managers_touch_the_purse_and_only_the_broker_books_fees(stage: BrokerStage) -> None:
    minter = stage.contract("Minter", stage.registered("Minter"))
    for call in (minter.functions.depositETH(), minter.functions.trustedWithdrawETH(stage.funder.address, 1)):
        assert "msg.sender not" in stage.refusal(call)
    fees = stage.bonding.functions.updateTranscoderWithFees(stage.orchestrator, 1, 1)
    assert "caller must be TicketBroker" in stage.refusal(fees)


# Rules that the owner may change


@pytest.mark.parametrize(
    ("name", "setter", "value", "getter"),
    [
        ("TicketBroker", "setUnlockPeriod", 2, "unlockPeriod"),
        ("TicketBroker", "setTicketValidityPeriod", 2, "ticketValidityPeriod"),
        ("RoundsManager", "setRoundLockAmount", 100_000, "roundLockAmount"),
        ("RoundsManager", "setRoundLength", 120, "roundLength"),
        ("BondingManager", "setUnbondingPeriod", 7, "unbondingPeriod"),
    ],
)
def test_rules_are_changed_by_the_owner_alone_and_announced(
    stage: BrokerStage, chain: SandboxChain, name: str, setter: str, value: int, getter: str
) -> None:
    deployed = stage.contract(name, chain.address_of(name))
    assert "caller must be Controller owner" in stage.refusal(deployed.functions[setter](value))
    receipt = chain.send("deployer", name, setter, value)
    assert receipt["logs"][0]["topics"] == [PARAMETER_UPDATE_TOPIC]
    assert bytes.fromhex(receipt["logs"][0]["data"][2:]).rstrip(b"\x00").endswith(getter.encode())
    assert chain.read(name, getter) == value


def test_tickets_are_never_made_to_expire_at_once(stage: BrokerStage, chain: SandboxChain) -> None:
    call = stage.broker.functions.setTicketValidityPeriod(0)
    assert "greater than 0" in stage.refusal(call, sender=chain.accounts["deployer"].address)


def test_a_longer_validity_revives_old_tickets(stage: BrokerStage, chain: SandboxChain) -> None:
    signed: SignedTicket = stage.ticket(stage.sender(deposit_wei=10))
    for _ in range(2):
        chain.next_round()
    assert "ticket is expired" in stage.refusal(stage.redeem_call(signed))
    chain.send("deployer", "TicketBroker", "setTicketValidityPeriod", 3)
    stage.redeem(signed)
    chain.send("deployer", "TicketBroker", "setTicketValidityPeriod", 2)


def test_only_the_controller_hands_a_manager_to_another_controller(stage: BrokerStage) -> None:
    call = stage.broker.functions.setController(stage.funder.address)
    assert "caller must be Controller" in stage.refusal(call)
    refusal = stage.refusal(stage.controller.functions.pause())
    assert "caller is not the owner" in refusal


# The price feed and the service registry


def test_the_price_feed_speaks_like_the_live_one(chain: SandboxChain) -> None:
    assert chain.read("PriceFeed", "decimals") == 8
    assert chain.read("PriceFeed", "description") == "ETH / USD"
    chain.set_price("2950.12345678")
    round_id, answer, started_at, updated_at, answered_in = chain.read("PriceFeed", "latestRoundData")
    assert answer == 295_012_345_678
    assert round_id == answered_in > 2**64
    assert started_at == updated_at == _head_time(chain)
    assert chain.read("PriceFeed", "getRoundData", round_id)[1] == answer


def test_a_price_with_a_time_of_its_own_stays_old_until_the_keeper_is_called_back(chain: SandboxChain) -> None:
    chain.set_price(3_000, updated_at_seconds=1_700_000_000)
    chain.mine(3)
    assert chain.read("PriceFeed", "latestRoundData")[3] == 1_700_000_000
    chain.keeper(feed=True)
    assert chain.read("PriceFeed", "latestRoundData")[3] >= _head_time(chain) - 60
    assert chain.read("PriceFeed", "latestRoundData")[1] == 300_000_000_000


def test_the_price_feed_repeats_its_answer_before_it_gets_old(chain: SandboxChain) -> None:
    before = chain.read("PriceFeed", "latestRoundData")
    chain.rpc("evm_increaseTime", 61)
    chain.mine(1)
    after = chain.read("PriceFeed", "latestRoundData")
    assert after[1] == before[1]
    assert after[3] >= before[3] + 61


def test_an_orchestrator_publishes_where_it_works(chain: SandboxChain) -> None:
    chain.send("orchestrator", "ServiceRegistry", "setServiceURI", "https://127.0.0.1:8935")
    who = chain.accounts["orchestrator"].address
    assert chain.read("ServiceRegistry", "getServiceURI", who) == "https://127.0.0.1:8935"


def _head_time(chain: SandboxChain) -> int:
    timestamp: str = chain.rpc("eth_getBlockByNumber", "latest", False)["timestamp"]
    assert re.fullmatch("0x[0-9a-f]+", timestamp)
    return int(timestamp, 16)
