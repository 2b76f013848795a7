"""An orchestrator for tests: a real process on a free port, its URL and its status."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearinghouse.embedded import die_with_parent

_START_SECONDS = 30


class OrchestratorDidNotStart(Exception):
    """The process ended or did not answer in time; the text is the end of its output."""


@dataclass(frozen=True, kw_only=True)
class RunningOrchestrator:
    url: str
    process: subprocess.Popen[bytes]
    terms: dict[str, int]

    def status(self) -> dict[str, Any]:
        """The JSON of /sandbox/status."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(self.url + "/sandbox/status", timeout=10, context=context) as answer:
            status: dict[str, Any] = json.load(answer)
        return status

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], *, seconds: float = 30) -> dict[str, Any]:
        """Poll the status until the condition holds and return it. Raises TimeoutError with the last one."""
        deadline = time.monotonic() + seconds
        while not condition(status := self.status()):
            if time.monotonic() > deadline:
                raise TimeoutError(json.dumps(status))
            time.sleep(0.1)
        return status


@contextmanager
def running_orchestrator(
    directory: Path, *, rpc_url: str, controller: str, key: str, **terms: int
) -> Iterator[RunningOrchestrator]:
    """Start one with its files in `directory`; `terms` are the knobs of sandbox.orchestrator.terms.Terms.

    Raises OrchestratorDidNotStart.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    knobs = [f"--{name.replace('_', '-')}={value}" for name, value in terms.items()]
    command = [sys.executable, "-m", "sandbox.orchestrator", f"--port={port}", f"--dir={directory}"]
    command += [f"--rpc-url={rpc_url}", f"--controller={controller}", *knobs]
    log = directory / "orchestrator.log"
    with log.open("wb") as output:
        # The key goes through the environment: command lines are there for everybody to read.
        environment = {**os.environ, "ORCHESTRATOR_KEY": key}
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=Path(__file__).parents[2],
            preexec_fn=die_with_parent,
        )
    running = RunningOrchestrator(url=f"https://127.0.0.1:{port}", process=process, terms=terms)
    try:
        _wait_until_up(running, log)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(running: RunningOrchestrator, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            running.status()
        except OSError as error:
            if running.process.poll() is not None or time.monotonic() > deadline:
                raise OrchestratorDidNotStart(log.read_text()[-2000:]) from error
            time.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
