"""Payments over HTTP: what is signed, what it costs, and what the books say afterwards."""

import base64
import json
import time
from fractions import Fraction
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from accounts.models import ApiKey
from signing.models import SignerSession
from signing.pm import livepeer_pb2 as pb
from signing.pm.tickets import MAX_UINT256, keccak256
from tests import builders, signer_stage
from tests.held_chain import EARLIER_HASH, RECIPIENT, ROUND, ROUND_HASH
from tests.signer_stage import (
    COST,
    FACE_VALUE,
    ORCHESTRATOR,
    WIN_PROB,
    Client,
    Stage,
    check_tickets,
    offer,
    price_of,
    rows,
    wallet,
)

pytestmark = pytest.mark.django_db(transaction=True)
EV = Fraction(FACE_VALUE * WIN_PROB, MAX_UINT256)


def test_a_payment_is_charged_at_the_expected_value_that_was_signed(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=10**10)
    answer = gateway.pay(orchestrator=offer(price=(10**11 + 1, 1)), type="live", app="my-app")
    assert answer.status == 200, answer.body
    check_tickets(answer.payment, stage.keystore.checksum_address)
    (row,) = rows(owner)
    assert row["quantity"] == row["tickets"] == 2
    assert row["cost_wei"] == signer_stage.signed_wei(row)
    assert row["charge_nano_usd"] == price_of(int(row["cost_wei"]))
    assert row["fee_wei"] == 10 * (10**11 + 1)
    assert (row["label"], row["kind"], row["unit"]) == ("my-app", "live", "ticket")
    assert row["counterparty"] == "0x" + RECIPIENT.hex()
    assert str(row["source"]).replace("-", "") == answer.state["StateID"]
    assert wallet(owner) == 10**10 - row["charge_nano_usd"]


def test_the_payment_and_the_credentials_hold_what_an_orchestrator_checks(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    given = offer()
    answer = gateway.pay(orchestrator=given, type="lv2v", ManifestID="stream-1")
    info = pb.OrchestratorInfo.FromString(base64.b64decode(given))
    payment = answer.payment
    assert payment.sender == stage.keystore.address
    assert payment.expected_price == info.price_info
    assert payment.ticket_params.recipient_rand_hash == info.ticket_params.recipient_rand_hash
    assert not payment.ticket_params.HasField("expiration_params")
    assert payment.expiration_params == info.ticket_params.expiration_params
    segment = pb.SegData.FromString(base64.b64decode(answer.json["segCreds"]))
    assert (segment.manifest_id, segment.auth_token) == (b"stream-1", info.auth_token)
    signed = encode_defunct(primitive=keccak256(b"stream-1" + bytes(32) + keccak256(b"")))
    assert Account.recover_message(signed, signature=segment.sig) == stage.keystore.checksum_address


def test_the_session_row_and_the_state_say_the_same(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    answer = gateway.pay(orchestrator=offer(), type="live", app="a")
    session, state = SignerSession.objects.get(customer=owner), answer.state
    assert len(state) == 13
    assert session.id.hex == state["StateID"]
    assert (session.sequence, state["SequenceNumber"]) == (0, 0)
    assert session.balance_wei == state["Balance"] == str(EV - 30)
    assert session.last_update.isoformat()[:26].rstrip("0") == state["LastUpdate"].rstrip("Z").rstrip("0")
    assert session.sender_nonce == state["SenderNonce"] == 1
    assert session.orchestrator == state["OrchestratorAddress"] == "0x" + ORCHESTRATOR.hex()


@pytest.mark.parametrize(
    ("members", "price", "tickets"),
    [
        ({"type": "lv2v"}, (1200, 1), 2),
        ({"type": "live"}, (9 * 10**10, 1), 1),
        ({"type": "fixed", "inPixels": 7}, (29 * 10**11, 1), 3),
        ({"inPixels": 5}, (98 * 10**10, 1), 5),
    ],
    ids=["lv2v", "live", "fixed", "pixels"],
)
def test_every_kind_of_work_opens_and_continues(
    stage: Stage, members: dict[str, Any], price: tuple[int, int], tickets: int
) -> None:
    gateway, owner = stage.gateway()
    first = gateway.pay(orchestrator=offer(price=price), **members)
    assert (first.status, first.nonces) == (200, list(range(1, tickets + 1)))
    # Seconds pass: a follow-up is paid at the session's first price, out of its balance where that lasts.
    later = gateway.pay(orchestrator=offer(price=price), state=first.json["state"], ManifestID="m", **members)
    deadline = time.monotonic() + 5
    while later.status == 482:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        later = gateway.pay(orchestrator=offer(price=price), state=first.json["state"], ManifestID="m", **members)
    assert later.status == 200, later.body
    assert (later.state["SequenceNumber"], later.state["StateID"]) == (1, first.state["StateID"])
    check_tickets(later.payment, stage.keystore.checksum_address)
    paid = rows(owner)
    assert [row["cost_wei"] for row in paid] == [signer_stage.signed_wei(row) for row in paid]
    assert wallet(owner) == 10**10 - sum(row["charge_nano_usd"] for row in paid)


def test_a_follow_up_is_paid_at_the_first_price_and_quotes_the_present_one(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    first = gateway.pay(orchestrator=offer(price=(3 * 10**12, 1)), type="fixed")
    later = gateway.pay(
        orchestrator=offer(price=(2 * 10**12, 1)), type="fixed", state=first.json["state"], ManifestID="m"
    )
    assert later.payment.expected_price.price_per_unit == 2 * 10**12
    assert [row["fee_wei"] for row in rows(owner)] == [3 * 10**12, 3 * 10**12]
    dearer = gateway.pay(
        orchestrator=offer(price=(4 * 10**12, 1)), type="fixed", state=later.json["state"], ManifestID="m"
    )
    assert (dearer.status, dearer.code) == (481, "price_above_ceiling")


def test_a_balance_that_lasts_needs_no_tickets(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    first = gateway.pay(orchestrator=offer(price=(1, 1)), type="fixed")
    one = gateway.pay(orchestrator=offer(price=(1, 1)), type="fixed", state=first.json["state"], ManifestID="m")
    again = gateway.pay(orchestrator=offer(price=(1, 1)), type="fixed", state=one.json["state"], ManifestID="m")
    assert (one.status, again.status, again.code) == (200, 482, "no_tickets")
    assert len(rows(owner)) == 2


def test_a_follow_up_without_elapsed_time_is_no_second_opening(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    first = gateway.pay(orchestrator=offer(), type="live")
    # Another process's clock may lag: this row was last paid a moment from now.
    signer_stage.execute(
        "UPDATE signing_session SET last_update = clock_timestamp() + interval '10 s' WHERE customer_id = %s", owner.pk
    )
    later = gateway.pay(orchestrator=offer(), type="live", state=first.json["state"], ManifestID="m")
    assert (later.status, later.code) == (482, "no_tickets")
    assert len(rows(owner)) == 1


def test_a_session_goes_on_when_the_account_changes_its_key(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    first = gateway.pay(orchestrator=offer(), type="fixed")
    builders.api_key(owner, "ch_live_other001_rotated")
    signer_stage.revoke(gateway.key or "")
    rotated = Client(stage.url, "ch_live_other001_rotated")
    later = rotated.pay(orchestrator=offer(), type="fixed", state=first.json["state"], ManifestID="m")
    assert later.status == 200
    assert [row["api_key_id"] for row in rows(owner)] == list(
        ApiKey.objects.filter(customer=owner).order_by("pk").values_list("pk", flat=True)
    )


def test_a_state_of_another_account_is_refused(stage: Stage) -> None:
    first, _ = stage.gateway()
    second, owner = stage.gateway()
    state = first.pay(orchestrator=offer(), type="fixed").json["state"]
    answer = second.pay(orchestrator=offer(), type="fixed", state=state, ManifestID="m")
    assert (answer.status, answer.code) == (400, "foreign_state")
    assert rows(owner) == []


def test_a_ticket_names_the_offered_round_or_the_chain_s_last(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    earlier = gateway.pay(orchestrator=offer(creation=(ROUND - 1, EARLIER_HASH)), type="fixed")
    unnamed = gateway.pay(orchestrator=offer(creation=(0, b"")), type="fixed")
    assert earlier.payment.expiration_params.creation_round == ROUND - 1
    assert unnamed.payment.expiration_params.creation_round == ROUND
    assert unnamed.payment.expiration_params.creation_round_block_hash == ROUND_HASH
    check_tickets(unnamed.payment, stage.keystore.checksum_address)
    assert [(row["creation_round"], bytes(row["creation_round_block_hash"])) for row in rows(owner)] == [
        (ROUND - 1, EARLIER_HASH),
        (ROUND, ROUND_HASH),
    ]


def test_nonces_rise_over_sessions_that_share_ticket_params(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    shared = offer(price=(19 * 10**11, 1))
    answers = [gateway.pay(orchestrator=shared, type="fixed", ManifestID=f"m{n}") for n in range(3)]
    assert [answer.nonces for answer in answers] == [[1, 2], [3, 4], [5, 6]]


def test_from_nonce_500_on_the_offer_must_be_refreshed(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=10**12)
    shared = offer(price=(1, 1), face_value=10**12)
    requests = [{"orchestrator": shared, "inPixels": 999 * 10**8, "ManifestID": f"m{n}"} for n in range(6)]
    answers = [gateway.pay(**members) for members in requests]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 200, 480]
    assert answers[4].nonces == list(range(401, 501))
    assert answers[5].headers["livepeer-orchestrator-url"] == "https://orch.example:8935"
    assert answers[5].code == "refresh_session"
    assert len(rows(owner)) == 5
    fresh = gateway.pay(orchestrator=offer(price=(1, 1)), inPixels=1, ManifestID="m0")
    assert (fresh.status, fresh.nonces) == (200, [1])


def test_wallet_usage_and_payments_agree_to_the_last_nano_dollar(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=10 * price_of(COST))
    answers = gateway.pay_all([{"orchestrator": offer(), "type": "live"} for _ in range(64)])
    assert sorted(answer.status for answer in answers) == [200] * 10 + [402] * 54
    assert {answer.code for answer in answers if answer.status == 402} == {"insufficient_credit"}
    assert wallet(owner) == 0
    assert len(rows(owner)) == 10
    for answer in answers:
        if answer.status == 200:
            check_tickets(answer.payment, stage.keystore.checksum_address)


def test_sign_orchestrator_info_introduces_the_sender(stage: Stage) -> None:
    gateway, _ = stage.gateway(dollars_nano=0)
    answers = [
        gateway.request("POST", "/sign-orchestrator-info", body)
        for body in (b"", b"{}", b"\x00not json", b"x" * 300_000)
    ]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    given = answers[0].json
    assert given["address"] == stage.keystore.checksum_address
    signed = encode_defunct(primitive=keccak256(given["address"].encode()))
    assert Account.recover_message(signed, signature=given["signature"]) == given["address"]


def test_the_time_of_last_use_is_written(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    gateway.pay(orchestrator=offer(), type="fixed")
    deadline = time.monotonic() + 8
    while ApiKey.objects.get(customer=owner).last_used_at is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_charge_names_the_rate_it_was_made_at(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    gateway.pay(orchestrator=offer(), type="fixed")
    rate = stage.chain.view().rate
    stage.chain.change(
        rate=type(rate)(
            feed_address=rate.feed_address,
            feed_round=rate.feed_round + 1,
            nano_usd_per_eth=4_000 * 10**9,
            updated_at=rate.updated_at,
        )
    )
    gateway.pay(orchestrator=offer(), type="fixed")
    first, second = rows(owner)
    assert first["rate_id"] != second["rate_id"]
    assert second["cost_nano_usd"] == -(-COST * 4_000 * 10**9 // 10**18)


def test_answers_are_json_with_the_members_clients_read(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    answer = gateway.pay(orchestrator=offer(), type="fixed", state={"State": None, "Sig": None}, unknown=[1])
    assert answer.headers["content-type"] == "application/json"
    assert list(json.loads(answer.body)) == ["payment", "segCreds", "state"]
    assert list(answer.json["state"]) == ["State", "Sig"]
