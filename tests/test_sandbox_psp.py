"""The sandbox payment provider speaks the Stripe API: driven by the official SDK over real HTTP."""

import base64
import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from sandbox.psp.cards import card_fee
from sandbox.psp.client import DECLINED_CARD, SECURE_CARD, Psp, running_psp
from tests.stripe_client import client

__all__ = ["client"]

KINDS = {"checkout.session": "cs_test_", "payment_intent": "pi_", "charge": "ch_", "balance_transaction": "txn_"}


@pytest.fixture(scope="module")
def psp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psp]:
    with running_psp(tmp_path_factory.mktemp("psp")) as running:
        running.settings(settle_after_seconds=0)
        yield running


def order(amount: int = 10_000, **more: Any) -> Any:
    line = {"price_data": {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Credit"}}}
    return {
        "mode": "payment",
        "line_items": [{**line, "quantity": 1}],
        "customer_email": "payer@example.com",
        "success_url": "http://127.0.0.1:9/done?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1:9/wallet",
        **more,
    }


def settled_intent(client: stripe.StripeClient, session_id: str) -> stripe.PaymentIntent:
    """The session's intent with charge and balance transaction expanded, once the provider has settled it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        session = client.v1.checkout.sessions.retrieve(
            session_id, {"expand": ["payment_intent.latest_charge.balance_transaction"]}
        )
        intent = session.payment_intent
        assert isinstance(intent, stripe.PaymentIntent)
        assert isinstance(intent.latest_charge, stripe.Charge)
        if intent.latest_charge.balance_transaction is not None:
            return intent
        time.sleep(0.02)
    raise AssertionError("the charge was never settled")


def test_a_paid_session_leads_to_one_charge_with_its_fee_and_the_date_it_is_available(
    psp: Psp, client: stripe.StripeClient
) -> None:
    customer = client.v1.customers.create({"email": "ann@example.com", "metadata": {"account": "7"}})
    details = {"description": "Prepaid credit", "metadata": {"top_up": "42"}}
    params = order(customer=customer.id, payment_intent_data=details, client_reference_id="top-up-42")
    del params["customer_email"]
    session = client.v1.checkout.sessions.create(params)
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert session.url == f"{psp.url}/c/pay/{session.id}"

    paid = psp.pay(session.id)
    assert (paid.status, paid.location) == (303, f"http://127.0.0.1:9/done?session={session.id}")

    done = client.v1.checkout.sessions.retrieve(session.id)
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    assert done.client_reference_id == "top-up-42"
    intent = settled_intent(client, session.id)
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    transaction = charge.balance_transaction
    assert isinstance(transaction, stripe.BalanceTransaction)
    assert (intent.status, intent.amount_received, intent.customer) == ("succeeded", 10_000, customer.id)
    assert (intent.metadata["top_up"], charge.metadata["top_up"]) == ("42", "42")
    assert (charge.paid, charge.captured, charge.currency) == (True, True, "usd")
    assert (transaction.amount, transaction.fee, transaction.net) == (10_000, 320, 9_680)
    assert transaction.available_on == transaction.created + 2 * 24 * 3600
    assert (transaction.source, transaction.reporting_category, transaction.status) == (charge.id, "charge", "pending")
    for thing in (session, intent, charge, transaction):
        assert thing.id.startswith(KINDS[thing.object])
        assert getattr(thing, "livemode", False) is False
    [only] = client.v1.charges.list({"payment_intent": intent.id}).data
    assert only.id == charge.id


@pytest.mark.parametrize(("amount", "fee"), [(50, 31), (100, 33), (1_000, 59), (10_000, 320), (99_999_999, 2_900_030)])
def test_the_fee_is_2_9_percent_rounded_half_up_and_30_cents(amount: int, fee: int) -> None:
    assert card_fee(amount) == fee


def test_pressing_pay_many_times_at_once_charges_once(psp: Psp, client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.create(order(2_500))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: psp.pay(session.id), range(8)))
    assert {answer.location for answer in answers} == {f"http://127.0.0.1:9/done?session={session.id}"}
    intent = settled_intent(client, session.id)
    assert len(client.v1.charges.list({"payment_intent": intent.id}).data) == 1
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert len(client.v1.balance_transactions.list({"source": charge.id}).data) == 1


def test_a_declined_card_stays_on_the_page_and_another_card_can_pay(psp: Psp, client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.create(order())
    declined = psp.pay(session.id, card=DECLINED_CARD)
    assert (declined.status, declined.message) == (402, "Your card was declined.")
    before = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    intent = before.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert before.status == "open"
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.decline_code == "generic_decline"
    assert (intent.latest_charge.status, intent.latest_charge.failure_code) == ("failed", "card_declined")

    assert psp.pay(session.id).status == 303
    assert settled_intent(client, session.id).status == "succeeded"
    assert [charge.paid for charge in client.v1.charges.list({"payment_intent": intent.id}).data] == [True, False]


def test_a_3d_secure_card_is_charged_only_after_the_cardholder_agrees(psp: Psp, client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.create(order())
    step = psp.pay(session.id, card=SECURE_CARD).location
    assert step is not None
    refused = psp.authenticate(step, complete=False)
    assert refused.location == f"{psp.url}/c/pay/{session.id}"
    second = psp.pay(session.id, card=SECURE_CARD).location
    assert second == psp.pay(session.id).location == step
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    agreed = psp.authenticate(step)
    assert agreed == psp.authenticate(step)
    assert agreed.location == f"http://127.0.0.1:9/done?session={session.id}"
    intent = settled_intent(client, session.id)
    assert [charge.paid for charge in client.v1.charges.list({"payment_intent": intent.id}).data] == [True]


def test_a_real_card_number_is_refused_and_kept_nowhere(psp: Psp, client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.create(order())
    refused = psp.pay(session.id, card="4111 1111 1111 1111")
    assert refused.status == 400
    assert refused.message is not None
    assert "test cards" in refused.message
    kept = b"".join(path.read_bytes() for path in psp.dir.iterdir())
    assert b"4111111111111111" not in kept
    assert b"4242424242424242" not in kept


def test_a_session_expires_on_request_or_when_its_time_is_over_and_then_cannot_be_paid(
    psp: Psp, client: stripe.StripeClient
) -> None:
    asked = client.v1.checkout.sessions.create(order())
    psp.pay(asked.id, card=DECLINED_CARD)
    assert client.v1.checkout.sessions.expire(asked.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(asked.id)
    ended = client.v1.checkout.sessions.retrieve(asked.id, {"expand": ["payment_intent"]}).payment_intent
    assert isinstance(ended, stripe.PaymentIntent)
    assert ended.status == "canceled"

    timed = client.v1.checkout.sessions.create(order(expires_at=int(psp.state()["now"]) + 1_800))
    psp.advance(1_801)
    deadline = time.monotonic() + 5
    while client.v1.checkout.sessions.retrieve(timed.id).status == "open":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert psp.pay(timed.id).status == 200
    assert client.v1.checkout.sessions.retrieve(timed.id).payment_status == "unpaid"


def test_an_off_session_payment_with_a_test_token_succeeds_declines_or_asks(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"email": "auto@example.com"})
    params: Any = {
        "amount": 5_000,
        "currency": "eur",
        "customer": customer.id,
        "payment_method": "pm_card_visa",
        "confirm": True,
        "off_session": True,
    }
    assert client.v1.payment_intents.create(params).status == "succeeded"
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.create(params | {"payment_method": "pm_card_visa_chargeDeclined"})
    assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
    with pytest.raises(stripe.CardError) as asks:
        client.v1.payment_intents.create(params | {"payment_method": "pm_card_authenticationRequired"})
    assert asks.value.code == "authentication_required"


def test_the_same_key_gives_the_first_result_again_and_creates_once(client: stripe.StripeClient) -> None:
    first = client.v1.checkout.sessions.create(order(), {"idempotency_key": "order-1"})
    again = client.v1.checkout.sessions.create(order(), {"idempotency_key": "order-1"})
    assert again.id == first.id
    assert first.last_response is not None
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.headers["Request-Id"]


def test_the_same_key_with_other_parameters_or_another_endpoint_is_an_idempotency_error(
    client: stripe.StripeClient,
) -> None:
    client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "key-2"})
    with pytest.raises(stripe.IdempotencyError) as other_params:
        client.v1.customers.create({"email": "b@example.com"}, {"idempotency_key": "key-2"})
    assert other_params.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        client.v1.checkout.sessions.create(order(), {"idempotency_key": "key-2"})


def test_one_key_used_by_many_at_once_works_for_one_and_says_in_use_to_the_others(
    psp: Psp, client: stripe.StripeClient
) -> None:
    psp.settings(latency_seconds=0.4)
    together = threading.Barrier(6)

    def create() -> str:
        together.wait()
        try:
            return client.v1.customers.create({"name": "Once"}, {"idempotency_key": "key-3"}).id
        except stripe.APIError as refusal:
            return f"{refusal.http_status} {refusal.error.code if refusal.error else None}"

    with ThreadPoolExecutor(6) as pool:
        results = sorted(pool.map(lambda _: create(), range(6)))
    psp.settings(latency_seconds=0)
    assert results.count("409 idempotency_key_in_use") == 5
    again = client.v1.customers.create({"name": "Once"}, {"idempotency_key": "key-3"})
    assert again.id in results


def test_a_failed_validation_leaves_the_key_free_but_a_decline_or_500_is_kept(
    psp: Psp, client: stripe.StripeClient
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as small:
        client.v1.checkout.sessions.create(order(10), {"idempotency_key": "key-4"})
    assert small.value.code == "amount_too_small"
    assert client.v1.checkout.sessions.create(order(), {"idempotency_key": "key-4"}).status == "open"

    psp.api_rule("error_after", "POST /v1/customers")
    params: Any = {"email": "after@example.com"}
    for _ in range(2):
        with pytest.raises(stripe.APIError) as broke:
            client.v1.customers.create(params, {"idempotency_key": "key-5"})
        assert broke.value.http_status == 500
    assert len(client.v1.customers.list(params).data) == 1


def test_a_lost_answer_is_found_again_under_its_key(psp: Psp, client: stripe.StripeClient) -> None:
    psp.api_rule("hang_up_after", "POST /v1/customers")
    params: Any = {"email": "lost@example.com"}
    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create(params, {"idempotency_key": "key-6"})
    found = client.v1.customers.create(params, {"idempotency_key": "key-6"})
    assert [customer.id for customer in client.v1.customers.list(params).data] == [found.id]


def test_lists_page_in_both_directions_and_filter_by_time(client: stripe.StripeClient) -> None:
    made = [client.v1.customers.create({"email": "page@example.com"}).id for _ in range(7)]
    newest_first = made[::-1]
    params: Any = {"email": "page@example.com", "limit": 3}
    first = client.v1.customers.list(params)
    assert ([one.id for one in first.data], first.has_more) == (newest_first[:3], True)
    assert [one.id for one in first.auto_paging_iter()] == newest_first
    back = client.v1.customers.list(params | {"ending_before": newest_first[5]})
    assert ([one.id for one in back.data], back.has_more) == (newest_first[2:5], True)
    start = client.v1.customers.retrieve(made[0]).created
    assert len(client.v1.customers.list(params | {"limit": 100, "created": {"gte": start}}).data) == 7
    assert client.v1.customers.list(params | {"created": {"lt": start}}).data == []


def test_events_are_listed_by_type_and_hold_a_snapshot(psp: Psp, client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.create(order())
    psp.pay(session.id)
    types: Any = ["checkout.session.completed", "charge.updated"]
    events = client.v1.events.list({"types": types, "limit": 100}).data
    assert {event.type for event in events} <= set(types)
    [completed] = [event for event in events if event.data.object["id"] == session.id]
    assert completed.data.object["payment_status"] == "paid"
    assert client.v1.events.retrieve(completed.id).to_dict() == completed.to_dict()


def test_a_customer_is_changed_field_by_field_and_metadata_key_by_key(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"name": "Ann", "metadata": {"a": "1", "b": "2"}})
    changed = client.v1.customers.update(customer.id, {"email": "ann@example.com", "metadata": {"a": "", "c": "3"}})
    assert (changed.name, changed.email) == ("Ann", "ann@example.com")
    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"mode": "subscription"}, "parameter_invalid", "mode"),
        ({"success_url": None}, "parameter_missing", "success_url"),
        ({"customer": "cus_unknown", "customer_email": None}, "resource_missing", "customer"),
        ({"line_items": []}, "parameter_missing", "line_items"),
        ({"color": "red"}, "parameter_unknown", "color"),
        ({"expires_at": 12}, "parameter_invalid", "expires_at"),
    ],
)
def test_a_wrong_parameter_is_named(client: stripe.StripeClient, change: Any, code: str, param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.checkout.sessions.create(order() | change)
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)
    assert refused.value.request_id is not None


def test_only_expandable_fields_expand(client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.create(order(), {"stripe_version": "2025-01-27.acacia"})
    expanded = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["line_items"]})
    assert expanded.line_items is not None
    assert [item.amount_total for item in expanded.line_items.data] == [10_000]
    assert "line_items" not in session.to_dict()
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.retrieve(session.id, {"expand": ["metadata"]})


def test_a_missing_or_wrong_key_is_401_and_basic_authentication_works(psp: Psp) -> None:
    basic = base64.b64encode(f"{psp.secret_key}:".encode()).decode()
    for header, status in (("", 401), ("Bearer sk_test_wrong", 401), (f"Basic {basic}", 200)):
        link = http.client.HTTPConnection(psp.url.removeprefix("http://"), timeout=5)
        link.request("GET", "/v1/events", headers={"Authorization": header} if header else {})
        answer = link.getresponse()
        body = json.loads(answer.read())
        link.close()
        assert answer.status == status
        assert answer.headers["Request-Id"].startswith("req_")
        assert ("error" in body) is (status == 401)
