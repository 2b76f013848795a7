"""The network's JavaScript client, unmodified, pays an orchestrator through the real signer."""

import json
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from sandbox.orchestrator.terms import CAPTION_APP, LIVE_APP
from tests.client_stage import check_charges, running_town, worth_wei
from tests.signer_stage import rows

pytestmark = pytest.mark.django_db(transaction=True)
HERE = Path(__file__).parent / "js"
OLDEST_NODE = 20
CREDIT = 10**10


@pytest.fixture(scope="module")
def node_js() -> str:
    """Node with the client installed as its lock file says."""
    node, npm = shutil.which("node"), shutil.which("npm")
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


def test_the_javascript_client_pays_a_live_session_and_a_job_and_no_ticket_is_rejected(
    node_js: str, tmp_path: Path
) -> None:
    # A ticket is worth a second of the session, so that every round of the client's clock buys some.
    with running_town(tmp_path, live_price_wei=10**11, ticket_ev_wei=10**11, debit_seconds=1) as town:
        gateway, owner = town.signer.gateway(dollars_nano=CREDIT)
        environment = {
            **os.environ,
            "SIGNER_URL": town.signer.url,
            "API_KEY": gateway.key or "",
            "DISCOVERY_URL": town.node.service_uri + "/discovery",
            "LIVE_APP": LIVE_APP,
            "JOB_APP": CAPTION_APP,
            "SESSION_SECONDS": "13.5",
        }
        done = subprocess.run(
            [node_js, "pay.mjs"], cwd=HERE, env=environment, capture_output=True, text=True, timeout=60
        )
        found = town.status()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["job"]["caption"]
    assert told["frame"]["session_id"] == told["session"]  # the session was alive to its end
    booked = rows(owner)
    live = [row for row in booked if row["kind"] == "live"]
    assert len(live) >= 4  # the opening, then one about every three seconds
    assert [row["kind"] for row in booked if row not in live] == ["fixed"]
    assert len({row["session_id"] for row in live}) == 1
    sold = check_charges(owner, CREDIT)
    assert (found["tickets_rejected"], found["payments_rejected"]) == (0, {})
    assert found["tickets_accepted"] == len(sold)
    assert Fraction(found["received_wei"]) == sum(worth_wei(row) for row in booked)
    closed = {session["session_id"]: session["closed_because"] for session in found["sessions"]}
    assert closed[told["session"]] == "stopped by the client"
