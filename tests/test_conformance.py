"""What clients of the network's own signer rely on, asked of ours over a socket; and the page that lists it."""

import ast
import base64
import json
import os
import re
import socket
import ssl
import time
import urllib.request
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from livepeer_gateway import get_orch_info

from sandbox.orchestrator.node import Node
from signing.models import SignerSession
from signing.pm import livepeer_pb2 as pb
from tests.client_stage import check_charges, running_town
from tests.held_chain import L1_BLOCK, HeldChain
from tests.signer_stage import Answer, Client, Stage, check_tickets, offer, rows, running_signer, wallet

pytestmark = pytest.mark.django_db(transaction=True)
TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "compatibility.md"
CREDIT = 10**11
CLIENT_GIVES_UP_SECONDS = 5


def segment_of(answer: Answer) -> pb.SegData:
    return pb.SegData.FromString(base64.b64decode(answer.json["segCreds"]))


def continued(answer: Answer, **members: Any) -> dict[str, Any]:
    return {"orchestrator": offer(), "type": "live", "state": answer.json["state"], "ManifestID": "m", **members}


# -- The page ----------------------------------------------------------------------------------------------------------


def defined_tests() -> set[str]:
    found: set[str] = set()
    for file in TESTS.glob("test_*.py"):
        nodes = ast.walk(ast.parse(file.read_text()))
        found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


def test_every_test_the_compatibility_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert len(named) > 100
    assert named - defined_tests() == set()


def test_every_line_of_the_compatibility_page_names_a_test_or_says_why_not() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    numbers = [int(line.split("|")[1]) for line in lines]
    assert numbers == list(range(1, len(lines) + 1))
    bare = [line for line in lines if "`test_" not in line and not re.search(r"\*\*(Differs|Not ours)\*\*", line)]
    assert bare == []


# -- HTTP --------------------------------------------------------------------------------------------------------------


def test_no_header_but_the_key_matters_and_no_cookie_is_set(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    _, other = stage.gateway()
    for number, headers in enumerate(
        [
            {},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "text/plain", "Accept": "text/html"},
            {"User-Agent": "livepeer-python-gateway/0.1", "Cookie": "sessionid=1"},
            {"Signer-Auth-Id": f"customer:{other.pk}", "Signer-Client-Id": str(other.pk), "Host": "elsewhere.example"},
        ],
        start=1,
    ):
        for path, body in (
            ("/generate-live-payment", json.dumps({"orchestrator": offer(), "type": "fixed"}).encode()),
            ("/sign-orchestrator-info", b""),
        ):
            answer = gateway.request("POST", path, body, headers)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert not {"set-cookie", "location"} & set(answer.headers)
            assert "error" not in answer.json
        assert len(rows(owner)) == number
    assert rows(other) == []


def test_the_networks_own_status_codes_leave_the_server_as_they_are(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    asked: dict[int, dict[str, Any]] = {
        480: {"orchestrator": offer(expires=int(time.time()))},
        481: {"orchestrator": offer(), "maxPrice": {"price": 1, "currency": "wei", "unit": "fixed"}},
        482: {"orchestrator": offer(win_prob=0)},
    }
    parts = urlsplit(stage.url)
    for status, members in asked.items():
        body = json.dumps({"type": "fixed", **members}).encode()
        head = f"POST /generate-live-payment HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
            line.sendall(head.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            received = b"".join(iter(lambda: line.recv(65536), b""))
        first, _, rest = received.partition(b"\r\n")
        assert first.startswith(b"HTTP/1.1 %d " % status)
        assert json.loads(rest.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_failure_of_ours_is_told_in_json_and_without_details(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, owner = stage.gateway()

    def broken() -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(stage.chain, "view", broken)
    answer = gateway.pay(orchestrator=offer(), type="fixed")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert rows(owner) == []


def test_routes_that_are_not_offered_are_unknown_in_json(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    for path in ("/sign-byoc-job", "/signMessage", "/authorize", "/status"):
        answer = gateway.request("POST", path, b"{}")
        assert (answer.status, answer.code) == (404, "not_found")


def test_a_hundred_tickets_in_a_large_request_are_answered_before_any_client_gives_up(stage: Stage) -> None:
    gateway, _ = stage.gateway(dollars_nano=CREDIT)
    large = pb.OrchestratorInfo.FromString(base64.b64decode(offer(face_value=10**13, price=(999 * 10**9, 1))))
    for number in range(100):
        large.nodes.append(f"https://node-{number}.example.com:8935/{'x' * 60}")
    given = base64.b64encode(large.SerializeToString()).decode()
    assert len(given) > 10_000
    started = time.monotonic()
    answer = gateway.pay(orchestrator=given, type="fixed")
    assert time.monotonic() - started < CLIENT_GIVES_UP_SECONDS
    assert len(answer.nonces) == 100
    assert len(answer.body) < 16_000


# -- Requests ----------------------------------------------------------------------------------------------------------


def test_members_and_fields_nobody_knows_are_passed_over(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    unknown_field = b"\xfa\x3f\x03new"  # field 1023, three bytes
    given = base64.b64encode(base64.b64decode(offer()) + unknown_field).decode()
    answer = gateway.pay(
        orchestrator=given,
        type="fixed",
        capability="text-to-image",
        gatewayRequestId="job-1",
        attributionSource="somebody",
        quote={"id": 1},
        attestation=None,
        inPixels=0,
    )
    assert answer.status == 200, answer.body


def test_the_manifest_id_may_come_late_and_change(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    opened = gateway.pay(orchestrator=offer(price=(3 * 10**12, 1)), type="fixed")
    names = [segment_of(opened).manifest_id.decode()]
    answer = opened
    for name in ("the-orchestrator-s-own", "and:another"):
        again = continued(answer, orchestrator=offer(price=(3 * 10**12, 1)), type="fixed", ManifestID=name)
        answer = gateway.pay(**again)
        assert answer.status == 200, answer.body
        assert answer.state["StateID"] == opened.state["StateID"]
        names.append(segment_of(answer).manifest_id.decode())
    assert re.fullmatch("[0-9a-f]{8}", names[0])
    assert names[1:] == ["the-orchestrator-s-own", "and:another"]
    assert len({row["session_id"] for row in rows(owner)}) == 1


@pytest.mark.parametrize("capabilities", [None, ""], ids=["null", "empty"])
def test_no_capabilities_are_none_in_the_credentials(stage: Stage, capabilities: str | None) -> None:
    gateway, _ = stage.gateway()
    answer = gateway.pay(orchestrator=offer(), type="lv2v", capabilities=capabilities)
    assert not segment_of(answer).HasField("capabilities")


def test_a_maximum_price_holds_in_every_spelling_clients_use(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    statuses = []
    for price in ("3.036", "3.0359999999999996", "0.3036e+1", '"3"', "2.9999999999999999999999999", '"2.99"'):
        body = json.dumps({"orchestrator": offer(price=(3, 1)), "type": "live"})
        limit = f', "maxPrice": {{"price": {price}, "currency": "wei", "unit": "seconds"}}}}'
        statuses.append(gateway.request("POST", "/generate-live-payment", (body[:-1] + limit).encode()).status)
    assert statuses == [200, 200, 200, 200, 481, 481]


# -- Sessions ----------------------------------------------------------------------------------------------------------


def test_one_address_introduces_pays_and_stays_over_a_restart() -> None:
    chain, addresses = HeldChain(), []
    for _ in range(2):
        with running_signer(chain) as stage:
            gateway, _ = stage.gateway()
            introduced = gateway.request("POST", "/sign-orchestrator-info", b"").json
            paid = gateway.pay(orchestrator=offer(), type="fixed")
            check_tickets(paid.payment, introduced["address"])
            assert "0x" + paid.payment.sender.hex() == introduced["address"].lower()
            signature = bytes.fromhex(introduced["signature"].removeprefix("0x"))
            assert signature[64] in (27, 28)
            assert int.from_bytes(signature[32:64]) <= SECP256K1_ORDER // 2
            addresses.append((introduced["address"], introduced["signature"]))
    assert addresses[0] == addresses[1]


SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def test_a_stream_may_pay_again_a_moment_after_it_opened(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=CREDIT)
    given = offer(price=(1200, 1))
    opened = gateway.pay(orchestrator=given, type="lv2v")
    again = gateway.pay(orchestrator=given, type="lv2v", state=opened.json["state"], ManifestID="m")
    assert (opened.status, again.status in (200, 482)) == (200, True)
    # It is no second minute in advance.
    assert rows(owner)[0]["billed_units"] == 60 * 1280 * 720 * 30
    assert all(row["billed_units"] < 10 * 1280 * 720 * 30 for row in rows(owner)[1:])


def test_a_client_without_states_opens_each_time(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=CREDIT)
    answers = [gateway.pay(orchestrator=offer(price=(1200, 1)), type="lv2v", capability="x") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert {row["billed_units"] for row in rows(owner)} == {60 * 1280 * 720 * 30}
    assert len({row["session_id"] for row in rows(owner)}) == 20


def test_a_refresh_starts_at_nonce_one_with_the_token_of_its_own_offer(stage: Stage) -> None:
    gateway, _ = stage.gateway()
    price = {"price": (19 * 10**11, 1)}
    opened = gateway.pay(orchestrator=offer(**price), type="fixed")
    fresh = offer(**price, expires=int(time.time()) + 1234)
    later = gateway.pay(**continued(opened, orchestrator=fresh, type="fixed"))
    again = gateway.pay(**continued(later, orchestrator=fresh, type="fixed"))
    assert (opened.nonces, later.nonces[0], again.nonces[0]) == ([1, 2], 1, later.nonces[-1] + 1)
    token = pb.OrchestratorInfo.FromString(base64.b64decode(fresh)).auth_token
    assert segment_of(later).auth_token == segment_of(again).auth_token == token


def test_being_told_to_refresh_or_to_wait_moves_nothing(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    first = gateway.pay(orchestrator=offer(), type="live")
    opened = gateway.pay(**continued(first))  # now a whole ticket is left, which pays for a thousand million seconds
    before = SignerSession.objects.values().get(customer=owner)
    money = wallet(owner)
    waits = gateway.pay(**continued(opened))
    stale = gateway.pay(**continued(opened, orchestrator=offer(expiration_block=L1_BLOCK)))
    ended = gateway.pay(**continued(opened, orchestrator=offer(expires=int(time.time()) + 100)))
    assert [answer.status for answer in (waits, stale, ended)] == [482, 480, 480]
    assert SignerSession.objects.values().get(customer=owner) == before
    assert (wallet(owner), len(rows(owner))) == (money, 2)


def test_clients_that_hung_up_find_their_tickets_when_they_ask_again(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    parts = urlsplit(stage.url)
    head = f"POST /generate-live-payment HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
    for count, patience_seconds in enumerate((0, 0.002, 0.005, 0.01, 0.02, 0.05), start=1):
        members = {"orchestrator": offer(), "type": "fixed", "ManifestID": "m"}
        body = json.dumps(members).encode()
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as line:
            line.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(patience_seconds)
        answer = gateway.pay(**members)
        assert (answer.status, answer.nonces, len(rows(owner))) == (200, [1], count)


# -- A whole session in go-livepeer's shape ----------------------------------------------------------------------------


class GoGateway:
    """Pays as go-livepeer does: state members always there, a new offer out of each payment, GetOrchestrator on 480."""

    def __init__(self, node: Node, signers: list[str], key: str) -> None:
        self.node, self.signers, self.key = node, signers, key
        self.state: dict[str, Any] = {"State": None, "Sig": None}
        self.name = os.urandom(4).hex()
        self.statuses: list[int] = []
        self.refresh()

    def refresh(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        info = get_orch_info(self.node.service_uri, signer_url=self.signers[0], signer_headers=headers)
        self.offer = info.SerializeToString()

    def ask(self, turn: int) -> Answer:
        """Another signer process each time: a reconnect."""
        signer = Client(self.signers[turn % len(self.signers)], self.key)
        answer = signer.pay(
            ManifestID=self.name,
            orchestrator=base64.b64encode(self.offer).decode(),
            state=self.state,
            type="lv2v",
            inPixels=0,
            capabilities=None,
        )
        self.statuses.append(answer.status)
        return answer

    def deliver(self, answer: Answer) -> None:
        self.state = answer.json["state"]
        headers = {"Livepeer-Payment": answer.json["payment"], "Livepeer-Segment": answer.json["segCreds"]}
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(self.node.service_uri + "/payment", data=b"", headers=headers)
        with urllib.request.urlopen(request, timeout=10, context=context) as given:
            self.offer = pb.PaymentResult.FromString(given.read()).info.SerializeToString()


NEW_PRICES = {6: Fraction(1, 2), 11: Fraction(1)}  # times the price at the session's start, from a turn on


def test_a_session_in_the_shape_of_go_livepeer_survives_losses_refreshes_new_prices_and_reconnects(
    tmp_path: Path,
) -> None:
    with (
        running_town(tmp_path, transcode_ticket_ev_wei=3 * 10**10) as town,
        running_signer(town.signer.chain) as other,
    ):
        gateway, owner = town.signer.gateway(dollars_nano=CREDIT)
        go = GoGateway(town.node, [town.signer.url, other.url], gateway.key or "")
        lost = 0
        for turn in range(18):
            if turn in NEW_PRICES:
                town.change_price(NEW_PRICES[turn])
            answer = go.ask(turn)
            if answer.status == 200 and turn % 3 == 1:
                lost += 1  # thrown away; sometimes the offer is fetched anew before the old state is sent again
                if turn % 2:
                    go.refresh()
            elif answer.status == 200:
                go.deliver(answer)
            if turn % 7 == 6:
                go.refresh()
            time.sleep(0.35)
        assert set(go.statuses) <= {200, 482}
        town.change_price(Fraction(101, 100))  # more than what the session was opened at ends it
        go.refresh()
        assert go.ask(0).status == 481
        found = town.status()
    assert lost >= 3
    sold = check_charges(owner, CREDIT)
    assert (found["tickets_rejected"], found["payments_rejected"]) == (0, {})
    assert found["tickets_accepted"] <= len(sold)
    assert len({row["session_id"] for row in rows(owner)}) == 1
