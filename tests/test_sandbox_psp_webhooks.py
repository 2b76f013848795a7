"""The sandbox provider tells what happened: signed, repeated until taken, and through its own death."""

import contextlib
import functools
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.psp.client import Psp, running_psp

SECRET = "whsec_sandbox"
PAID_STORY = [
    "charge.succeeded",
    "charge.updated",
    "checkout.session.completed",
    "payment_intent.created",
    "payment_intent.succeeded",
]


class Receiver(http.server.ThreadingHTTPServer):
    """The merchant's side: keeps what arrives; answers 500 to the first `failing` posts."""

    daemon_threads = True

    def __init__(self, port: int = 0, failing: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Post)
        self.failing = failing
        self.posts: list[tuple[bytes, str]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/webhook"

    def accepted(self) -> list[stripe.Event]:
        """The events whose signature is right, in the order they came."""
        events = []
        for body, signature in list(self.posts):
            with contextlib.suppress(stripe.SignatureVerificationError):
                events.append(stripe.Webhook.construct_event(body, signature, SECRET))
        return events


class Post(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            fails, self.server.failing = self.server.failing > 0, max(0, self.server.failing - 1)
            if not fails:
                self.server.posts.append((body, self.headers["Stripe-Signature"]))
        self.send_response(500 if fails else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def receiving(port: int = 0, failing: int = 0) -> Iterator[Receiver]:
    with Receiver(port, failing) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


@contextlib.contextmanager
def talking(psp: Psp) -> Iterator[stripe.StripeClient]:
    http_client: Any = stripe.RequestsClient()
    yield stripe.StripeClient(psp.secret_key, base_addresses={"api": psp.url}, http_client=http_client)
    http_client.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def psp(tmp_path: Path, receiver: Receiver) -> Iterator[Psp]:
    with running_psp(tmp_path, webhook_url=receiver.url, webhook_secret=SECRET, retry_base_seconds=0.05) as running:
        yield running


def until[T](look: Callable[[], T], right: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + 10
    while True:
        seen = look()
        if right(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen!r}"
        time.sleep(0.02)


def types(receiver: Receiver) -> list[str]:
    return sorted(event.type for event in receiver.accepted())


def open_order(client: stripe.StripeClient, key: str | None = None) -> stripe.checkout.Session:
    price: Any = {"currency": "usd", "unit_amount": 10_000, "product_data": {"name": "Credit"}}
    return client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "customer_email": "payer@example.com",
            "success_url": "http://127.0.0.1:9/done",
        },
        {"idempotency_key": key} if key else {},
    )


def test_a_payment_is_told_in_signed_events_and_its_fee_comes_later(psp: Psp, receiver: Receiver) -> None:
    with talking(psp) as client:
        session = open_order(client)
    psp.pay(session.id)
    until(lambda: types(receiver), lambda seen: seen == PAID_STORY)
    told = {event.type: event.data.object for event in receiver.accepted()}
    assert told["charge.succeeded"]["balance_transaction"] is None
    assert told["charge.updated"]["balance_transaction"].startswith("txn_")
    assert told["checkout.session.completed"]["id"] == session.id
    body, signature = receiver.posts[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", signature, SECRET)


def test_a_receiver_that_fails_gets_every_event_again_until_it_takes_it(tmp_path: Path) -> None:
    with (
        receiving(failing=7) as receiver,
        running_psp(tmp_path, webhook_url=receiver.url, webhook_secret=SECRET, retry_base_seconds=0.05) as psp,
        talking(psp) as client,
    ):
        psp.pay(open_order(client).id)
        until(lambda: types(receiver), lambda seen: seen == PAID_STORY)
        rows = until(psp.deliveries, lambda found: {row["state"] for row in found} == {"delivered"})
        assert sum(row["tries"] for row in rows) == 5 + 7


def test_a_delivery_is_given_up_after_its_last_try_and_the_event_stays_listed(tmp_path: Path) -> None:
    with (
        receiving(failing=1_000) as receiver,
        running_psp(
            tmp_path, webhook_url=receiver.url, webhook_secret=SECRET, retry_base_seconds=0.01, max_tries=3
        ) as psp,
        talking(psp) as client,
    ):
        client.v1.customers.create({"name": "Ann"})
        [row] = until(psp.deliveries, lambda rows: [row["state"] for row in rows] == ["failed"])
        assert (row["tries"], row["last_status"]) == (3, 500)
        assert [event.type for event in client.v1.events.list({"delivery_success": False}).data] == ["customer.created"]


def test_the_knobs_pause_drop_repeat_delay_and_spoil_deliveries(psp: Psp, receiver: Receiver) -> None:
    with talking(psp) as client:
        psp.settings(paused=True)
        client.v1.customers.create({"name": "Paused"})
        assert [row["state"] for row in psp.deliveries()] == ["pending"]
        assert receiver.posts == []
        psp.settings(paused=False)
        until(lambda: len(receiver.posts), lambda n: n == 1)

        psp.webhook_rule("drop", "customer.*")
        client.v1.customers.create({"name": "Dropped"})
        dropped = client.v1.events.list({"limit": 1}).data[0]
        assert [row["state"] for row in psp.deliveries(dropped.id)] == ["dropped"]

        psp.webhook_rule("repeat", value=3)
        client.v1.customers.create({"name": "Thrice"})
        until(lambda: len(receiver.posts), lambda n: n == 4)

        psp.deliver(dropped.id, times=2)
        until(lambda: [event.id for event in receiver.accepted()].count(dropped.id), lambda n: n == 2)

        psp.webhook_rule("delay", value=0.3)
        begun = time.monotonic()
        client.v1.customers.create({"name": "Late"})
        until(lambda: len(receiver.posts), lambda n: n == 7)
        assert time.monotonic() - begun >= 0.3

        for spoiled in ("wrong_signature", "old_timestamp"):
            psp.webhook_rule(spoiled)
            before = len(receiver.accepted())
            client.v1.customers.create({"name": spoiled})
            until(lambda: psp.deliveries()[-1]["state"], lambda state: state == "delivered")
            assert len(receiver.accepted()) == before


def test_each_of_two_receivers_gets_every_event(tmp_path: Path) -> None:
    with (
        receiving() as one,
        receiving() as two,
        running_psp(tmp_path, webhook_url=(one.url, two.url), webhook_secret=SECRET) as psp,
        talking(psp) as client,
    ):
        psp.pay(open_order(client).id)
        for receiver in (one, two):
            until(functools.partial(types, receiver), lambda seen: seen == PAID_STORY)


def test_killed_with_deliveries_and_a_settlement_waiting_it_goes_on_where_it_was(psp: Psp, receiver: Receiver) -> None:
    psp.settings(paused=True, settle_after_seconds=0.5)
    with talking(psp) as client:
        session = open_order(client, "order-1")
        psp.pay(session.id)
        psp.kill()
        psp.start()
        again = open_order(client, "order-1")
        assert (again.id, again.last_response is not None) == (session.id, True)
        assert client.v1.checkout.sessions.retrieve(session.id).status == "complete"
        psp.settings(paused=False)
        until(lambda: types(receiver), lambda seen: seen == PAID_STORY)
        assert len(client.v1.charges.list().data) == 1
        [transaction] = client.v1.balance_transactions.list().data
        assert (transaction.fee, transaction.net) == (320, 9_680)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_the_press_of_pay_it_charges_exactly_once(psp: Psp, receiver: Receiver, moment: str) -> None:
    with talking(psp) as client:
        session = open_order(client)
        psp.api_rule(f"crash_{moment}", "POST /c/pay/*")
        with pytest.raises(ConnectionError):
            psp.pay(session.id)
        assert psp.wait() == -9
        psp.start()
        assert psp.pay(session.id).location == "http://127.0.0.1:9/done"
        until(lambda: sorted(set(types(receiver))), lambda seen: seen == PAID_STORY)
        assert len(client.v1.charges.list().data) == 1
        assert len({event.id for event in receiver.accepted()}) == 5


def test_killed_around_an_api_call_the_key_makes_the_retry_harmless(psp: Psp) -> None:
    for round_number, moment in enumerate(("before", "after")):
        psp.api_rule(f"crash_{moment}", "POST /v1/customers")
        params: Any = {"email": f"crash{round_number}@example.com"}
        options: Any = {"idempotency_key": f"crash-{round_number}"}
        with talking(psp) as client:
            with pytest.raises(stripe.APIConnectionError):
                client.v1.customers.create(params, options)
            psp.wait()
            psp.start()
            made = client.v1.customers.create(params, options)
            assert [customer.id for customer in client.v1.customers.list(params).data] == [made.id]


def test_a_second_provider_on_the_same_directory_does_not_start(psp: Psp) -> None:
    twin = Psp(dir=psp.dir, webhook_urls=(), secret_key="sk_test_x", webhook_secret=SECRET, options=())
    with pytest.raises(RuntimeError):
        twin.start()
    twin.wait()
