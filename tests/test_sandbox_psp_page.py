"""The sandbox provider's payment page in a real browser: phone and desk, light and dark, one charge."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe
from playwright.sync_api import Browser, Page, sync_playwright

from sandbox.psp.client import Psp, running_psp

CHROMIUM = "/usr/bin/chromium"


class Shop(http.server.BaseHTTPRequestHandler):
    """The merchant's pages the customer comes back to."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<link rel=icon href=data:,><h1>Back in the shop</h1>")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def shop() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def psp(tmp_path: Path) -> Iterator[Psp]:
    with running_psp(tmp_path) as running:
        yield running


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-background-networking"]
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


def test_a_customer_is_declined_then_authenticates_then_pays_once(
    psp: Psp, shop: str, browser: Browser, tmp_path: Path
) -> None:
    http_client: Any = stripe.RequestsClient()
    client = stripe.StripeClient(psp.secret_key, base_addresses={"api": psp.url}, http_client=http_client)
    price: Any = {"currency": "usd", "unit_amount": 50_000, "product_data": {"name": "Prepaid credit"}}
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "customer_email": "payer@example.com",
            "success_url": f"{shop}/done?id={{CHECKOUT_SESSION_ID}}",
            "cancel_url": f"{shop}/wallet",
        }
    )
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: _note_foreign(problems, request.url))
    page.goto(str(session.url))
    assert page.locator("text=TEST MODE").is_visible()
    for width, scheme in ((1280, "light"), (390, "light"), (390, "dark"), (1280, "dark")):
        _shoot(page, tmp_path, width, scheme)

    page.click("button[data-card='4000 0000 0000 0002']")
    page.click("#pay")
    assert page.inner_text("#message") == "Your card was declined."
    page.fill("#number", "4000002500003155")
    page.fill("#expiry", "12 / 34")
    page.fill("#cvc", "123")
    page.click("#pay")
    page.click("#fail")
    assert "could not be authenticated" in page.inner_text("#message")
    page.click("#cancel")
    page.wait_for_url(f"{shop}/wallet")
    page.go_back()
    page.click("button[data-card='4242 4242 4242 4242']")
    page.dblclick("#pay")
    page.wait_for_url(f"{shop}/done?id={session.id}")

    charges = client.v1.charges.list().data
    http_client.close()
    assert sorted(charge.status for charge in charges) == ["failed", "succeeded"]
    assert problems == []


def _shoot(page: Page, directory: Path, width: int, scheme: Any) -> None:
    """Nothing may stand wider than the screen; the picture is kept for the eye."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=directory / f"pay-{width}-{scheme}.png", full_page=True)


def _note_foreign(problems: list[str], url: str) -> None:
    if not url.startswith(("http://127.0.0.1:", "data:")):
        problems.append(url)
