"""The network's JavaScript client, unmodified, pays an orchestrator through the real signer."""

import json
import os
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from clearinghouse.embedded import die_with_parent
from sandbox.orchestrator.terms import CAPTION_APP, LIVE_APP
from tests.client_stage import Town, check_charges, running_town, worth_wei
from tests.lossy_line import lossy_line
from tests.signer_stage import rows, running_signer

pytestmark = pytest.mark.django_db(transaction=True)
HERE = Path(__file__).parent / "js"
OLDEST_NODE = 20
CREDIT = 10**10


@pytest.fixture(scope="module")
def node_js() -> str:
    """Node with the client installed as its lock file says."""
    # The virtual environment brings a Node of its own.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    version = subprocess.check_output([node, "--version"], text=True) if node else "v0"
    if not node or not npm or int(version[1:].split(".")[0]) < OLDEST_NODE:
        reason = f"Node {OLDEST_NODE} or newer with npm is not installed, so the JavaScript client was not tried"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    return node


def start(node_js: str, town: Town, signer_url: str, key: str) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "SIGNER_URL": signer_url,
        "API_KEY": key,
        "DISCOVERY_URL": town.node.service_uri + "/discovery",
        "LIVE_APP": LIVE_APP,
        "JOB_APP": CAPTION_APP,
        "SESSION_SECONDS": "13.5",
    }
    pipe = subprocess.PIPE
    command = [node_js, "pay.mjs"]
    return subprocess.Popen(
        command, cwd=HERE, env=environment, stdout=pipe, stderr=pipe, text=True, preexec_fn=die_with_parent
    )


def end(gateway: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the gateway told at its end."""
    try:
        output, errors = gateway.communicate(timeout=60)
    finally:
        gateway.kill()
    assert gateway.returncode == 0, errors
    told: dict[str, Any] = json.loads(output)
    return told


def test_the_javascript_client_pays_a_live_session_and_a_job_and_no_ticket_is_rejected(
    node_js: str, tmp_path: Path
) -> None:
    """Two at once: one over a sound line, the other over one to two signers that loses a third of the answers.

    The offers that the latter is given first are too old for the signers: it has to ask for others.
    """
    # A ticket is worth a second of the session, so that every round of the client's clock buys some.
    with (
        running_town(tmp_path, live_price_wei=10**11, ticket_ev_wei=10**11, debit_seconds=1) as town,
        running_signer(town.signer.chain) as second,
        lossy_line(town.signer.url, second.url) as line,
    ):
        sound, owner = town.signer.gateway(dollars_nano=CREDIT)
        lossy, unlucky = town.signer.gateway(dollars_nano=CREDIT)
        town.signer_goes_ahead()
        other = start(node_js, town, line.url, lossy.key or "")
        deadline = time.monotonic() + 20
        while not line.statuses[480] and time.monotonic() < deadline and other.poll() is None:
            time.sleep(0.01)
        town.orchestrator_follows()
        gateways = [start(node_js, town, town.signer.url, sound.key or ""), other]
        told = [end(gateway) for gateway in gateways]
        found = town.status()
    for each in told:
        assert each["job"]["caption"]
        assert each["frame"]["session_id"] == each["session"]  # the session was alive to its end
    assert [row["kind"] for row in rows(owner)].count("live") >= 4  # the opening, then one about every three seconds
    assert [row["kind"] for row in rows(owner)].count("fixed") == 1
    assert len({row["session_id"] for row in rows(owner)}) == 2

    sold, sold_over_lossy = check_charges(owner, CREDIT), check_charges(unlucky, CREDIT)
    assert sold_over_lossy == line.sold
    assert line.statuses[480] >= 1
    assert line.lost >= 3
    assert line.lost * 3 >= line.lost + line.delivered
    assert (found["tickets_rejected"], found["payments_rejected"]) == (0, {})
    assert len(sold) < found["tickets_accepted"] < len(sold | sold_over_lossy)
    by_manifest = {account["manifest_id"]: account["received_wei"] for account in found["accounts"]}
    assert Fraction(by_manifest[told[0]["session"]]) == sum(
        worth_wei(row) for row in rows(owner) if row["kind"] == "live"
    )
    closed = {session["session_id"]: session["closed_because"] for session in found["sessions"]}
    assert {closed[each["session"]] for each in told} == {"stopped by the client"}
