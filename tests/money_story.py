"""The steps of a customer's money in a browser: profile, 3-D Secure, one click, recharge, refund, dispute."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from clearinghouse.embedded import die_with_parent
from sandbox.orchestrator.client import RunningOrchestrator
from tests.demo import ROOT, RunningDemo

ASKS_ITS_HOLDER = "4000 0025 0000 3155"
PATIENCE_MS = 40_000


@dataclass(frozen=True)
class Provider:
    """The demo's payment provider, with its operator's knobs."""

    url: str
    secret_key: str

    @classmethod
    def of(cls, demo: RunningDemo) -> "Provider":
        secrets: dict[str, str] = json.loads((demo.local_dir / "secrets.json").read_text())
        return cls(demo.facts["psp_url"], secrets["stripe_secret_key"])

    def knob(self, path: str, **members: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.secret_key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=json.dumps(members).encode(), headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def fill_in_profile(page: Page, web: str) -> None:
    """A French business with a VAT id whose digits are right."""
    page.goto(f"{web}/settings/billing/")
    for name, text in (
        ("legal_name", "Atelier Lumière SARL"),
        ("line1", "12 rue des Écoles"),
        ("postal_code", "75005"),
        ("city", "Paris"),
        ("tax_id", "FR40303265045"),
        ("invoice_email", "compta@example.com"),
    ):
        page.locator(f"#id_{name}").fill(text)
    page.locator("#id_country").select_option("FR")
    page.get_by_role("button", name="Save billing profile").click()
    page.goto(f"{web}/settings/billing/")
    expect(page.get_by_text("FR40303265045 is").first).to_be_visible()


def pay_with_a_card_that_asks(page: Page, web: str, dollars: int) -> None:
    """A first top-up whose card is kept; the card's bank wants its holder to confirm."""
    _choose(page, web, dollars)
    page.locator("#id_save_card").check()
    page.get_by_role("button", name="Continue to payment").click()
    page.locator("input[name=number]").fill(ASKS_ITS_HOLDER)
    page.locator("input[name=expiry]").fill("12 / 34")
    page.locator("input[name=cvc]").fill("123")
    if page.locator("input[name=name]").count():
        page.locator("input[name=name]").fill("Lumi Ère")
    page.locator("#pay").click()
    page.locator("#complete").click()
    page.wait_for_url(f"{web}/wallet/top-ups/**")
    expect(page.get_by_text("was added to your balance")).to_be_visible(timeout=PATIENCE_MS)


def pay_with_one_click(page: Page, web: str, dollars: int) -> None:
    """The kept card is chosen already; whether its bank asks again is the bank's affair."""
    _choose(page, web, dollars)
    page.get_by_role("button", name="Pay", exact=True).click()
    done, asked = page.get_by_text("was added to your balance"), page.locator("#complete")
    expect(done.or_(asked).first).to_be_visible(timeout=PATIENCE_MS)
    if asked.count():
        asked.click()
    expect(done).to_be_visible(timeout=PATIENCE_MS)


def switch_recharging_on(page: Page, web: str, *, below_dollars: int, amount_dollars: int) -> None:
    page.goto(f"{web}/wallet/auto-recharge/")
    page.locator("#id_threshold").fill(str(below_dollars))
    page.get_by_role("radio", name="A fixed amount").or_(page.locator("input[name=mode][value=amount]")).first.check()
    page.locator("#id_amount").fill(str(amount_dollars))
    page.locator("#id_cap").fill("100")
    page.locator("#id_agreed").check()
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_text("Charged this month")).to_be_visible()


@contextmanager
def paying_gateway(demo: RunningDemo, orchestrator: RunningOrchestrator, api_key: str) -> Iterator[None]:
    """The unmodified SDK holds live sessions meanwhile."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "sandbox.gateway", "--kind", "live", "--session-seconds", "60", "--forever"),
            *("--signer-url", demo.facts["signer_url"], "--orchestrator-url", orchestrator.url),
        ],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_API_KEY": api_key},
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def ask_for_a_refund(page: Page, web: str, dollars: int) -> None:
    page.goto(f"{web}/wallet/refunds/")
    page.locator("#id_amount").fill(str(dollars))
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name=f"Refund ${dollars}").click()
    page.goto(f"{web}/wallet/refunds/")
    expect(page.locator("table").get_by_text("$5").first).to_be_visible()


def look(page: Page, path: Path) -> None:
    page.screenshot(path=path, full_page=True)


def _choose(page: Page, web: str, dollars: int) -> None:
    page.goto(f"{web}/wallet/")
    page.get_by_label("Other").first.check()
    page.locator("#id_other").fill(str(dollars))
