"""Bad weather: every event 1 to 5 times, in no order, one in ten never, some signed by others, 500s after the effect.

At the end our books and the provider's agree to the cent, and what no webhook brought was found by one poll.
"""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from accounts.models import Customer
from billing import inbox, ledger, postings, stripe_gateway, tasks, topups
from billing.models import BalanceTransaction, Journal, StripeEvent, TopUp, WalletEntry
from billing.reconciliation import mirror, poller, tie_out
from billing.stripe_gateway.client import client as at_provider
from sandbox.psp.client import Psp
from sandbox.psp.webhooks import sign
from tests import builders, size
from tests.provider_stage import booked_well, eventually, fresh_provider, handle_all

pytestmark = pytest.mark.django_db(transaction=True)
PAYMENTS = size.of(300, full=10_000)
PAYERS, HANDS, FORGED = 10, 4, 25
WEATHER = {"seed": 2026, "copies": 5, "drop": 0.1, "wrong_signature": 0.02, "spread_seconds": 2.0}
# The page's own steps, and what tells of them, go wrong now and then, with and without their effect.
FAULTS = [
    ("error_after", "POST /v1/checkout/sessions", 20),
    ("hang_up_after", "POST /v1/checkout/sessions", 10),
    ("error_after", "POST /c/pay/*", 10),
    ("error_before", "GET /v1/checkout/sessions/*", 10),
    ("hang_up_after", "GET /v1/checkout/sessions/*", 10),
    ("error_before", "GET /v1/events", 1),
    ("hang_up_after", "GET /v1/balance_transactions", 1),
]


@pytest.fixture
def psp(settings: Any, tmp_path: Path, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Psp]:
    """Its webhooks come over lines that stay, to a server whose connections to the database stay as in production."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    monkeypatch.setattr("billing.stripe_gateway.client.RETRIES", 0)  # whoever asked asks again, without a pause
    monkeypatch.setattr(tasks, "wake", lambda *_: None)  # the worker below looks by itself
    with fresh_provider(settings, tmp_path, web=live_server.url) as running:
        settings.TOP_UP_MAXIMUM_CENTS = settings.TOP_UP_FIRST_MAXIMUM_CENTS = 10_000_000
        settings.TOP_UP_DAY_MAXIMUM_CENTS = 2_000_000_000
        yield running


class Worker:
    """Handles the inbox all the time, as the clock of a worker does."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.stumbled: list[str] = []
        self.thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Worker":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _work(self) -> None:
        while not self.over.wait(0.05):
            try:
                inbox.handle_waiting(limit=200)
            except Exception as error:  # as in production: the next tick goes on, and the test tells of it
                self.stumbled.append(repr(error))
                connection.close()
        connection.close()


def pay(psp: Psp, payer: Customer, number: int) -> str:
    """One payment; what fails with 500 or hangs up is done again, as the sweep and a person at the page would."""
    try:
        top_up = topups.start(customer=payer, user=payer.members.get(), amount_cents=1_000 + number)
        while top_up.status != TopUp.Status.OPEN:
            with contextlib.suppress(stripe_gateway.Unavailable):
                topups.settle(top_up.id)
            top_up.refresh_from_db()
        for _ in range(12):
            if psp.pay(top_up.checkout_session_id or "").status < 500:
                return str(top_up.id)
        raise AssertionError("the page never took the payment")
    finally:
        connection.close()


def forge(web: str, top_up: TopUp) -> int:
    """A stranger says that this top-up was paid."""
    session = {
        "id": top_up.checkout_session_id,
        "object": "checkout.session",
        "client_reference_id": str(top_up.id),
        "payment_status": "paid",
    }
    body = json.dumps(
        {"id": f"evt_forged_{top_up.id}", "type": "checkout.session.completed", "data": {"object": session}}
    ).encode()
    address = urlsplit(web)
    link = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        headers = {"Stripe-Signature": sign("whsec_of_a_stranger", body, int(time.time()))}
        link.request("POST", "/stripe/webhook", body, {**headers, "Content-Type": "application/json"})
        return link.getresponse().status
    finally:
        link.close()


def deliveries(psp: Psp) -> Counter[str]:
    return Counter(psp.state()["deliveries"])


def sums_there() -> tuple[int, int, int]:
    """Gross, fee and net of all that the provider itself lists."""
    gross = fee = net = 0
    params: Any = {"limit": 100}
    for movement in at_provider().v1.balance_transactions.list(params).auto_paging_iter():
        gross, fee, net = gross + movement.amount, fee + movement.fee, net + movement.net
    return gross, fee, net


def test_payments_in_bad_weather_end_with_ledger_less_provider_at_nothing(psp: Psp, live_server: Any) -> None:
    begun = time.monotonic()
    payers = [builders.customer(f"Payer {number}") for number in range(PAYERS)]
    strangers = [
        topups.start(customer=payers[0], user=payers[0].members.get(), amount_cents=5_000) for _ in range(FORGED)
    ]
    psp.settings(chaos=WEATHER, enabled_events=["checkout.session.*", "charge.*"])
    for action, pattern, times in FAULTS:
        psp.api_rule(action, pattern, times=times)
    with Worker() as worker, ThreadPoolExecutor(HANDS) as hands:
        paid = list(hands.map(lambda number: pay(psp, payers[number % PAYERS], number), range(PAYMENTS)))
        forged = [forge(live_server.url, stranger) for stranger in strangers]
        took = time.monotonic() - begun
        eventually(lambda: not deliveries(psp)["pending"], seconds=60 + PAYMENTS / 10)
    handle_all()
    assert len(set(paid)) == PAYMENTS
    assert forged == [400] * FORGED

    by_webhook = StripeEvent.objects.count()
    unpaid = TopUp.objects.filter(id__in=paid).exclude(status="paid").count()
    without_fee = TopUp.objects.filter(id__in=paid, status="paid", balance_transaction_id=None).count()
    assert unpaid + without_fee > 0, "some weather it was"
    psp.knob("DELETE", "/sandbox/rules")
    missed = poller.poll()["events"]
    handle_all()
    assert set(TopUp.objects.filter(id__in=paid).values_list("status", flat=True)) == {"paid"}
    assert not TopUp.objects.filter(id__in=paid, balance_transaction_id=None).exists()
    assert poller.poll() == {"events": 0, "movements": 0}
    mirror.explain()

    gross, fee, net = sums_there()
    credited = sum(WalletEntry.objects.values_list("amount_nano_usd", flat=True))
    assert credited - gross * 10**7 == 0
    assert ledger.balance(postings.STRIPE_FEES, "USD") - fee * 10**7 == 0
    assert ledger.balance(postings.STRIPE_BALANCE, "USD") - net * 10**7 == 0
    assert gross == sum(1_000 + number for number in range(PAYMENTS))
    assert Journal.objects.filter(kind="top_up").count() == BalanceTransaction.objects.count() == PAYMENTS
    assert not TopUp.objects.filter(id__in=[each.id for each in strangers], status="paid").exists()
    assert not StripeEvent.objects.filter(event_id__startswith="evt_forged").exists()
    [row] = tie_out.run()
    assert row.agrees
    assert not tie_out.unexplained()
    booked_well()
    figures = {
        "payments": PAYMENTS,
        "events": StripeEvent.objects.count(),
        "deliveries": dict(deliveries(psp)),
        "events by webhook": by_webhook,
        "found by the first poll": missed,
        "top-ups unpaid before it": unpaid,
        "without fee before it": without_fee,
        "ticks that stumbled": worker.stumbled,
        "bad signatures accepted": sum(status < 400 for status in forged),
        "ledger less provider, cents": row.books_nano_usd // 10**7 - net,
        "seconds to pay": round(took, 1),
        "seconds in all": round(time.monotonic() - begun, 1),
    }
    print("\n" + "\n".join(f"  {name}: {figure}" for name, figure in figures.items()))
