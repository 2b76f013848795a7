"""A third of the signers' answers never arrive, or late: the network's Python client pays on and is charged once."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from livepeer_gateway import LivepeerGatewayError, LiveRunnerSession, reserve_session

from clearinghouse.embedded import die_with_parent
from sandbox.orchestrator.node import Node
from sandbox.orchestrator.terms import LIVE_APP
from signing.models import SignerSession
from tests.client_stage import Town, check_charges, running_town, worth_wei
from tests.lossy_line import LossyLine, lossy_line
from tests.signer_stage import rows, running_signer

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).parents[1]
CREDIT = 10**11
SESSIONS = 3
SECONDS = 17


async def open_session(node: Node, line: LossyLine, key: str) -> LiveRunnerSession:
    """As an application would: when it did not work, again."""
    for _ in range(5):
        try:
            return await reserve_session(
                orchestrators=[node.service_uri],
                app=LIVE_APP,
                signer_url=line.url,
                signer_headers={"Authorization": f"Bearer {key}"},
            )
        except LivepeerGatewayError:
            continue
    raise AssertionError("no session was opened in five attempts")


async def live_sessions(town: Town, line: LossyLine, key: str) -> list[str]:
    """Several at once; the SDK pays in the background. In between offers expire, and new sessions cost half as much."""
    sessions = [await open_session(town.node, line, key) for _ in range(SESSIONS - 1)]
    await asyncio.sleep(6)
    town.change_price(Fraction(1, 2))
    town.orchestrator_follows()
    town.signer_goes_ahead()
    sessions.append(await open_session(town.node, line, key))
    await asyncio.sleep(SECONDS - 6)
    for session in sessions:
        await session.aclose()
    return [session.session_id for session in sessions]


@contextmanager
def stream(node: Node, line: LossyLine, key: str) -> Iterator["subprocess.Popen[str]"]:
    """A video stream beside them, paid by the SDK's other payment loop."""
    command = [sys.executable, "-m", "sandbox.gateway", "--kind=lv2v", f"--signer-url={line.url}"]
    command += [f"--orchestrator-url={node.service_uri}", f"--api-key={key}", f"--session-seconds={SECONDS - 4}"]
    pipe, merged = subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(command, stdout=pipe, stderr=merged, text=True, cwd=ROOT, preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_no_ticket_is_rejected_or_charged_twice_although_a_third_of_the_answers_is_lost(tmp_path: Path) -> None:
    terms = {"live_price_wei": 10**11, "pixel_price_wei": 3_600, "ticket_ev_wei": 10**11, "debit_seconds": 1}
    with (
        running_town(tmp_path, **terms) as town,
        running_signer(town.signer.chain) as other,
        lossy_line(town.signer.url, other.url) as line,
    ):
        gateway, owner = town.signer.gateway(dollars_nano=CREDIT)
        key = gateway.key or ""
        with stream(town.node, line, key) as process:
            opened = asyncio.run(live_sessions(town, line, key))
            output, _ = process.communicate(timeout=20)
        found = town.status()
    assert process.returncode == 0, output
    booked: list[dict[str, Any]] = rows(owner)
    assert line.lost * 3 >= line.lost + line.delivered
    assert line.lost >= 5
    assert line.late >= 3
    assert set(line.statuses) <= {200, 480, 482}
    prices = SignerSession.objects.filter(customer=owner).values_list("initial_price_per_unit", flat=True)
    assert line.statuses[480] >= 2  # offers that were fetched anew
    assert set(prices) >= {10**11, 10**11 // 2}
    # What the signer sold is what it answered, and each ticket was charged once.
    assert check_charges(owner, CREDIT) == line.sold
    assert line.statuses[200] > len(booked)  # answers that were given again
    assert (found["tickets_rejected"], found["payments_rejected"]) == (0, {})
    # What never arrived is missing at the orchestrator and nothing else.
    assert Fraction(found["received_wei"]) <= sum(worth_wei(row) for row in booked)
    assert found["tickets_accepted"] <= len(line.sold)
    closed = {session["session_id"]: session["closed_because"] for session in found["sessions"]}
    assert {closed[session] for session in opened} == {"stopped by the client"}
