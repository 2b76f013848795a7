"""One port of the sandbox orchestrator speaks gRPC and HTTP, and answers both as the network's clients expect."""

import asyncio
import base64
import gc
import json
import socket
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from livepeer_gateway import discover_runners, get_orch_info, start_lv2v
from livepeer_gateway.errors import LivepeerGatewayError
from livepeer_gateway.lv2v import StartJobRequest

from sandbox.orchestrator.node import Node
from sandbox.orchestrator.terms import LV2V_MODEL, Terms
from signing.pm import livepeer_pb2 as pb
from tests.standin_orchestrator import RECIPIENT, ChainInMemory, served_node
from tests.standin_signer import Payer, StandinSigner, standin_signer

PAYER = Payer(key="0x" + "11" * 32)


@pytest.fixture(scope="module")
def chain() -> ChainInMemory:
    return ChainInMemory()


@pytest.fixture(scope="module")
def node(chain: ChainInMemory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with served_node(chain, tmp_path_factory.mktemp("orchestrator"), Terms()) as node:
        yield node


@pytest.fixture(scope="module")
def signer() -> Iterator[StandinSigner]:
    with standin_signer(PAYER) as signer:
        yield signer


def call(node: Node, path: str, *, headers: dict[str, str] | None = None, body: object = None) -> tuple[int, bytes]:
    """POST with a body or headers, GET otherwise; the status and the body."""
    data = None if body is None and headers is None else json.dumps(body).encode()
    request = urllib.request.Request(node.service_uri + path, data=data, headers=headers or {})
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def error_code(answer: tuple[int, bytes]) -> str:
    return f"{answer[0]} {json.loads(answer[1])['error']['code']}"


def challenge(node: Node, path: str) -> tuple[pb.OrchestratorInfo, dict[str, Any]]:
    status, body = call(node, path, headers={"Livepeer-Payer-Address": PAYER.address_text})
    assert status == 402
    terms = json.loads(body)
    return pb.OrchestratorInfo.FromString(base64.b64decode(terms["payment_params"])), terms


def test_the_sdk_gets_orchestrator_info_from_the_port_that_also_speaks_http(node: Node, signer: StandinSigner) -> None:
    info = get_orch_info(node.service_uri, signer_url=signer.url)
    assert info.address == RECIPIENT
    assert info.transcoder == node.service_uri
    assert info.price_info.pricePerUnit == node.terms.pixel_price_wei
    assert call(node, "/sandbox/status")[0] == 200


def test_get_orchestrator_wants_proof_of_the_address(node: Node) -> None:
    with standin_signer(Payer(key="0x" + "33" * 32)) as liar:
        liar.who_says = PAYER.address_text
        with pytest.raises(LivepeerGatewayError, match="authentication failed"):
            get_orch_info(node.service_uri, signer_url=liar.url)


def test_discovery_lists_runners_priced_in_wei(node: Node) -> None:
    entries = asyncio.run(discover_runners(discovery_url=node.service_uri + "/discovery"))
    units = {runner["app"]: runner["price_info"]["unit"] for runner in entries[0]["runners"]}
    assert units == {
        "sandbox/camera": "seconds",
        "sandbox/restyle": "720p-pixel-seconds",
        "sandbox/caption": "fixed",
    }


def test_a_runner_challenge_is_paid_once_and_opens_one_session(node: Node) -> None:
    info, terms = challenge(node, "/runner/camera/session")
    assert info.auth_token.session_id == terms["manifest_id"]
    headers = PAYER.headers(info, terms["manifest_id"], [1])
    status, body = call(node, "/runner/camera/session", headers=headers)
    assert status == 200
    session = json.loads(body)["session_id"]
    assert error_code(call(node, "/runner/camera/session", headers=headers)) == "409 session_in_use"
    path = f"/runner/camera/session/{session}"
    status, body = call(node, path + "/payment", headers=PAYER.headers(info, session, [2]))
    assert status == 200
    assert pb.PaymentResult.FromString(body).info.auth_token == info.auth_token
    assert call(node, path + "/stop", headers={})[0] == 200
    assert error_code(call(node, path + "/payment", headers=PAYER.headers(info, session, [3]))) == "404 session_gone"


def test_a_runner_payment_must_name_its_own_session(node: Node) -> None:
    info, _ = challenge(node, "/runner/camera/session")
    answer = call(node, "/runner/camera/session", headers=PAYER.headers(info, "another", [1]))
    assert error_code(answer) == "403 mismatched_manifest"


def test_params_are_refreshed_for_known_sessions_of_the_same_sender_only(node: Node) -> None:
    info, terms = challenge(node, "/runner/camera/session")
    wish = {"sender": PAYER.address_text, "manifest_id": terms["manifest_id"]}
    status, body = call(node, "/refresh-payment", body=wish)
    fresh = pb.OrchestratorInfo.FromString(base64.b64decode(json.loads(body)["payment_params"]))
    assert status == 200
    assert fresh.ticket_params.recipient_rand_hash != info.ticket_params.recipient_rand_hash
    assert fresh.auth_token.session_id == info.auth_token.session_id
    assert error_code(call(node, "/refresh-payment", body=wish | {"manifest_id": "?"})) == "409 unknown_session"
    stranger = "0x" + "22" * 20
    assert error_code(call(node, "/refresh-payment", body=wish | {"sender": stranger})) == "409 unknown_session"


def test_a_fixed_job_is_paid_by_exactly_one_call(node: Node) -> None:
    info, terms = challenge(node, "/runner/caption/app")
    headers = PAYER.headers(info, terms["manifest_id"], [1])
    assert call(node, "/runner/caption/app", headers=headers)[0] == 200
    assert error_code(call(node, "/runner/caption/app", headers=headers)) == "409 session_in_use"
    account = node.sessions.accounts[PAYER.address, terms["manifest_id"]]
    assert account.debited_wei == node.terms.job_price_wei


def test_unreadable_headers_get_the_networks_status_codes(node: Node) -> None:
    headers = {"Livepeer-Payment": "!!!", "Livepeer-Segment": ""}
    assert error_code(call(node, "/payment", headers=headers)) == "402 unreadable_payment"
    info, _ = challenge(node, "/runner/camera/session")
    headers = PAYER.headers(info, "x", [1]) | {"Livepeer-Segment": "!!!"}
    assert error_code(call(node, "/payment", headers=headers)) == "403 unreadable_segment"


def test_a_transcoding_segment_needs_credit_and_lives_on_earlier_payments(node: Node, signer: StandinSigner) -> None:
    raw = get_orch_info(node.service_uri, signer_url=signer.url).SerializeToString()
    info = pb.OrchestratorInfo.FromString(raw)
    paid = PAYER.headers(info, "stream", [1, 2, 3])
    unpaid = {"Livepeer-Segment": paid["Livepeer-Segment"]}
    pixels = 10**7  # 1.675e10 wei of the 1.5e11 in three tickets
    assert error_code(call(node, f"/segment?pixels={pixels}", headers=unpaid)) == "400 insufficient_balance"
    status, body = call(node, f"/segment?pixels={pixels}", headers=paid)
    assert status == 200
    assert pb.PaymentResult.FromString(body).info.ticket_params.seed != info.ticket_params.seed
    assert call(node, f"/segment?pixels={pixels}", headers=unpaid) == (200, b"")
    account = node.sessions.accounts[PAYER.address, info.auth_token.session_id]
    assert account.debited_wei == 2 * pixels * node.terms.pixel_price_wei


def test_the_sdk_starts_a_live_video_stream_on_a_manifest_id_of_the_orchestrator(
    node: Node, signer: StandinSigner
) -> None:
    job = start_lv2v(
        [node.service_uri],
        StartJobRequest(model_id=LV2V_MODEL),
        signer_url=signer.url,
        start_payments=False,
    )
    assert job.manifest_id is not None
    account = node.sessions.accounts[PAYER.address, job.manifest_id]
    opening = 60 * 1280 * 720 * 30 * node.terms.pixel_price_wei
    assert account.tickets == 3
    assert account.received_wei >= opening


def test_a_node_that_stops_leaves_no_connection_of_its_clients_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with ExitStack() as clients, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(3):
            with served_node(ChainInMemory(), tmp_path, Terms()) as node:
                where = urlsplit(node.service_uri)
                for _ in range(3):  # and it is stopped in the moment in which they came
                    raw = clients.enter_context(socket.create_connection((where.hostname, where.port), timeout=10))
                    clients.enter_context(context.wrap_socket(raw))
            # The worker may still be called for an earlier story, which says when that fails.
            assert [each for each in caplog.records if not str(each.threadName).startswith("wake ")] == []
            caplog.clear()  # what is logged of an error keeps it alive
            gc.collect()
    assert [str(each.message) for each in heard if "unclosed" in str(each.message)] == []
