"""The sandbox gateways, as real processes, pay an orchestrator through a signer and behave when told no."""

import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from clearinghouse.embedded import die_with_parent
from sandbox.orchestrator.node import Node
from sandbox.orchestrator.terms import Terms
from tests.standin_orchestrator import ChainInMemory, served_node
from tests.standin_signer import Payer, StandinSigner, standin_signer

ROOT = Path(__file__).parents[1]
API_KEY = "a-key-that-nobody-prints"
PAYER = Payer(key="0x" + "11" * 32)


@pytest.fixture
def signer() -> Iterator[StandinSigner]:
    with standin_signer(PAYER) as signer:
        yield signer


@contextmanager
def gateway(kind: str, signer: StandinSigner, node: Node, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sandbox.gateway", f"--kind={kind}", f"--signer-url={signer.url}"]
    command += [f"--orchestrator-url={node.service_uri}", f"--api-key={API_KEY}", *options]
    pipe, merged = subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(command, stdout=pipe, stderr=merged, text=True, cwd=ROOT, preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def status(node: Node) -> dict[str, Any]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(node.service_uri + "/sandbox/status", timeout=10, context=context) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def wait_until(condition: Callable[[], object], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_all_four_kinds_pay_for_what_they_use_through_a_refresh_of_ticket_params(
    signer: StandinSigner, tmp_path: Path
) -> None:
    signer.refresh_each = True
    with served_node(ChainInMemory(), tmp_path, Terms()) as node:
        with gateway("all", signer, node, "--session-seconds=9") as process:
            output, _ = process.communicate(timeout=60)
        found = status(node)
    assert process.returncode == 0, output
    apps = {session["app"] for session in found["sessions"]}
    assert apps == {"sandbox/camera", "live-video-to-video", "transcoding", "sandbox/caption"}
    assert len(signer.refreshed) == 3  # every session that pays more than once
    assert found["tickets_rejected"] == 0
    assert found["payments_rejected"] == {}
    assert found["tickets_accepted"] == signer.tickets
    assert all(Fraction(account["credit_wei"]) >= 0 for account in found["accounts"])
    assert sum(Fraction(account["debited_wei"]) for account in found["accounts"]) > 0


def test_a_gateway_asks_as_its_kind_asks(signer: StandinSigner, tmp_path: Path) -> None:
    with served_node(ChainInMemory(), tmp_path, Terms()) as node:
        for kind in ("transcode", "job"):
            asked, deadline = len(signer.requests), time.monotonic() + 30
            with gateway(kind, signer, node, "--session-seconds=30"):
                while len(signer.requests) == asked:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
    segment, job = signer.requests[0], signer.requests[-1]
    assert segment["state"] == {"State": None, "Sig": None}
    assert segment["inPixels"] == 2 * 1280 * 720 * 30
    assert "type" not in segment
    assert (job["type"], job["app"], job["maxPrice"]["unit"]) == ("fixed", "sandbox/caption", "fixed")
    assert "state" not in job


def test_a_refused_gateway_backs_off_prints_no_key_and_ends_at_once_when_asked(
    signer: StandinSigner, tmp_path: Path
) -> None:
    signer.refuse_with = 402
    with (
        served_node(ChainInMemory(), tmp_path, Terms()) as node,
        gateway("all", signer, node, "--forever") as process,
    ):
        wait_until(lambda: len(signer.requests) >= 8, seconds=30)  # each of the four asked and asked again
        asked, started = len(signer.requests), time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
        assert time.monotonic() - started < 3
    assert process.returncode == 0
    assert asked < 16
    assert "402" in output
    assert API_KEY not in output


def test_a_live_session_whose_payments_stop_is_closed_and_the_gateway_notices(
    signer: StandinSigner, tmp_path: Path
) -> None:
    # 10 s are paid ahead, in tickets worth 5 s each; a debit every second finds the end quickly.
    terms = Terms(live_price_wei=2 * 10**11, debit_seconds=1)
    with (
        served_node(ChainInMemory(), tmp_path, terms) as node,
        gateway("live", signer, node, "--session-seconds=60") as process,
    ):
        wait_until(lambda: signer.tickets >= 2, seconds=20)
        signer.refuse_with = 402
        output, _ = process.communicate(timeout=40)
        found = status(node)
    assert process.returncode == 1
    assert "is gone" in output
    assert [session["closed_because"] for session in found["sessions"]] == ["credit is short"]
