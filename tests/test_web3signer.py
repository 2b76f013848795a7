"""A key behind a Web3Signer: signed over HTTP, checked before use, and never two signatures of one ticket outside."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, strategies

from signing.pm.tickets import keccak256
from signing.signer.keystore import Keystore, KeystoreUnusable, WrongSignature, checked_signature
from signing.signer.web3signer import RemoteKey, SigningUnavailable, Web3Signer
from tests import standin_web3signer
from tests.held_chain import KEY
from tests.signer_stage import Answer, Client, Stage, check_tickets, offer, rows, running_signer, wallet
from tests.standin_web3signer import ORDER, StandinWeb3Signer, fickle_signature

LOCAL = Keystore(KEY)


@pytest.fixture
def server() -> Iterator[StandinWeb3Signer]:
    with standin_web3signer.running(KEY) as running:
        yield running


@pytest.fixture
def key(server: StandinWeb3Signer) -> RemoteKey:
    (found,) = Web3Signer(server.url).keys()
    return found


# -- The key by itself -------------------------------------------------------------------------------------------------


def test_a_remote_key_signs_what_the_local_one_signs(key: RemoteKey) -> None:
    assert (key.address, key.checksum_address) == (LOCAL.address, LOCAL.checksum_address)
    for message in (b"", b"\x00" * 32, b"a longer message" * 100):
        assert key.sign_personal(message) == LOCAL.sign_personal(message)
    many = [keccak256(bytes((n,))) for n in range(40)]
    assert key.sign_all(many) == LOCAL.sign_all(many)
    assert repr(key) == f"RemoteKey({LOCAL.checksum_address})"


def test_the_prefix_is_part_of_what_is_sent(server: StandinWeb3Signer, key: RemoteKey) -> None:
    message = keccak256(b"ticket")
    key.sign_personal(message)
    assert list(server.signed) == [b"\x19Ethereum Signed Message:\n32" + message]


def test_a_signature_that_varies_is_brought_into_the_form_the_chain_takes(
    server: StandinWeb3Signer, key: RemoteKey
) -> None:
    server.manner = "fickle"
    message = keccak256(b"ticket")
    signatures = {key.sign_personal(message) for _ in range(20)}
    assert len(signatures) == 20
    for signature in signatures:
        assert signature[64] in (27, 28)
        assert int.from_bytes(signature[32:64]) <= ORDER // 2
        assert Account.recover_message(encode_defunct(primitive=message), signature=signature) == LOCAL.checksum_address


@pytest.mark.parametrize("manner", ["foreign", "dumb", "wordy"])
def test_what_is_no_signature_of_the_sender_is_not_used(
    server: StandinWeb3Signer, key: RemoteKey, manner: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.manner = manner
    with pytest.raises(SigningUnavailable) as refused:
        key.sign_personal(b"message")
    assert (refused.value.status, refused.value.code) == (503, "signing_unavailable")
    assert len(caplog.records) == 1
    assert b"message".hex() not in caplog.text


def test_a_server_that_hangs_is_not_waited_for(server: StandinWeb3Signer, key: RemoteKey) -> None:
    server.manner = "silent"
    started = time.monotonic()
    with pytest.raises(SigningUnavailable):
        key.sign_all([b"one", b"two"])
    assert time.monotonic() - started < 2


def test_a_server_that_was_started_again_is_found_at_once(server: StandinWeb3Signer, key: RemoteKey) -> None:
    key.sign_personal(b"before")
    server.stop()
    with pytest.raises(SigningUnavailable):
        key.sign_personal(b"while it is away")
    again = StandinWeb3Signer(KEY, server.port)
    try:
        assert key.sign_personal(b"after") == LOCAL.sign_personal(b"after")
    finally:
        again.stop()


def test_a_server_without_keys_to_list_is_told_in_one_sentence(server: StandinWeb3Signer) -> None:
    with pytest.raises(KeystoreUnusable, match="SENDER_WEB3SIGNER_URL"):
        Web3Signer(server.url + "/elsewhere").keys()
    server.stop()
    with pytest.raises(KeystoreUnusable, match="SENDER_WEB3SIGNER_URL"):
        Web3Signer(server.url).keys()


@given(
    nonce=strategies.integers(0, 2**32),
    value=strategies.integers(0, 2**90),
    data=strategies.binary(max_size=400),
    gas=strategies.integers(21_000, 10**7),
)
def test_a_transaction_is_the_one_the_local_key_signs(nonce: int, value: int, data: bytes, gas: int) -> None:
    transaction: dict[str, Any] = {
        "type": 2,
        "chainId": 42161,
        "nonce": nonce,
        "to": "0xa8bB618B1520E284046F3dFc448851A1Ff26e41B",
        "value": value,
        "data": "0x" + data.hex(),
        "gas": gas,
        "maxFeePerGas": 2 * 10**9,
        "maxPriorityFeePerGas": 0,
    }

    class Here(Web3Signer):
        def sign(self, identifier: str, data: bytes) -> bytes:
            signature = LOCAL._key.sign_recoverable(keccak256(data), hasher=None)
            return bytes(signature)

    key = RemoteKey(Here("http://nowhere.invalid"), "0x", LOCAL.address)
    assert key.sign_transaction(transaction) == LOCAL.sign_transaction(transaction)


def test_a_transaction_of_another_type_is_not_signed(key: RemoteKey) -> None:
    with pytest.raises(ValueError, match="type 2"):
        key.sign_transaction({"type": 0})


@pytest.mark.parametrize("length", [0, 64, 66])
def test_a_signature_of_another_length_is_none(length: int) -> None:
    with pytest.raises(WrongSignature):
        checked_signature(b"\x01" * length, of=b"", by=LOCAL.address)


@given(strategies.binary(min_size=65, max_size=65))
def test_no_bytes_pass_as_a_signature(signature: bytes) -> None:
    with pytest.raises(WrongSignature):
        checked_signature(signature, of=b"", by=LOCAL.address)


def test_both_halves_of_s_become_the_lower_one() -> None:
    for number in range(20):
        data = bytes((number,))
        signature = checked_signature(fickle_signature(LOCAL._key, keccak256(data)), of=data, by=LOCAL.address)
        assert int.from_bytes(signature[32:64]) <= ORDER // 2


# -- The signer with such a key ----------------------------------------------------------------------------------------


@contextmanager
def signers(server: StandinWeb3Signer, count: int = 1) -> Iterator[list[Stage]]:
    """Signer applications over one database, all with the remote key."""
    with ExitStack() as open_signers:
        (key,) = Web3Signer(server.url).keys()
        first = open_signers.enter_context(running_signer(key=key))
        more = [open_signers.enter_context(running_signer(first.chain, key=key)) for _ in range(count - 1)]
        yield [first, *more]


def opening(**changes: Any) -> dict[str, Any]:
    return {"orchestrator": offer(price=(9 * 10**11, 1)), "type": "fixed", **changes}


def tickets_of(answers: list[Answer]) -> dict[tuple[bytes, int], set[bytes]]:
    """(rand hash, nonce) -> the signatures that left the house for it."""
    found: dict[tuple[bytes, int], set[bytes]] = {}
    for answer in answers:
        payment = answer.payment
        for each in payment.ticket_sender_params:
            key = (payment.ticket_params.recipient_rand_hash, each.sender_nonce)
            found.setdefault(key, set()).add(each.sig)
    return found


@pytest.mark.django_db(transaction=True)
def test_a_payment_is_signed_by_the_remote_key(server: StandinWeb3Signer) -> None:
    with signers(server) as (stage,):
        client, owner = stage.gateway()
        introduced = client.request("POST", "/sign-orchestrator-info").json
        answer = client.pay(**opening(orchestrator=offer(price=(3 * 10**12, 1), face_value=10**14)))
        assert answer.status == 200, answer.body
        assert introduced["address"] == LOCAL.checksum_address
        check_tickets(answer.payment, LOCAL.checksum_address)
        assert len(answer.nonces) == 31
        assert server.most_at_once > 1
        assert len(rows(owner)) == 1


@pytest.mark.django_db(transaction=True)
def test_many_customers_are_signed_for_at_once(server: StandinWeb3Signer) -> None:
    with signers(server) as (stage,):
        client, owner = stage.gateway()
        assert client.pay(**opening(ManifestID="m")).status == 200
        server.delay_seconds = 0.1
        started = time.monotonic()
        answers = client.pay_all([opening(ManifestID="m") for _ in range(24)])
        elapsed = time.monotonic() - started
        assert [answer.status for answer in answers] == [200] * 24
        assert elapsed < 12 * 0.1
        assert len(rows(owner)) == 25


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("manner", ["foreign", "dumb", "silent", "wordy"])
def test_a_key_that_does_not_sign_costs_nobody_anything(server: StandinWeb3Signer, manner: str) -> None:
    with signers(server) as (stage,):
        client, owner = stage.gateway(dollars_nano=10**9)
        request = opening()
        server.manner = manner
        started = time.monotonic()
        answer = client.pay(**request)
        assert (answer.status, answer.code) == (503, "signing_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert time.monotonic() - started < 2
        assert (rows(owner), wallet(owner)) == ([], 10**9)
        server.manner = "steady"
        assert client.pay(**request).status == 200


@pytest.mark.django_db(transaction=True)
def test_a_slow_key_is_given_up_within_two_seconds(server: StandinWeb3Signer) -> None:
    with signers(server) as (stage,):
        client, owner = stage.gateway()
        server.delay_seconds = 0.9
        started = time.monotonic()
        answers = client.pay_all([opening(orchestrator=shared) for shared in [offer(price=(9 * 10**11, 1))] * 4])
        assert time.monotonic() - started < 3
        assert {answer.status for answer in answers} <= {200, 503}
        assert len(rows(owner)) <= 1


@pytest.mark.django_db(transaction=True)
def test_of_a_key_that_never_signs_twice_alike_one_signature_a_ticket_leaves_the_house(
    server: StandinWeb3Signer,
) -> None:
    """Three signers, one offer, every request asked three times at different doors: mismatches all the way."""
    server.manner = "fickle"
    with signers(server, 3) as stages:
        client, owner = stages[0].gateway(dollars_nano=10**12)
        doors = [client, *(Client(stage.url, client.key) for stage in stages[1:])]
        shared = offer(price=(1, 1), face_value=10**12)
        requests = [{"orchestrator": shared, "inPixels": 3 * 10**9, "ManifestID": f"m{n}"} for n in range(8)]
        answers: list[Answer] = []

        def ask(door: Client, members: dict[str, Any]) -> None:
            deadline = time.monotonic() + 30
            while (answer := door.pay(**members)).status == 503 and time.monotonic() < deadline:
                pass
            answers.append(answer)

        askers = [threading.Thread(target=ask, args=(door, members)) for members in requests for door in doors]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert {answer.status for answer in answers} == {200}
        left = tickets_of(answers)
        assert max(len(signatures) for signatures in server.signed.values()) > 1, "nothing was ever signed again"
        assert {len(signatures) for signatures in left.values()} == {1}
        # Each request's three answers are one and the same, and it was charged once.
        assert len({answer.body for answer in answers}) == len(requests)
        assert len(rows(owner)) == len(requests)
        assert len(left) == sum(row["tickets"] for row in rows(owner))
        # Refreshed and lost answers bring the stored payment, not a signature made anew.
        follow = {**requests[0], "orchestrator": offer(price=(1, 1), face_value=10**12)}
        state = {**follow, "state": answers[0].json["state"]}
        made = client.pay(**state)
        again = [door.pay(**state) for door in doors]
        refreshed = doors[1].pay(**{**state, "orchestrator": offer(price=(1, 1), face_value=10**12)})
        assert made.status == 200, made.body
        assert {answer.body for answer in again} == {made.body}
        assert refreshed.json["payment"] == made.json["payment"]


@pytest.mark.django_db(transaction=True)
def test_a_remote_key_that_fails_leaves_no_word_of_payments_in_the_log(
    server: StandinWeb3Signer, caplog: pytest.LogCaptureFixture
) -> None:
    with signers(server) as (stage,), caplog.at_level(logging.DEBUG, logger="signing"):
        client, _ = stage.gateway()
        server.manner = "dumb"
        assert client.pay(**opening()).status == 503
        assert client.key is not None
        assert client.key not in caplog.text
        assert "HTTPError 500" in caplog.text
