"""The sandbox orchestrator judges payments as a real one does: good tickets count, forged ones do not."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from sandbox.orchestrator.node import Node, Paid, Refused
from sandbox.orchestrator.params import InsufficientSenderReserve
from sandbox.orchestrator.terms import Terms
from sandbox.orchestrator.till import MAX_ATTEMPTS
from signing.pm import livepeer_pb2 as pb
from tests.standin_orchestrator import ChainInMemory
from tests.standin_signer import Payer, payment_headers, ticket_of

PAYER = Payer(key="0x" + "11" * 32)
RECIPIENT = bytes.fromhex("3c44cdddb6a900fa2b585dd299e03d12fa4293bc")
ALWAYS_WINS = Terms(max_face_value_wei=10**12 + 10**6, redeem_delay_seconds=0)


@pytest.fixture
def chain() -> ChainInMemory:
    return ChainInMemory()


type NodeMaker = Callable[..., Node]


@pytest.fixture
def make_node(chain: ChainInMemory, tmp_path: Path) -> Iterator[NodeMaker]:
    nodes: list[Node] = []

    def make(terms: Terms | None = None) -> Node:
        terms = terms or Terms()
        uri = "https://127.0.0.1:1"
        node = Node(address=RECIPIENT, chain=chain, service_uri=uri, directory=tmp_path, terms=terms)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.till.close()


def run[R](work: Awaitable[R]) -> R:
    async def wait() -> R:
        return await work

    return asyncio.run(wait())


def offered(node: Node, app: str = "live-video-to-video") -> pb.OrchestratorInfo:
    return run(node.info(node.sessions.offer(node.offers[app], PAYER.address)))


def pay(node: Node, payment: pb.Payment, info: pb.OrchestratorInfo, manifest_id: str = "movie") -> Paid:
    return run(node.take_payment(payment_headers(payment, PAYER.segment(info, manifest_id))))


def refusal(node: Node, payment: pb.Payment, info: pb.OrchestratorInfo) -> str:
    with pytest.raises(Refused) as refused:
        pay(node, payment, info)
    return f"{refused.value.status} {refused.value.code}"


def test_good_tickets_are_credited_with_their_exact_expected_value(make_node: NodeMaker) -> None:
    node = make_node()
    info = offered(node)
    paid = pay(node, PAYER.payment(info, [1, 2, 3]), info)
    ticket = ticket_of(PAYER.payment(info, []), 1)
    account = node.sessions.accounts[PAYER.address, "movie"]
    assert paid.tickets == 3
    assert account.credit_wei == 3 * ticket.expected_value()
    assert 0 <= ticket.expected_value() - node.terms.ticket_ev_wei < 1
    assert node.status()["tickets_accepted"] == 3


def test_every_quote_and_every_answer_brings_new_ticket_params_for_forty_blocks(make_node: NodeMaker) -> None:
    node = make_node()
    first, second = offered(node), offered(node)
    answer = pay(node, PAYER.payment(first, [1]), first).result.info
    hashes = {info.ticket_params.recipient_rand_hash for info in (first, second, answer)}
    assert len(hashes) == 3
    assert answer.auth_token == first.auth_token
    assert answer.price_info == first.price_info
    assert int.from_bytes(answer.ticket_params.expiration_block) == 1040


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (lambda p: p.ticket_params.MergeFrom(pb.TicketParams(face_value=b"\x01")), "invalid_recipient_rand"),
        (
            lambda p: p.ticket_params.MergeFrom(pb.TicketParams(win_prob=b"\xff" * 32)),
            "invalid_recipient_rand",
        ),
        (lambda p: p.ticket_params.MergeFrom(pb.TicketParams(seed=b"\x05")), "invalid_recipient_rand"),
        (
            lambda p: p.ticket_params.MergeFrom(pb.TicketParams(expiration_block=b"\xff")),
            "invalid_recipient_rand",
        ),
        (lambda p: p.ticket_params.MergeFrom(pb.TicketParams(recipient=bytes(20))), "wrong_recipient"),
        (
            lambda p: p.expiration_params.MergeFrom(pb.TicketExpirationParams(creation_round=6)),
            "invalid_recipient_rand",
        ),
        (lambda p: p.expected_price.MergeFrom(pb.PriceInfo(price_per_unit=1)), "invalid_recipient_rand"),
        (lambda p: p.expected_price.Clear(), "missing_price"),
        (
            lambda p: p.ticket_sender_params[0].MergeFrom(pb.TicketSenderParams(sender_nonce=9)),
            "invalid_signature",
        ),
        (
            lambda p: p.ticket_sender_params[0].MergeFrom(pb.TicketSenderParams(sig=bytes(65))),
            "invalid_signature",
        ),
        (
            lambda p: p.ticket_sender_params[0].MergeFrom(pb.TicketSenderParams(sig=b"short")),
            "invalid_signature",
        ),
    ],
)
def test_a_forged_ticket_is_rejected_with_its_reason(
    make_node: NodeMaker, forge: Callable[[pb.Payment], None], reason: str
) -> None:
    node = make_node()
    info = offered(node)
    payment = PAYER.payment(info, [1])
    forge(payment)
    assert refusal(node, payment, info) == f"400 {reason}"
    assert node.sessions.accounts == {}


def test_a_ticket_signed_by_somebody_else_is_rejected(make_node: NodeMaker) -> None:
    node = make_node()
    info = offered(node)
    payment = PAYER.payment(info, [1])
    payment.ticket_sender_params[0].sig = Payer(key="0x" + "22" * 32).sign(ticket_of(payment, 1).hash())
    assert refusal(node, payment, info) == "400 invalid_signature"


def test_credentials_must_be_signed_by_the_payer_and_carry_our_token(make_node: NodeMaker) -> None:
    node = make_node()
    info = offered(node)
    payment, stranger = PAYER.payment(info, [1]), Payer(key="0x" + "22" * 32)
    with pytest.raises(Refused, match="segment sig") as refused:
        run(node.take_payment(payment_headers(payment, stranger.segment(info, "movie"))))
    assert refused.value.status == 403
    info.auth_token.expiration += 1
    assert refusal(node, payment, info) == "403 auth_token"


def test_an_expired_auth_token_is_refused(make_node: NodeMaker) -> None:
    node = make_node(Terms(auth_token_seconds=-1))
    info = offered(node)
    assert refusal(node, PAYER.payment(info, [1]), info) == "403 auth_token_expired"


def test_the_same_payment_twice_is_credited_once(make_node: NodeMaker) -> None:
    node = make_node()
    info = offered(node)
    payment = PAYER.payment(info, [1])
    pay(node, payment, info)
    assert refusal(node, payment, info) == "400 nonce_seen"
    assert node.sessions.accounts[PAYER.address, "movie"].tickets == 1


def test_after_the_first_bad_ticket_none_is_credited_and_the_last_error_is_answered(
    make_node: NodeMaker,
) -> None:
    node = make_node()
    info = offered(node)
    assert refusal(node, PAYER.payment(info, [1, 1, 2]), info) == "400 nonce_seen"
    assert node.sessions.accounts[PAYER.address, "movie"].tickets == 1


def test_the_601st_nonce_of_one_hash_is_too_many(make_node: NodeMaker) -> None:
    node = make_node()
    info = offered(node)
    for start in range(1, 601, 100):
        pay(node, PAYER.payment(info, range(start, start + 100)), info)
    assert refusal(node, PAYER.payment(info, [601]), info) == "400 too_many_nonces"
    assert node.status()["recipient_rand_hashes"] == {info.ticket_params.recipient_rand_hash.hex(): 600}


def test_expired_params_are_refused_but_a_win_is_kept(make_node: NodeMaker, chain: ChainInMemory) -> None:
    node = make_node(ALWAYS_WINS)
    info = offered(node)
    chain.now = replace(chain.now, l1_block=1040)
    assert refusal(node, PAYER.payment(info, [1]), info) == "400 params_expired"
    assert node.till.status()["winners"] == 1


def test_an_unlocking_sender_is_refused(make_node: NodeMaker, chain: ChainInMemory) -> None:
    node = make_node()
    info = offered(node)
    chain.sender_info = replace(chain.sender_info, withdraw_round=8)
    assert refusal(node, PAYER.payment(info, [1]), info) == "400 sender_unlocking"
    chain.sender_info = replace(chain.sender_info, withdraw_round=9)
    assert pay(node, PAYER.payment(info, [1]), info).tickets == 1


def test_an_inactive_recipient_takes_no_payment(make_node: NodeMaker, chain: ChainInMemory) -> None:
    node = make_node()
    info = offered(node)
    chain.now = replace(chain.now, active=False)
    assert refusal(node, PAYER.payment(info, [1]), info) == "400 recipient_not_active"


def test_no_params_are_offered_to_a_sender_with_a_small_reserve(make_node: NodeMaker, chain: ChainInMemory) -> None:
    chain.sender_info = replace(chain.sender_info, reserve_wei=10**12)
    with pytest.raises(InsufficientSenderReserve):
        offered(make_node())


def test_the_price_of_a_session_is_the_first_it_paid(make_node: NodeMaker) -> None:
    node = make_node()
    session = node.sessions.offer(node.offers["live-video-to-video"], PAYER.address)
    info = run(node.info(session))
    pay(node, PAYER.payment(info, [1]), info, session.session_id)
    session.offer = replace(session.offer, price=replace(session.offer.price, per_unit_wei=9999))
    assert run(node.info(session)).price_info.price_per_unit == info.price_info.price_per_unit


def test_a_metered_session_is_debited_and_closed_when_credit_is_short(make_node: NodeMaker) -> None:
    node = make_node()
    session = node.sessions.offer(node.offers["sandbox/camera"], PAYER.address)
    info = run(node.info(session))
    pay(node, PAYER.payment(info, [1]), info, session.session_id)
    node.sessions.open(session)
    session.paid_until_ns -= 10 * 10**9
    node.sessions.debit_metered()
    account = node.sessions.accounts[PAYER.address, session.session_id]
    ten_seconds = Fraction(10 * node.terms.live_price_wei)
    assert ten_seconds <= account.debited_wei < ten_seconds + node.terms.live_price_wei
    assert account.credit_wei == account.received_wei - account.debited_wei
    session.paid_until_ns -= 60 * 10**9
    node.sessions.debit_metered()
    assert (session.state, session.closed_because) == ("closed", "credit is short")


def win(node: Node, count: int) -> None:
    info = offered(node)
    pay(node, PAYER.payment(info, range(1, count + 1)), info)
    assert node.till.status()["winners"] == count


def test_winners_are_redeemed_in_batches_of_the_set_size(make_node: NodeMaker, chain: ChainInMemory) -> None:
    node = make_node(replace(ALWAYS_WINS, redeem_batch=2))
    win(node, 3)
    run(node.till.redeem_due())
    assert [len(batch) for batch in chain.batches] == [2, 1]
    assert node.till.status()["redeemed"] == 3


def test_a_winner_is_not_redeemed_before_its_delay(make_node: NodeMaker, chain: ChainInMemory) -> None:
    node = make_node(replace(ALWAYS_WINS, redeem_delay_seconds=60))
    win(node, 1)
    run(node.till.redeem_due())
    assert chain.batches == []


def test_a_restart_redeems_what_an_earlier_run_won_and_never_twice(make_node: NodeMaker, chain: ChainInMemory) -> None:
    node = make_node(ALWAYS_WINS)
    win(node, 2)
    chain.used.add(next(iter(_hashes(node))))  # sent just before the crash, but not yet written down
    again = make_node(ALWAYS_WINS)
    run(again.till.redeem_due())
    run(again.till.redeem_due())
    assert [len(batch) for batch in chain.batches] == [1]
    assert again.till.status()["redeemed"] == 2


def test_a_ticket_that_a_batch_left_out_is_tried_again(make_node: NodeMaker, chain: ChainInMemory) -> None:
    node = make_node(ALWAYS_WINS)
    win(node, 2)
    chain.leaves_out_last = True
    run(node.till.redeem_due())
    assert node.till.status()["redeemed"] == 1
    chain.leaves_out_last = False
    run(node.till.redeem_due())
    assert node.till.status()["redeemed"] == 2


def test_a_redemption_is_given_up_after_some_attempts_or_at_once_for_a_final_reason(
    make_node: NodeMaker, chain: ChainInMemory
) -> None:
    node = make_node(ALWAYS_WINS)
    win(node, 1)
    chain.refuses = "current round is not initialized"
    for _ in range(MAX_ATTEMPTS + 1):
        run(node.till.redeem_due())
    assert len(chain.batches) == MAX_ATTEMPTS
    info = offered(node)
    pay(node, PAYER.payment(info, [1]), info)
    chain.refuses = "ticket is expired"
    run(node.till.redeem_due())
    run(node.till.redeem_due())
    assert len(chain.batches) == MAX_ATTEMPTS + 1


def _hashes(node: Node) -> list[bytes]:
    rows = node.till.status()["redemptions"]
    assert isinstance(rows, list)
    return [bytes.fromhex(row["ticket_hash"]) for row in rows]
