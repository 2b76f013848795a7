"""What the signer will not do: each bad request has its status and code, and none is charged."""

import base64
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import pytest

from accounts import holds
from signing.pm.ceilings import SenderFunds
from signing.pm.tickets import MAX_UINT256
from signing.signer import asgi
from tests import signer_stage
from tests.held_chain import ETHER, L1_BLOCK, ROUND, ROUND_HASH
from tests.signer_stage import FACE_VALUE, Client, Stage, offer, rows, running_signer, wallet

pytestmark = pytest.mark.django_db(transaction=True)
CREDIT = 10**10


@pytest.fixture
def stage() -> Iterator[Stage]:
    with running_signer(MAX_FACE_VALUE_WEI=FACE_VALUE) as running:
        yield running


def raw(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode()


def fixed(given: str, **members: Any) -> bytes:
    return raw({"orchestrator": given, "type": "fixed", **members})


BAD_REQUESTS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "empty body": (lambda: b"", 400, "malformed_json"),
    "not JSON": (lambda: b"{not-json", 400, "malformed_json"),
    "not UTF-8": (lambda: b"\xff\xfe", 400, "malformed_json"),
    "an array": (lambda: b"[]", 400, "malformed_json"),
    "orchestrator a number": (lambda: raw({"orchestrator": 5}), 400, "invalid_member"),
    "pixels a float": (lambda: raw({"orchestrator": offer(), "inPixels": 1.5}), 400, "invalid_member"),
    "pixels beyond int64": (lambda: raw({"orchestrator": offer(), "inPixels": 2**63}), 400, "invalid_member"),
    "bad base64": (lambda: fixed("%%%"), 400, "invalid_base64"),
    "base64 without padding": (lambda: fixed("abc"), 400, "invalid_base64"),
    "bad protobuf": (lambda: fixed(base64.b64encode(b"not-proto").decode()), 400, "invalid_orchestrator"),
    "no orchestrator": (lambda: raw({"type": "fixed"}), 400, "missing_orchestrator"),
    "no price": (lambda: fixed(offer(without=["price_info"])), 400, "missing_price"),
    "zero price": (lambda: fixed(offer(price=(0, 1))), 400, "missing_price"),
    "zero pixels per unit": (lambda: fixed(offer(price=(1, 0))), 400, "missing_price"),
    "negative price": (lambda: fixed(offer(price=(-1, 1))), 481, "price_above_ceiling"),
    "no ticket params": (lambda: fixed(offer(without=["ticket_params"])), 400, "missing_ticket_params"),
    "no auth token": (lambda: fixed(offer(without=["auth_token"])), 400, "missing_auth_token"),
    "auth token about to expire": (lambda: fixed(offer(expires=int(time.time()) + 170)), 480, "refresh_session"),
    "ticket params expired": (lambda: fixed(offer(expiration_block=L1_BLOCK + 1)), 480, "refresh_session"),
    "no expiration block": (lambda: fixed(offer(expiration_block=0)), 400, "no_expiration"),
    "tickets that always win": (lambda: fixed(offer(win_prob=MAX_UINT256)), 400, "face_value_too_low"),
    "tickets worth too much": (lambda: fixed(offer(face_value=10**16)), 400, "ticket_ev_too_high"),
    "tickets worth nothing": (lambda: fixed(offer(win_prob=0)), 482, "no_tickets"),
    "a face value above the deposit's share": (
        lambda: fixed(offer(face_value=ETHER, win_prob=1)),
        503,
        "deposit_too_low",
    ),
    "a face value above the largest of all": (
        lambda: fixed(offer(face_value=FACE_VALUE + 1, win_prob=1)),
        400,
        "face_value_too_high",
    ),
    "too many tickets": (lambda: fixed(offer(price=(101 * 10**12, 1))), 400, "too_many_tickets"),
    "too much in all": (lambda: fixed(offer(price=(30 * 10**12, 1))), 400, "total_ev_too_high"),
    "unknown type": (lambda: raw({"orchestrator": offer(), "type": "LIVE"}), 400, "invalid_job_type"),
    "nothing to bill": (lambda: raw({"orchestrator": offer()}), 400, "missing_billable_units"),
    "maxPrice below the price": (
        lambda: fixed(offer(price=(3, 1)), maxPrice={"price": "2.99", "currency": "wei", "unit": "fixed"}),
        481,
        "price_above_ceiling",
    ),
    "maxPrice in dollars": (
        lambda: fixed(offer(), maxPrice={"price": 1, "currency": "usd", "unit": "fixed"}),
        400,
        "invalid_max_price",
    ),
    "a manifest id that could be a ticket": (lambda: fixed(offer(), ManifestID="a\u0000b"), 400, "invalid_manifest_id"),
    "an app no database can hold": (lambda: fixed(offer(), app="a\u0000b"), 400, "invalid_app"),
    "a state of nobody": (
        lambda: fixed(offer(), ManifestID="m", state={"State": "e30=", "Sig": "e30="}),
        400,
        "invalid_sig",
    ),
    "a round the chain does not know": (
        lambda: fixed(offer(creation=(ROUND + 7, ROUND_HASH))),
        400,
        "wrong_creation_round",
    ),
    "a round too old": (lambda: fixed(offer(creation=(ROUND - 2, ROUND_HASH))), 400, "wrong_creation_round"),
    "another hash of the round": (lambda: fixed(offer(creation=(ROUND, b"\x01" * 32))), 400, "wrong_creation_round"),
    "a round not seen yet": (lambda: fixed(offer(creation=(ROUND + 1, ROUND_HASH))), 503, "round_not_seen"),
    "a recipient nobody registered": (lambda: fixed(offer(recipient=b"\x99" * 20)), 403, "recipient_not_registered"),
    "half a megabyte": (lambda: fixed(offer(), app="x" * 500_000), 413, "body_too_large"),
    "two megabytes": (lambda: b"x" * 2_000_000, 413, "body_too_large"),
}


def test_bad_requests_get_their_status_and_cost_nothing(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=CREDIT)
    answers = {
        name: gateway.request("POST", "/generate-live-payment", body()) for name, (body, _, _) in BAD_REQUESTS.items()
    }
    given = {name: (answer.status, answer.code) for name, answer in answers.items()}
    assert given == {name: (status, code) for name, (_, status, code) in BAD_REQUESTS.items()}
    assert all("Traceback" not in answer.body.decode() for answer in answers.values())
    assert {answer.headers.get("livepeer-orchestrator-url") for answer in answers.values() if answer.status == 480} == {
        "https://orch.example:8935"
    }
    assert (wallet(owner), rows(owner)) == (CREDIT, [])


def test_a_continued_session_needs_its_own_orchestrator_app_kind_and_a_manifest_id(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=CREDIT)
    opened = {"orchestrator": offer(), "type": "fixed", "app": "a"}
    state = gateway.pay(**opened).json["state"]
    altered = {"State": base64.b64encode(base64.b64decode(state["State"]) + b" ").decode(), "Sig": state["Sig"]}
    follow_up = {**opened, "orchestrator": offer(), "state": state, "ManifestID": "m"}
    refusals: dict[str, dict[str, Any]] = {
        "missing_manifest_id": {"ManifestID": None},
        "orchestrator_mismatch": {"orchestrator": offer(without=["address"])},
        "app_mismatch": {"app": "b"},
        "job_type_mismatch": {"type": "live"},
        "invalid_sig": {"state": altered},
    }
    for code, change in refusals.items():
        answer = gateway.pay(**{**follow_up, **change})
        assert (answer.status, answer.code) == (400, code)
    assert len(rows(owner)) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/generate-live-payment", 405, "POST"),
        ("PUT", "/generate-live-payment", 405, "POST"),
        ("GET", "/sign-orchestrator-info", 405, "POST"),
        ("POST", "/discover-orchestrators", 405, "GET"),
        ("POST", "/healthz", 405, "GET"),
        ("GET", "/", 404, None),
        ("POST", "/generate-live-payment/", 404, None),
        ("GET", "/admin/", 404, None),
    ],
)
def test_a_wrong_method_or_path_is_told_in_json(
    stage: Stage, method: str, path: str, status: int, allow: str | None
) -> None:
    gateway, _ = stage.gateway(dollars_nano=0)
    answer = gateway.request(method, path)
    assert (answer.status, answer.headers.get("allow")) == (status, allow)
    assert answer.code == {404: "not_found", 405: "method_not_allowed"}[status]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/generate-live-payment"),
        ("POST", "/sign-orchestrator-info"),
        ("GET", "/discover-orchestrators"),
    ],
)
def test_every_route_needs_a_key(stage: Stage, method: str, path: str) -> None:
    trusted = {"Signer-Auth-Id": "1", "X-Forwarded-For": "127.0.0.1"}
    without = Client(stage.url, None).request(method, path, headers=trusted)
    assert (without.status, without.code) == (401, "missing_api_key")
    basic = Client(stage.url, None).request(method, path, headers={"Authorization": "Basic YTpi"})
    assert (basic.status, basic.code) == (401, "missing_api_key")
    unknown = Client(stage.url, "ch_live_nobody00_knows").request(method, path)
    assert (unknown.status, unknown.code) == (401, "invalid_api_key")


def test_a_revoked_key_is_refused_within_two_seconds_by_every_signer(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    with running_signer(stage.chain) as other:
        clients = [gateway, Client(other.url, gateway.key)]
        for client in clients:
            assert client.pay(orchestrator=offer(), type="fixed").status == 200
        signer_stage.revoke(gateway.key or "")
        revoked_at = time.monotonic()
        for client in clients:
            # The commit itself knows at once, whatever a process remembers.
            assert client.pay(orchestrator=offer(), type="fixed").status == 401
            while client.request("POST", "/sign-orchestrator-info").status == 200:
                assert time.monotonic() - revoked_at < 2
                time.sleep(0.05)
    assert len(rows(owner)) == 2


def test_a_frozen_account_is_refused_until_it_thaws(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    assert gateway.pay(orchestrator=offer(), type="fixed").status == 200
    hold = holds.place(customer=owner, code=holds.Code.STAFF, reference="test:1", reason="looked odd")
    assert hold
    answer = gateway.pay(orchestrator=offer(), type="fixed")
    assert (answer.status, answer.code) == (402, "account_frozen")
    time.sleep(1.1)
    answer = gateway.pay(orchestrator=offer(), type="fixed")
    assert (answer.status, answer.code) == (402, "account_frozen")
    assert len(rows(owner)) == 1
    holds.lift(hold, reason="looked again")
    lifted_at = time.monotonic()
    while gateway.pay(orchestrator=offer(), type="fixed").status != 200:
        assert time.monotonic() - lifted_at < 2
        time.sleep(0.05)


def test_a_body_that_does_not_come_is_408_and_charges_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "_MOST_SECONDS_READING", 0.3)
    gateway, owner = stage.gateway(dollars_nano=CREDIT)
    whole = fixed(offer())
    head = (
        f"POST /generate-live-payment HTTP/1.1\r\nHost: signer\r\nAuthorization: Bearer {gateway.key}\r\n"
        f"Content-Length: {len(whole)}\r\n\r\n"
    )
    url = urlsplit(gateway.url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=10) as line:
        line.sendall(head.encode() + whole[:-1])
        answer = http.client.HTTPResponse(line)
        answer.begin()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert json.loads(answer.read())["error"]["code"] == "body_timeout"
    assert rows(owner) == []


def test_a_customer_without_a_wallet_has_no_credit(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=0)
    answer = gateway.pay(orchestrator=offer(), type="fixed")
    assert (answer.status, answer.code) == (402, "insufficient_credit")
    assert rows(owner) == []


@pytest.mark.parametrize(
    ("funds", "code"),
    [
        (SenderFunds(deposit_wei=0, reserve_wei=ETHER, withdraw_round=0), "no_deposit"),
        (SenderFunds(deposit_wei=ETHER, reserve_wei=0, withdraw_round=0), "no_reserve"),
        (SenderFunds(deposit_wei=ETHER, reserve_wei=ETHER, withdraw_round=ROUND + 1), "unlocking"),
        (SenderFunds(deposit_wei=10**15, reserve_wei=ETHER, withdraw_round=0), "deposit_too_low"),
    ],
)
def test_a_shortage_of_ours_is_temporary(stage: Stage, funds: SenderFunds, code: str) -> None:
    gateway, owner = stage.gateway(dollars_nano=CREDIT)
    stage.chain.change(funds=funds)
    answer = gateway.pay(orchestrator=offer(), type="fixed")
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, code, "1")
    assert rows(owner) == []


def test_nothing_is_signed_while_the_chain_cannot_be_read(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    assert gateway.request("GET", "/readyz").status == 200
    held, stage.chain.current = stage.chain.current, None
    answer = gateway.pay(orchestrator=offer(), type="fixed")
    assert (answer.status, answer.code) == (503, "chain_stale")
    assert gateway.request("GET", "/readyz").status == 503
    assert gateway.request("GET", "/discover-orchestrators").status == 503
    assert gateway.request("GET", "/healthz").status == 200
    assert gateway.request("POST", "/sign-orchestrator-info").status == 200
    stage.chain.current = held
    assert gateway.pay(orchestrator=offer(), type="fixed").status == 200
    assert len(rows(owner)) == 1


def test_a_round_whose_hash_the_chain_does_not_tell_is_a_shortage_of_ours(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    stage.chain.change(round_block_hashes={})
    answer = gateway.pay(orchestrator=offer(creation=(0, b"")), type="fixed")
    assert (answer.status, answer.code) == (503, "round_without_hash")
    assert rows(owner) == []


def test_a_configured_ceiling_holds_for_every_kind() -> None:
    with running_signer(MAX_PRICE_PER_UNIT=Fraction(500)) as stage:
        gateway, _ = stage.gateway()
        answers = [gateway.pay(orchestrator=offer(price=(price, 2)), type="fixed") for price in (1000, 1001)]
        assert [answer.status for answer in answers] == [200, 481]
