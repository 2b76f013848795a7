"""A payment provider of one's own for a test: its balance begins at nothing, its events reach the real webhook."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

from accounts.models import Customer
from billing import check_books, inbox, topups
from billing.models import TopUp
from sandbox.psp.client import Psp, running_psp

SECRET = "whsec_sandbox"
DAY = 24 * 3600


@contextmanager
def fresh_provider(settings: Any, directory: Path, *, web: str = "", **options: Any) -> Iterator[Psp]:
    """The provider that the product asks; `web` is where its events go, nowhere when left out."""
    url = f"{web}/stripe/webhook" if web else ()
    with running_psp(directory, webhook_url=url, **options) as psp:
        psp.settings(settle_after_seconds=0)
        settings.STRIPE_API_BASE = psp.url
        settings.STRIPE_SECRET_KEY = psp.secret_key
        settings.STRIPE_WEBHOOK_SECRETS = ["whsec_of_last_year", SECRET]
        settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
        yield psp


def pay_in(psp: Psp, payer: Customer, amount_cents: int = 5_000) -> TopUp:
    """A top-up whose page was paid; what the provider tells of it is not handled yet."""
    top_up = topups.start(customer=payer, user=payer.members.get(), amount_cents=amount_cents)
    assert psp.pay(top_up.checkout_session_id or "").status == 303
    return top_up


def eventually(happened: Callable[[], object], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.03)


def handle_all() -> None:
    """Handles what waits in the inbox now, also what failed a moment ago."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_stripeevent SET not_before = now() WHERE handled_at IS NULL")
    inbox.handle_waiting(limit=100_000)


def booked_well() -> None:
    assert not {name: figure for name, figure in check_books.invariants().items() if figure}
