"""Who asks too often is told when to ask again, nobody else notices, and what is remembered of them is bounded."""

import time
from ipaddress import ip_network
from typing import Any

import pytest

from signing.signer.request_rates import Buckets
from tests.signer_stage import Answer, Client, offer, rows, running_signer

PROXY = (ip_network("127.0.0.0/8"),)


def test_a_bucket_gives_its_burst_and_then_so_many_a_second() -> None:
    bucket: Buckets[str] = Buckets(per_second=50, burst=5)
    assert [bucket.take("a") for _ in range(5)] == [0.0] * 5
    wait = bucket.take("a")
    assert 0 < wait <= 0.02
    assert bucket.take("b") == 0.0
    time.sleep(wait + 0.001)
    assert bucket.take("a") == 0.0
    assert bucket.take("a") > 0
    bucket.give_back("a")
    assert bucket.take("a") == 0.0


def test_nothing_is_limited_at_zero() -> None:
    bucket: Buckets[str] = Buckets(per_second=0, burst=0)
    assert {bucket.take("a") for _ in range(1000)} == {0.0}
    assert len(bucket) == 0


def test_of_a_million_names_only_so_many_are_remembered() -> None:
    bucket: Buckets[int] = Buckets(per_second=0.1, burst=1, most=1_000)
    for name in range(20_000):
        assert bucket.take(name) == 0.0
    assert len(bucket) == 1_000
    assert bucket.take(19_999) > 0


def introduce(client: Client, **headers: str) -> Answer:
    return client.request("POST", "/sign-orchestrator-info", headers=headers)


def until_refused(client: Client, most: int, **headers: str) -> tuple[int, Answer]:
    """How many were answered before the first 429, and that one."""
    for count in range(most):
        answer = introduce(client, **headers)
        if answer.status == 429:
            return count, answer
    raise AssertionError(f"{most} requests were answered")


@pytest.mark.django_db(transaction=True)
def test_a_key_that_asks_too_often_waits_and_its_session_goes_on() -> None:
    with running_signer(KEY_REQUESTS_PER_SECOND=3) as stage:
        client, owner = stage.gateway()
        neighbour, _ = stage.gateway()
        first = client.pay(orchestrator=offer(), type="fixed")
        follow_up = {"orchestrator": offer(), "type": "fixed", "ManifestID": "m", "state": first.json["state"]}
        answered, refused = until_refused(client, 50)
        assert 5 <= answered < 40
        assert (refused.code, refused.headers["retry-after"]) == ("too_many_requests", "1")
        paid = pay_while_refused(client, follow_up)
        assert paid.status == 200
        assert introduce(neighbour).status == 200
        assert len(rows(owner)) == 2


def pay_while_refused(client: Client, members: dict[str, Any]) -> Answer:
    deadline = time.monotonic() + 5
    while (answer := client.pay(**members)).status == 429:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return answer


@pytest.mark.django_db(transaction=True)
def test_an_address_that_tries_keys_is_told_to_wait_and_good_keys_behind_it_are_not() -> None:
    with running_signer(BAD_KEYS_PER_MINUTE=5, TRUSTED_PROXIES=PROXY) as stage:
        client, _ = stage.gateway()
        late, _ = stage.gateway()
        thief = {"X-Forwarded-For": "8.8.8.8, 203.0.113.9"}
        assert introduce(client, **thief).status == 200
        for number in range(5):
            assert introduce(Client(stage.url, f"ch_live_guess{number}_x"), **thief).status == 401
        refused = introduce(Client(stage.url, "ch_live_guess9_x"), **thief)
        assert (refused.status, refused.code) == (429, "too_many_bad_keys")
        assert 1 <= int(refused.headers["retry-after"]) <= 12
        # Another claim in front of what the proxy wrote changes nothing, another client does.
        assert (
            introduce(Client(stage.url, "ch_live_guess9_x"), **{"X-Forwarded-For": "1.2.3.4,203.0.113.9"}).status == 429
        )
        assert introduce(Client(stage.url, "ch_live_guess9_x"), **{"X-Forwarded-For": "203.0.113.10"}).status == 401
        # Of IPv6 somebody commands a whole network.
        several = [{"X-Forwarded-For": f"2001:db8:0:{number // 6}::{number}"} for number in range(7)]
        guesses = [introduce(Client(stage.url, "ch_live_guess9_x"), **each).status for each in several]
        assert guesses == [401] * 5 + [429, 401]
        # A key that was good is never in their way; one this process never saw has to wait for the address.
        assert introduce(client, **thief).status == 200
        assert introduce(late, **thief).status == 429
        assert introduce(late).status == 200
        assert introduce(late, **thief).status == 200


@pytest.mark.django_db(transaction=True)
def test_a_good_key_that_arrives_many_times_at_once_is_no_guess() -> None:
    with running_signer(BAD_KEYS_PER_MINUTE=2) as stage:
        client, _ = stage.gateway()
        answers = client.pay_all([{"orchestrator": offer(price=(1, 1)), "type": "fixed"} for _ in range(24)])
        assert {answer.status for answer in answers} == {200}


@pytest.mark.django_db(transaction=True)
def test_nobody_vouches_for_a_client_unless_the_operator_names_the_proxy() -> None:
    with running_signer(BAD_KEYS_PER_MINUTE=3) as stage:
        client, _ = stage.gateway()
        assert introduce(client).status == 200
        answers = [
            introduce(Client(stage.url, f"ch_live_guess{number}_x"), **{"X-Forwarded-For": f"203.0.113.{number}"})
            for number in range(6)
        ]
        assert [answer.status for answer in answers] == [401] * 3 + [429] * 3
        assert introduce(client).status == 200
