"""The sandbox orchestrator, a process of its own, is paid by a real broker contract on the sandbox chain."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox.chain.client import ETHER_WEI, SandboxChain, running_chain
from sandbox.orchestrator.client import RunningOrchestrator, running_orchestrator
from signing.pm import livepeer_pb2 as pb
from tests.standin_signer import Payer

# Four of five tickets win.
TERMS = {"max_face_value_wei": 1_250_000_000_000, "redeem_delay_seconds": 1}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxChain]:
    with running_chain(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


@pytest.fixture(scope="module")
def payer(chain: SandboxChain) -> Payer:
    payer = Payer(key=chain.accounts["sender"].private_key)
    chain.send(
        "sender",
        "TicketBroker",
        "fundDepositAndReserve",
        ETHER_WEI,
        ETHER_WEI,
        value_wei=2 * ETHER_WEI,
    )
    return payer


@contextmanager
def started(chain: SandboxChain, folder: Path, terms: dict[str, int]) -> Iterator[RunningOrchestrator]:
    with running_orchestrator(
        folder,
        rpc_url=chain.rpc_url,
        controller=chain.controller_address,
        key=chain.accounts["orchestrator"].private_key,
        **TERMS | terms,
    ) as orchestrator:
        yield orchestrator


@pytest.fixture
def orchestrator(chain: SandboxChain, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningOrchestrator]:
    with started(chain, tmp_path, getattr(request, "param", {})) as orchestrator:
        yield orchestrator


def post(url: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(url, data=b"{}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def pay(orchestrator: RunningOrchestrator, payer: Payer, nonces: Sequence[int]) -> None:
    url = orchestrator.url + "/runner/camera/session"
    _, terms = post(url, {"Livepeer-Payer-Address": payer.address_text})
    info = pb.OrchestratorInfo.FromString(base64.b64decode(terms["payment_params"]))
    status, answer = post(url, payer.headers(info, terms["manifest_id"], nonces))
    assert status == 200, answer


def deposit_wei(chain: SandboxChain, payer: Payer) -> int:
    (deposit, _), _ = chain.read("TicketBroker", "getSenderInfo", payer.address_text)
    wei: int = deposit
    return wei


def redeemed(orchestrator: RunningOrchestrator) -> dict[str, Any]:
    return orchestrator.wait_for(
        lambda status: status["winners"] > 0 and status["redeemed"] == status["winners"], seconds=30
    )


@pytest.mark.parametrize("orchestrator", [{"redeem_batch": 1}, {"redeem_batch": 20}], indirect=True)
def test_winners_are_redeemed_singly_or_in_one_batch_and_the_deposit_pays_them(
    chain: SandboxChain, payer: Payer, orchestrator: RunningOrchestrator
) -> None:
    before = deposit_wei(chain, payer)
    pay(orchestrator, payer, range(1, 11))
    status = redeemed(orchestrator)
    transactions = {row["tx_hash"] for row in status["redemptions"]}
    paid = sum(int(row["face_value"]) for row in status["redemptions"])
    assert status["tickets_accepted"] == 10
    assert before - deposit_wei(chain, payer) == paid
    in_batches = len(transactions) < status["winners"]
    assert in_batches == (orchestrator.terms["redeem_batch"] > 1 and status["winners"] > 1)


def test_a_restarted_orchestrator_redeems_what_it_won_before(chain: SandboxChain, payer: Payer, tmp_path: Path) -> None:
    with started(chain, tmp_path, {"redeem_delay_seconds": 3600}) as first:
        pay(first, payer, range(1, 11))
        winners = first.status()["winners"]
        first.process.kill()
        first.process.wait()
    with started(chain, tmp_path, {}) as second:
        assert redeemed(second)["winners"] == winners


def test_a_sender_without_reserve_gets_no_ticket_params(
    orchestrator: RunningOrchestrator,
) -> None:
    stranger = Payer(key="0x" + "77" * 32)
    status, answer = post(
        orchestrator.url + "/runner/camera/session", {"Livepeer-Payer-Address": stranger.address_text}
    )
    assert (status, answer["error"]["code"]) == (400, "insufficient_sender_reserve")
