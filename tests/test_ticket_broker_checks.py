"""The TicketBroker's promises to a sender, a redeemer and an indexer, checked on a live deployment over JSON-RPC.

By default against a sandbox chain. With TICKET_BROKER_RPC_URL, TICKET_BROKER_CONTROLLER and TICKET_BROKER_KEY (hex
key of an account with some ETH) the same checks run against another deployment of the protocol, on a development
node that mines on hardhat_mine; its first orchestrator in the pool must be active. Checks that need the protocol's
owner are in test_sandbox_chain_broker.py.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_typing import Hash32
from sha3 import keccak_256

from sandbox.chain.client import ETHER_WEI
from tests.broker_stage import BrokerStage, SignedTicket, broker_stage

VECTORS = json.loads((Path(__file__).parent / "vectors" / "onchain_tickets.json").read_text())
FINNEY_WEI = ETHER_WEI // 1_000
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NO_ADDRESS = "0x" + "00" * 20


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerStage]:
    with broker_stage(tmp_path_factory.mktemp("chain")) as ready:
        yield ready


# What is found where


def test_the_registry_names_every_manager_and_knows_the_broker_as_jobs_manager_too(stage: BrokerStage) -> None:
    ids = ("TicketBroker", "RoundsManager", "BondingManager", "ServiceRegistry", "Minter")
    assert all(stage.registered(name) != NO_ADDRESS for name in ids)
    assert stage.registered("JobsManager") == stage.registered("TicketBroker")
    assert stage.registered("NobodyKnows") == NO_ADDRESS


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"nonce {vector['senderNonce']}")
def test_the_ticket_hash_agrees_with_the_recorded_tickets(stage: BrokerStage, vector: dict[str, Any]) -> None:
    fields = (
        vector["recipient"], vector["sender"], int(vector["faceValue"]), int(vector["winProb"]),
        int(vector["senderNonce"]), vector["recipientRandHash"], vector["auxData"],
    )  # fmt: skip
    assert "0x" + stage.broker.functions.getTicketHash(fields).call().hex() == vector["ticketHash"]


def test_the_hash_is_keccak_over_the_packed_fields(stage: BrokerStage) -> None:
    signed = stage.ticket(stage.sender())
    assert stage.broker.functions.getTicketHash(signed.ticket).call() == signed.hash


# Funding


def test_funding_credits_the_caller_and_says_so(stage: BrokerStage) -> None:
    sender = stage.account()
    deposit = stage.transact(sender, stage.broker.functions.fundDeposit(), value_wei=3)
    reserve = stage.transact(sender, stage.broker.functions.fundReserve(), value_wei=5)
    assert stage.events(deposit) == [("DepositFunded", {"sender": sender.address, "amount": 3})]
    assert stage.events(reserve) == [("ReserveFunded", {"reserveHolder": sender.address, "amount": 5})]
    assert stage.sender_info(sender) == ((3, 0), (5, 0))


def test_funding_both_logs_the_reserve_before_the_deposit_even_for_nothing(stage: BrokerStage) -> None:
    sender = stage.account()
    receipt = stage.transact(sender, stage.broker.functions.fundDepositAndReserve(7, 0), value_wei=7)
    assert stage.events(receipt) == [
        ("ReserveFunded", {"reserveHolder": sender.address, "amount": 0}),
        ("DepositFunded", {"sender": sender.address, "amount": 7}),
    ]


def test_anybody_can_fund_somebody_else(stage: BrokerStage) -> None:
    sender = stage.account()
    stage.transact(stage.funder, stage.broker.functions.fundDepositAndReserveFor(sender.address, 2, 9), value_wei=11)
    assert stage.sender_info(sender) == ((2, 0), (9, 0))


@pytest.mark.parametrize("value_wei", [10, 12])
def test_funding_both_needs_the_exact_sum(stage: BrokerStage, value_wei: int) -> None:
    call = stage.broker.functions.fundDepositAndReserve(5, 6)
    refusal = stage.refusal(call, sender=stage.funder.address, value_wei=value_wei)
    assert "msg.value does not equal sum of deposit amount and reserve amount" in refusal


def test_a_plain_transfer_to_the_broker_is_refused(stage: BrokerStage) -> None:
    assert stage.send_raw(stage.funder, to=stage.broker.address, value_wei=1)["status"] == 0


def test_the_broker_itself_never_holds_money(stage: BrokerStage) -> None:
    stage.sender(deposit_wei=FINNEY_WEI)
    assert stage.w3.eth.get_balance(stage.broker.address) == 0


def test_own_money_ends_an_unlock_but_a_strangers_money_does_not(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=FINNEY_WEI)
    stage.transact(sender, stage.broker.functions.unlock())
    stage.transact(stage.funder, stage.broker.functions.fundDepositAndReserveFor(sender.address, 1, 1), value_wei=2)
    assert stage.broker.functions.isUnlockInProgress(sender.address).call()
    receipt = stage.transact(sender, stage.broker.functions.fundDepositAndReserve(0, 0))
    assert [name for name, _ in stage.events(receipt)] == ["UnlockCancelled", "ReserveFunded", "DepositFunded"]
    assert not stage.broker.functions.isUnlockInProgress(sender.address).call()


# Redemption: the checks, in order

type Spoil = Callable[[BrokerStage, SignedTicket], SignedTicket]


def _sealed(stage: BrokerStage, signed: SignedTicket, **changes: Any) -> SignedTicket:
    return stage.sealed(replace(signed.fields, **changes), signed.rand, signed.key)


def _no_recipient(stage: BrokerStage, signed: SignedTicket) -> SignedTicket:
    return _sealed(stage, signed, recipient=NO_ADDRESS, sender=NO_ADDRESS, aux_data=bytes(63))


def _no_sender(stage: BrokerStage, signed: SignedTicket) -> SignedTicket:
    return _sealed(stage, signed, sender=NO_ADDRESS, aux_data=bytes(63))


def _short_aux_data(stage: BrokerStage, signed: SignedTicket) -> SignedTicket:
    return _sealed(stage, signed, aux_data=signed.fields.aux_data[:63])


def _future_round(stage: BrokerStage, signed: SignedTicket) -> SignedTicket:
    future = stage.rounds.functions.currentRound().call() + 50
    return _sealed(stage, signed, aux_data=future.to_bytes(32, "big") + b"\x01" * 32)


def _foreign_block_hash(stage: BrokerStage, signed: SignedTicket) -> SignedTicket:
    return _sealed(stage, signed, aux_data=stage.old_aux_data[:32] + b"\x01" * 32)


def _expired(stage: BrokerStage, signed: SignedTicket) -> SignedTicket:
    return _sealed(stage, signed, aux_data=stage.old_aux_data)


def _unchanged(stage: BrokerStage, signed: SignedTicket) -> SignedTicket:
    return signed


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_no_recipient, "ticket recipient is null address"),
        (_no_sender, "ticket sender is null address"),
        (_short_aux_data, "invalid length for ticket auxData: must be 64 bytes"),
        (_future_round, "ticket creationRound does not have a block hash"),
        (_foreign_block_hash, "ticket creationRoundBlockHash invalid for creationRound"),
        (_expired, "ticket is expired"),
        (_unchanged, "recipientRand does not match recipientRandHash"),
    ],
)
def test_the_first_thing_wrong_with_a_ticket_is_what_the_refusal_names(
    stage: BrokerStage, spoil: Spoil, text: str
) -> None:
    """Every later check would fail too: wrong secret, no signature, no chance to win, an account without money."""
    hopeless = spoil(stage, stage.ticket(stage.account(), win_prob=0))
    assert text in stage.refusal(stage.redeem_call(replace(hopeless, rand=hopeless.rand + 1, signature=b"")))


def test_a_used_ticket_is_refused_before_its_signature_is_looked_at(stage: BrokerStage) -> None:
    signed = stage.ticket(stage.sender(deposit_wei=FINNEY_WEI))
    stage.redeem(signed)
    assert stage.broker.functions.usedTickets(signed.hash).call()
    assert "ticket is used" in stage.refusal(stage.redeem_call(replace(signed, signature=b"")))


def _with_v(signature: bytes, v: int) -> bytes:
    return signature[:64] + bytes([v])


def _high_s_twin(signature: bytes) -> bytes:
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([27 + 28 - signature[64]])


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda signature: signature[:64], "INVALID_SIGNATURE_LENGTH"),
        (lambda signature: signature + b"\x00", "INVALID_SIGNATURE_LENGTH"),
        (lambda signature: _with_v(signature, signature[64] - 27), "ECDSA: invalid signature"),
        (_high_s_twin, "ECDSA: invalid signature"),
        (lambda signature: _with_v(signature, 55 - signature[64]), "invalid signature"),
    ],
    ids=["64 bytes", "66 bytes", "v of 0 or 1", "upper half of s", "the other v"],
)
def test_a_signature_in_another_form_is_refused(stage: BrokerStage, spoil: Callable[[bytes], bytes], text: str) -> None:
    signed = stage.ticket(stage.account(), win_prob=0)
    assert text in stage.refusal(stage.redeem_call(replace(signed, signature=spoil(signed.signature))))


def test_another_signer_or_a_signature_over_the_bare_hash_is_refused(stage: BrokerStage) -> None:
    signed = stage.ticket(stage.sender(deposit_wei=FINNEY_WEI))
    foreign = stage.sealed(signed.fields, signed.rand, stage.account())
    bare = replace(signed, signature=signed.key.unsafe_sign_hash(Hash32(signed.hash)).signature)
    for wrong in (foreign, bare):
        assert "invalid signature over ticket hash" in stage.refusal(stage.redeem_call(wrong))


def test_a_ticket_wins_exactly_when_its_draw_is_below_its_chance(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=FINNEY_WEI)
    half = 1 << 255
    seen = set()
    for _ in range(100):
        signed = stage.ticket(sender, win_prob=half)
        draw = int.from_bytes(keccak_256(signed.signature + signed.rand.to_bytes(32, "big")).digest(), "big")
        if draw < half:
            stage.redeem_call(signed).call({"from": stage.funder.address})
        else:
            assert "ticket did not win" in stage.refusal(stage.redeem_call(signed))
        seen.add(draw < half)
        if seen == {True, False}:
            break
    assert seen == {True, False}


def test_a_ticket_without_a_chance_loses_before_the_account_is_looked_at(stage: BrokerStage) -> None:
    signed = stage.ticket(stage.account(), win_prob=0)
    assert "ticket did not win" in stage.refusal(stage.redeem_call(signed))


def test_an_unlocked_account_pays_nothing_and_is_named_before_its_emptiness(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=FINNEY_WEI)
    stage.transact(sender, stage.broker.functions.unlock())
    stage.next_round()
    stage.redeem_call(stage.ticket(sender)).call({"from": stage.funder.address})
    stage.next_round()
    assert "sender is unlocked" in stage.refusal(stage.redeem_call(stage.ticket(sender)))
    stage.transact(sender, stage.broker.functions.withdraw())
    assert "sender is unlocked" in stage.refusal(stage.redeem_call(stage.ticket(sender)))


def test_an_account_without_any_money_is_refused(stage: BrokerStage) -> None:
    signed = stage.ticket(stage.account())
    assert "sender deposit and reserve are zero" in stage.refusal(stage.redeem_call(signed))


# Redemption: what happens


def test_a_winner_is_paid_from_the_deposit_and_no_ether_moves(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=10, reserve_wei=1_000)
    signed = stage.ticket(sender, face_value_wei=4)
    purse_before = stage.purse_wei()
    fees_before = stage.pending_fees_wei()
    receipt = stage.redeem(signed)
    transfer = {"sender": sender.address, "recipient": stage.orchestrator, "amount": 4}
    assert stage.events(receipt) == [
        ("WinningTicketTransfer", transfer),
        ("WinningTicketRedeemed", stage.redeemed_event(signed)),
    ]
    assert stage.sender_info(sender) == ((6, 0), (1_000, 0))
    assert stage.purse_wei() == purse_before
    assert stage.pending_fees_wei() == fees_before + 4


def test_anybody_may_redeem_and_the_recipient_is_paid(stage: BrokerStage) -> None:
    signed = stage.ticket(stage.sender(deposit_wei=10), face_value_wei=4)
    fees_before = stage.pending_fees_wei()
    stage.transact(stage.account(with_wei=ETHER_WEI), stage.redeem_call(signed))
    assert stage.pending_fees_wei() == fees_before + 4


def test_what_the_deposit_lacks_is_claimed_from_the_reserve_first_in_the_log(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=10, reserve_wei=1_000)
    signed = stage.ticket(sender, face_value_wei=14)
    receipt = stage.redeem(signed)
    claimed = {"reserveHolder": sender.address, "claimant": stage.orchestrator, "amount": 4}
    transfer = {"sender": sender.address, "recipient": stage.orchestrator, "amount": 14}
    assert stage.events(receipt) == [
        ("ReserveClaimed", claimed),
        ("WinningTicketTransfer", transfer),
        ("WinningTicketRedeemed", stage.redeemed_event(signed)),
    ]
    assert stage.sender_info(sender) == ((0, 0), (996, 4))


def test_a_ticket_that_finds_no_money_is_burnt_without_a_transfer(stage: BrokerStage) -> None:
    """An inactive recipient has no share of the reserve, and an empty deposit needs no registered recipient."""
    sender = stage.sender(reserve_wei=1_000)
    signed = stage.ticket(sender, recipient=stage.account().address)
    receipt = stage.redeem(signed)
    assert stage.events(receipt) == [("WinningTicketRedeemed", stage.redeemed_event(signed))]
    assert stage.broker.functions.usedTickets(signed.hash).call()
    assert stage.sender_info(sender) == ((0, 0), (1_000, 0))


def test_a_worthless_ticket_is_redeemed_without_a_transfer(stage: BrokerStage) -> None:
    receipt = stage.redeem(stage.ticket(stage.sender(deposit_wei=10), face_value_wei=0))
    assert [name for name, _ in stage.events(receipt)] == ["WinningTicketRedeemed"]


def test_a_payee_that_is_no_registered_orchestrator_undoes_the_redemption(stage: BrokerStage) -> None:
    signed = stage.ticket(stage.sender(deposit_wei=10), recipient=stage.account().address, face_value_wei=1)
    assert "transcoder must be registered" in stage.refusal(stage.redeem_call(signed))
    assert not stage.broker.functions.usedTickets(signed.hash).call()


def test_tickets_of_one_secret_may_come_in_any_order_and_a_nonce_may_come_twice(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=10)
    for nonce, face_value_wei in ((9, 1), (3, 1), (3, 2)):
        stage.redeem(stage.ticket(sender, nonce=nonce, rand=77, face_value_wei=face_value_wei))
    assert stage.sender_info(sender) == ((6, 0), (0, 0))


def test_a_ticket_lives_in_its_round_and_the_next_and_is_dead_in_the_one_after(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=10)
    made_now = [stage.ticket(sender, nonce=nonce, face_value_wei=1) for nonce in range(3)]
    stage.redeem(made_now[0])
    stage.next_round()
    stage.redeem(made_now[1])
    stage.next_round()
    assert "ticket is expired" in stage.refusal(stage.redeem_call(made_now[2]))


def test_an_uninitialised_round_takes_funds_and_unlocks_but_redeems_nothing(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=FINNEY_WEI)
    good, hopeless = stage.ticket(sender), replace(stage.ticket(sender, recipient=NO_ADDRESS), signature=b"")
    with stage.nobody_initialises_rounds():
        stage.mine_to_next_round()
        assert not stage.rounds.functions.currentRoundInitialized().call()
        for signed in (good, hopeless):
            assert "current round is not initialized" in stage.refusal(stage.redeem_call(signed))
        assert "current round is not initialized" in stage.refusal(stage.batch_call([good]))
        stage.transact(sender, stage.broker.functions.fundDeposit(), value_wei=1)
        stage.transact(sender, stage.broker.functions.unlock())
        stage.transact(sender, stage.broker.functions.cancelUnlock())
        stage.transact(stage.funder, stage.rounds.functions.initializeRound())
    stage.redeem(good)


def test_a_round_is_initialised_once_and_stores_the_hash_of_the_block_before(stage: BrokerStage) -> None:
    with stage.nobody_initialises_rounds():
        stage.mine_to_next_round()
        receipt = stage.transact(stage.funder, stage.rounds.functions.initializeRound())
        assert stage.refusal(stage.rounds.functions.initializeRound())
    (event,) = stage.rounds.events.NewRound().process_receipt(receipt)
    stored = stage.rounds.functions.blockHashForRound(event["args"]["round"]).call()
    assert stored == event["args"]["blockHash"]
    assert stored == stage.w3.eth.get_block(receipt["blockNumber"] - 1)["hash"]


def test_a_round_nobody_initialised_has_no_hash_and_does_no_harm_to_later_ones(stage: BrokerStage) -> None:
    with stage.nobody_initialises_rounds():
        stage.mine_to_next_round()
        skipped = stage.rounds.functions.currentRound().call()
        stage.mine_to_next_round()
        stage.transact(stage.funder, stage.rounds.functions.initializeRound())
    assert stage.rounds.functions.blockHashForRound(skipped).call() == bytes(32)
    stage.redeem(stage.ticket(stage.sender(deposit_wei=FINNEY_WEI)))


def test_a_batch_swallows_each_failure_and_pays_the_rest(stage: BrokerStage) -> None:
    sender = stage.sender(deposit_wei=10)
    first, second = (stage.ticket(sender, nonce=nonce, face_value_wei=3) for nonce in range(2))
    forged = replace(stage.ticket(sender, nonce=2), signature=bytes(65))
    receipt = stage.transact(stage.funder, stage.batch_call([forged, first, first, second]))
    assert [name for name, _ in stage.events(receipt)] == ["WinningTicketTransfer", "WinningTicketRedeemed"] * 2
    assert stage.sender_info(sender) == ((4, 0), (0, 0))


def test_a_batch_with_too_few_signatures_or_secrets_is_refused_as_a_whole(stage: BrokerStage) -> None:
    signed = stage.ticket(stage.sender(deposit_wei=10), face_value_wei=1)
    batch = stage.broker.functions.batchRedeemWinningTickets
    stage.refusal(batch([signed.ticket], [], [signed.rand]))
    stage.refusal(batch([signed.ticket], [signed.signature], []))


def test_the_events_of_one_sender_replay_to_its_account(stage: BrokerStage) -> None:
    """What an indexer does: one filter on the sender finds all there is to know, in order."""
    sender = stage.sender(deposit_wei=50, reserve_wei=2_000)
    stage.redeem(stage.ticket(sender, nonce=1, face_value_wei=30))
    stage.redeem(stage.ticket(sender, nonce=2, face_value_wei=25))
    stage.transact(sender, stage.broker.functions.fundDeposit(), value_wei=5)
    stage.transact(sender, stage.broker.functions.unlock())
    assert stage.replayed(sender) == stage.sender_info(sender)
