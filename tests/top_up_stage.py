"""One payment provider for all stories of a file, and the steps of a top-up at it."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Customer
from billing import check_books, inbox, topups
from billing.models import Journal, StripeEvent, TopUp, Wallet
from sandbox.psp.client import Psp, running_psp

SECRET = "whsec_sandbox"


@pytest.fixture(scope="module")
def provider(static_files: None, live_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psp]:
    """One provider for all stories; its events come to the real webhook over a real socket."""
    with running_psp(tmp_path_factory.mktemp("psp"), webhook_url=f"{live_server.url}/stripe/webhook") as running:
        running.settings(settle_after_seconds=0)
        yield running


@pytest.fixture
def psp(provider: Psp, settings: Any) -> Iterator[Psp]:
    settings.STRIPE_API_BASE = provider.url
    settings.STRIPE_SECRET_KEY = provider.secret_key
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_of_last_year", SECRET]
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    provider.settings(paused=False, latency_seconds=0)
    yield provider
    provider.knob("DELETE", "/sandbox/rules")


def begin(payer: Customer, amount_cents: int = 5_000, **more: Any) -> TopUp:
    return topups.start(customer=payer, user=payer.members.get(), amount_cents=amount_cents, **more)


def session_of(top_up: TopUp) -> str:
    assert top_up.checkout_session_id
    return top_up.checkout_session_id


def wallet_nano_usd(payer: Customer) -> int:
    return sum(Wallet.objects.filter(customer=payer).values_list("available_nano_usd", flat=True))


def eventually(happened: Callable[[], bool], *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def events(object_id: str, kind: str) -> list[StripeEvent]:
    return list(StripeEvent.objects.filter(type=kind, payload__data__object__id=object_id))


def handle_until_paid(top_up: TopUp) -> None:
    def paid() -> bool:
        inbox.handle_waiting()
        top_up.refresh_from_db()
        return top_up.status == TopUp.Status.PAID

    eventually(paid)


def fee_journals(top_up: TopUp) -> int:
    return Journal.objects.filter(kind="provider_fee", description__contains=str(top_up.id)).count()


def in_the_past(top_up: TopUp, **age: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_topup SET created_at = %s, checked_at = NULL WHERE id = %s",
            [timezone.now() - timedelta(**age), top_up.id],
        )


def booked_well() -> None:
    assert not {name: figure for name, figure in check_books.invariants().items() if figure}
