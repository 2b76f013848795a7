"""A real Chromium for the tests that must see a page as people do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connections
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 900}


def _chromium() -> str | None:
    known = Path("/usr/bin/chromium")
    return str(known) if known.exists() else shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium of this machine. Without one the test is skipped and says so; under CI that is an error."""
    program = _chromium()
    if program is None and os.environ.get("CI") == "true":
        raise RuntimeError("CI has to have a chromium on its PATH for the browser tests.")
    if program is None:
        pytest.skip("no chromium on this machine: pages were not looked at")
    # Playwright runs an event loop in this thread, from which Django refuses to touch the database unless told.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-background-networking"]
        )
        try:
            yield browser
        finally:
            connections.close_all()  # what was asked inside that loop was asked over connections of its own
            browser.close()


class Watch:
    """Notes what must never happen on a page: script errors, blocked styles, requests that leave the origin."""

    def __init__(self, page: Page, *, origin: str) -> None:
        self.troubles: list[str] = []
        page.on("pageerror", lambda error: self.troubles.append(f"script error: {error}"))
        page.on(
            "console",
            lambda line: self.troubles.append(f"console: {line.text}") if line.type == "error" else None,
        )
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((origin, "data:")) else self.troubles.append(f"request to {request.url}")
            ),
        )


def overflow(page: Page) -> list[str]:
    """Elements that stick out of the page's width; an empty list is the wish."""
    found: list[str] = page.evaluate(
        """() => {
          if (document.documentElement.scrollWidth <= innerWidth) return [];
          return [...document.querySelectorAll("body *")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .filter(e => !e.closest(".filters,.tabs,.code,.vh,svg,.card:has(>.tbl)"))
            .slice(0, 5).map(e => e.tagName + "." + e.className);
        }"""
    )
    return found
