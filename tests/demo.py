"""A whole demo for a test: the supervisor as `make demo` starts it, on ports and a folder of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from clearinghouse.embedded import die_with_parent, free_port

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 150.0
CHECK_BOOKS_WHEN_ASKED = """
import io, json, sys
from django.core.management import call_command
from django.db import connection
for _ in iter(sys.stdin.readline, ""):
    output, status = io.StringIO(), 0
    try:
        call_command("check_books", stdout=output)
    except SystemExit as end:
        status = end.code
    connection.close()
    print(json.dumps([status, output.getvalue()]), flush=True)
"""


@dataclass
class RunningDemo:
    """The process of the supervisor, what it wrote into demo.json, and every process it started."""

    process: subprocess.Popen[bytes]
    local_dir: Path
    facts: dict[str, str]
    output: Path
    _accountant: subprocess.Popen[str] | None = None

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def settings(self) -> dict[str, str]:
        """What a process of the product needs to know of this demo."""
        return {
            "DATABASE_URL": self.facts["database_url"],
            "ETH_RPC_URL": self.facts["rpc_url"],
            "CONTROLLER_ADDRESS": self.facts["controller_address"],
            "ETH_USD_FEED_ADDRESS": self.facts["eth_usd_feed_address"],
            "SENDER_ADDRESS": self.facts["sender_address"],
            "TREASURY_ADDRESS": self.facts["treasury_address"],
        }

    def invariants(self) -> dict[str, int]:
        """What the management command `check_books` prints, as the database's owner; one process runs it each time."""
        if self._accountant is None:
            self._accountant = subprocess.Popen(
                [sys.executable, "manage.py", "shell", "--no-imports", "-c", CHECK_BOOKS_WHEN_ASKED],
                cwd=ROOT,
                env={**_environment(self.local_dir), **self.settings()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=die_with_parent,
            )
        assert self._accountant.stdin
        assert self._accountant.stdout
        print(file=self._accountant.stdin, flush=True)
        status, text = json.loads(self._accountant.stdout.readline())
        figures = {name: int(number) for name, _, number in (line.partition(":") for line in text.splitlines())}
        assert figures
        assert (status == 0) == (not any(figures.values()))
        return figures

    def close(self) -> None:
        """Lets go of the process that looked at the books."""
        if self._accountant:
            self._accountant.communicate()
            assert self._accountant.returncode == 0

    def stop(self) -> list[psutil.Process]:
        """Presses Ctrl-C; returns the processes that are still alive afterwards, of all that the demo had."""
        family = self.family()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)
        _, alive = psutil.wait_procs(family, timeout=5)
        return list(alive)


def _environment(local_dir: Path) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "LOCAL_DIR"}}
    return {**mine, "LOCAL_DIR": str(local_dir), "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def running_demo(local_dir: Path, *, traffic: bool = False, **environment: str) -> Iterator[RunningDemo]:
    """Starts a demo and yields it when demo.json is there; on the way out it is stopped and leaves nothing."""
    local_dir.mkdir(parents=True, exist_ok=True)
    output = local_dir / "output.log"
    ports = {"WEB_PORT": str(free_port()), "SIGNER_PORT": str(free_port()), "DEMO_TRAFFIC": "1" if traffic else "0"}
    with output.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.demo"],
            cwd=ROOT,
            env={**_environment(local_dir), **ports, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
            start_new_session=True,
        )
    file = local_dir / "demo.json"
    try:
        wait_for(
            "the demo",
            lambda: file.exists() or process.poll() is not None,
            seconds=READY_SECONDS,
            say=lambda: output.read_text()[-6000:],
        )
        assert process.poll() is None, output.read_text()[-6000:]
        demo = RunningDemo(process, local_dir, json.loads(file.read_text()), output)
        with contextlib.closing(demo):
            yield demo
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            if process.poll() is None:
                process.kill()
                process.wait()


def wait_for[T](what: str, found: Callable[[], T], *, seconds: float = 60.0, say: Callable[[], str] | None = None) -> T:
    """Polls until `found()` is truthy and returns it; fails with what `say` tells when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        result = found()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}\n{say() if say else ''}")
        time.sleep(0.1)
