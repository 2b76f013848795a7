"""Runs the provider as a process of its own for tests, pays on its page, and turns its knobs."""

import contextlib
import dataclasses
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from clearinghouse.embedded import die_with_parent

ROOT = Path(__file__).parents[2]
GOOD_CARD = "4242 4242 4242 4242"
DECLINED_CARD = "4000 0000 0000 0002"
SECURE_CARD = "4000 0025 0000 3155"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paid:
    """What the page did: redirected (`location`) or stayed with a message."""

    status: int
    location: str | None
    message: str | None


@dataclasses.dataclass(kw_only=True)
class Psp:
    """A running provider. `url` keeps its port over `kill` and `start`."""

    dir: Path
    webhook_urls: tuple[str, ...]
    secret_key: str
    webhook_secret: str
    options: tuple[str, ...]
    url: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts the process and returns when it says that it is ready."""
        port = str(urlsplit(self.url).port or 0)
        command = [sys.executable, "-m", "sandbox.psp", "--port", port, "--dir", str(self.dir)]
        command += ["--secret-key", self.secret_key, "--webhook-secret", self.webhook_secret, *self.options]
        for url in self.webhook_urls:
            command += ["--webhook-url", url]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError(f"the sandbox provider did not start (exit {self.process.wait()})")
        self.url = line.split()[1]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        self.wait()

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def wait(self) -> int:
        """Waits until the process has ended, by a signal or by a `crash_...` rule."""
        assert self.process is not None
        assert self.process.stdout is not None
        code = self.process.wait(timeout=10)
        self.process.stdout.close()
        self.process = None
        return code

    def pay(self, session_id: str, *, card: str = GOOD_CARD, email: str = "payer@example.com") -> Paid:
        """What a browser does on the hosted page: fill in the card and press Pay, once."""
        form = {"number": card, "expiry": "12 / 34", "cvc": "123", "email": email, "name": "Test Payer"}
        return self._submit(f"/c/pay/{session_id}", form)

    def pay_from_account(self, session_id: str, account: str, *, email: str = "payer@example.com") -> Paid:
        """The same with a bank account, whose money arrives later or not at all."""
        return self._submit(f"/c/pay/{session_id}", {"account": account, "email": email, "name": "Test Payer"})

    def authenticate(self, step_url: str, *, complete: bool = True) -> Paid:
        """Presses Complete or Fail on the 3-D Secure page that `pay` redirected to."""
        return self._submit(urlsplit(step_url).path, {"result": "complete" if complete else "fail"})

    def state(self) -> dict[str, Any]:
        return self.knob("GET", "/sandbox/")

    def settings(self, **values: float | bool | str | list[str] | dict[str, float]) -> None:
        """paused, latency_seconds, settle_after_seconds, automatic_payouts, chaos and the others of the README."""
        self.knob("POST", "/sandbox/settings", values)

    def advance(self, seconds: float) -> None:
        """Moves the provider's clock forward."""
        self.knob("POST", "/sandbox/clock", {"advance_seconds": seconds})

    def webhook_rule(self, action: str, pattern: str = "*", *, value: float = 0, times: int = 1) -> None:
        rule = {"kind": "webhook", "action": action, "pattern": pattern, "value": value, "times": times}
        self.knob("POST", "/sandbox/rules", rule)

    def api_rule(self, action: str, pattern: str = "*", *, times: int = 1) -> None:
        rule = {"kind": "api", "action": action, "pattern": pattern, "times": times}
        self.knob("POST", "/sandbox/rules", rule)

    def dispute(self, **named: Any) -> str:
        """Opens a dispute on `charge` or `payment_intent`; also `amount`, `reason`, `inquiry`. Gives its id."""
        return str(self.knob("POST", "/sandbox/disputes", named)["id"])

    def decide(self, dispute_id: str, outcome: str) -> None:
        """won, lost, warning_closed or escalated."""
        self.knob("POST", f"/sandbox/disputes/{dispute_id}", {"outcome": outcome})

    def warn(self, **named: Any) -> str:
        """An early fraud warning on `charge` or `payment_intent`. Gives its id."""
        return str(self.knob("POST", "/sandbox/early_fraud_warnings", named)["id"])

    def taxes(self) -> list[dict[str, Any]]:
        """What was recorded of tax, in its order: id, reference, type, amount, amount_tax."""
        rows: list[dict[str, Any]] = self.knob("GET", "/sandbox/tax_transactions")["data"]
        return rows

    def move_refund(self, refund_id: str, status: str) -> None:
        """succeeded, failed or canceled."""
        self.knob("POST", f"/sandbox/refunds/{refund_id}", {"status": status})

    def deliver(self, event_id: str, *, times: int = 1) -> None:
        self.knob("POST", f"/sandbox/events/{event_id}/deliver", {"times": times})

    def deliveries(self, event_id: str | None = None) -> list[dict[str, Any]]:
        query = f"?event={event_id}" if event_id else ""
        rows: list[dict[str, Any]] = self.knob("GET", f"/sandbox/deliveries{query}")["data"]
        return rows

    def knob(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.secret_key}", "Content-Type": "application/json"}
        status, _, text = self._request(method, path, json.dumps(body or {}), headers)
        if status != 200:
            raise RuntimeError(f"{method} {path} answered {status}: {text}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _submit(self, path: str, form: dict[str, str]) -> Paid:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, location, text = self._request("POST", path, urlencode(form), headers)
        message = re.search(r'role="alert">([^<]*)<', text)
        return Paid(status=status, location=location, message=unescape(message[1]) if message else None)

    def _request(self, method: str, path: str, body: str, headers: dict[str, str]) -> tuple[int, str | None, str]:
        address = urlsplit(self.url)
        with contextlib.closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)) as link:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            return answer.status, answer.headers.get("Location"), answer.read().decode()


@contextlib.contextmanager
def running_psp(
    directory: Path,
    *,
    webhook_url: str | tuple[str, ...] = (),
    secret_key: str = "sk_test_sandbox",
    webhook_secret: str = "whsec_sandbox",
    merchant: str = "Clearinghouse",
    retry_base_seconds: float = 0.1,
    max_tries: int = 12,
) -> Iterator[Psp]:
    """A provider on a free port with its state in `directory`/psp; stopped on the way out."""
    urls = (webhook_url,) if isinstance(webhook_url, str) else webhook_url
    psp = Psp(
        dir=directory / "psp",
        webhook_urls=urls,
        secret_key=secret_key,
        webhook_secret=webhook_secret,
        options=(
            "--merchant",
            merchant,
            "--retry-base",
            str(retry_base_seconds),
            "--max-tries",
            str(max_tries),
        ),
    )
    psp.start()
    try:
        yield psp
    finally:
        psp.kill()  # nobody reads its state any more, and to end in good order takes a third of a start
