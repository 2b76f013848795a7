"""Starts the parts of a demo, prefixes their output, starts a part again that died, and leaves nothing running."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clearinghouse.embedded import die_with_parent

RESTART_LIMIT = 5
RESTART_WINDOW_SECONDS = 60.0
_WIDTH = 12
_print_lock = threading.Lock()


class PartFailed(Exception):
    """A part ended while it was being waited for, or never became ready; its last lines are in its log."""


@dataclass
class Part:
    """One process: how it is started, and when it may be called ready."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    quiet: bool = False
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.starts.append(time.monotonic())
        self.process = subprocess.Popen(
            list(self.arguments),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
            start_new_session=True,
        )
        threading.Thread(target=self._pump, args=[self.process], daemon=True).start()

    def _pump(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        with self.log.open("ab") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if not self.quiet:
                    say(self.name, line.decode(errors="replace").rstrip())

    def signal(self, number: int) -> None:
        """Signals the part and everything it started: each part leads a process group of its own."""
        if self.process:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return


class Supervisor:
    """Owns the parts from `start` to `stop`; parts are stopped in the reverse order of their start."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._parts: list[Part] = []
        self._stopping = threading.Event()
        logs.mkdir(parents=True, exist_ok=True)

    def start(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], *, quiet: bool = False
    ) -> Part:
        part = Part(name, arguments, environment, self._logs / f"{name}.log", quiet)
        self._parts.append(part)
        part.start()
        return part

    def wait_until(self, what: str, ready: Callable[[], bool], *, seconds: float = 90.0) -> None:
        """Polls `ready` until it is true; fails when a part dies meanwhile or the time is over."""
        deadline = time.monotonic() + seconds
        self.go_on()
        while not ready():
            self.go_on()
            for part in self._parts:
                if part.process and part.process.poll() is not None:
                    raise PartFailed(f"{part.name} {_ending(part.process)} while waiting for {what}; see {part.log}.")
            if time.monotonic() > deadline:
                raise PartFailed(f"Waited {seconds:.0f} s for {what}; see {self._logs}.")
            time.sleep(0.1)

    def watch(self) -> None:
        """Runs until `request_stop`: reports a part that died and starts it again, a few times."""
        while not self._stopping.wait(0.5):
            for part in self._parts:
                if part.process and part.process.poll() is not None:
                    self._revive(part)

    def go_on(self) -> None:
        """Raises KeyboardInterrupt where a stop was requested: whoever starts parts asks between his steps."""
        if self._stopping.is_set():
            raise KeyboardInterrupt

    def request_stop(self, *_: object) -> None:
        self._stopping.set()

    def stop(self) -> None:
        """Asks every part to end, customers and clocks first; whoever does not answer in time is killed."""
        for part in reversed(self._parts):
            if part.process is None:
                continue
            part.signal(signal.SIGTERM)
            try:
                part.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                say(part.name, "did not end when asked; it is killed")
            part.signal(signal.SIGKILL)
            part.process.wait()

    def _revive(self, part: Part) -> None:
        assert part.process
        recent = [at for at in part.starts if at > time.monotonic() - RESTART_WINDOW_SECONDS]
        part.starts = recent
        part.signal(signal.SIGKILL)
        if len(recent) >= RESTART_LIMIT:
            say(
                "demo",
                f"{part.name} {_ending(part.process)} {len(recent)} times in a minute and stays down; see {part.log}.",
            )
            part.process = None
            return
        say("demo", f"{part.name} {_ending(part.process)}; it is started again.")
        part.start()


def say(name: str, line: str) -> None:
    with _print_lock:
        sys.stdout.write(f"{name:<{_WIDTH}}| {line}\n")
        sys.stdout.flush()


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
