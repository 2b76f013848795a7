"""The sandbox provider pays out: by hand, every midnight of its clock, and back again when a bank refuses."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.psp.cards import card_fee
from sandbox.psp.client import Psp, running_psp
from tests.stripe_client import client
from tests.test_sandbox_psp_webhooks import receiving, types

__all__ = ["client"]

DAY = 24 * 3600


@pytest.fixture
def psp(tmp_path: Path) -> Iterator[Psp]:
    with running_psp(tmp_path) as running:
        running.settings(settle_after_seconds=0)
        yield running


def eventually[T](look: Callable[[], T], right: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + 10
    while not right(seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r}"
        time.sleep(0.02)
    return seen


def charge(client: stripe.StripeClient, amount: int, currency: str = "usd", card: str = "pm_card_visa") -> int:
    """A paid charge, settled; gives what of it reaches the balance."""
    client.v1.payment_intents.create(
        {
            "amount": amount,
            "currency": currency,
            "payment_method": card,
            "confirm": True,
            "off_session": True,
        }
    )
    net = amount - card_fee(amount)
    eventually(lambda: transactions(client, currency), lambda rows: any(row.net == net for row in rows))
    return net


def test_the_card_whose_money_is_quick_can_be_paid_out_at_once(psp: Psp, client: stripe.StripeClient) -> None:
    net = charge(client, 10_000, card="pm_card_bypassPending")
    assert available(client) == net
    client.v1.payouts.create({"amount": net, "currency": "usd"})


def transactions(client: stripe.StripeClient, currency: str = "usd", **more: Any) -> list[stripe.BalanceTransaction]:
    params: Any = {"limit": 100, "currency": currency, **more}
    return client.v1.balance_transactions.list(params).data


def available(client: stripe.StripeClient, currency: str = "usd") -> int:
    return sum(part.amount for part in client.v1.balance.retrieve().available if part.currency == currency)


def test_a_payout_by_hand_takes_what_is_available_and_no_more(psp: Psp, client: stripe.StripeClient) -> None:
    net = charge(client, 10_000)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payouts.create({"amount": net, "currency": "usd"})
    assert refused.value.code == "balance_insufficient"
    assert [part.amount for part in client.v1.balance.retrieve().pending] == [net]
    psp.advance(2 * DAY)
    assert available(client) == net
    payout = client.v1.payouts.create({"amount": 5_000, "currency": "usd"}, {"idempotency_key": "p1"})
    again = client.v1.payouts.create({"amount": 5_000, "currency": "usd"}, {"idempotency_key": "p1"})
    assert (payout.id, payout.status, payout.automatic) == (again.id, "pending", False)
    assert available(client) == net - 5_000
    [moved] = [row for row in transactions(client) if row.source == payout.id]
    assert (moved.id, moved.amount, moved.fee, moved.net) == (payout.balance_transaction, -5_000, 0, -5_000)
    assert (moved.type, moved.reporting_category) == ("payout", "payout")
    psp.advance(DAY)
    eventually(lambda: client.v1.payouts.retrieve(payout.id).status, lambda status: status == "paid")
    with pytest.raises(stripe.InvalidRequestError, match="only be filtered on automatic"):
        transactions(client, payout=payout.id)


def test_a_payout_that_fails_after_it_was_paid_stands_on_the_balance_again(
    psp: Psp, client: stripe.StripeClient
) -> None:
    net = charge(client, 10_000)
    psp.advance(2 * DAY)
    payout = client.v1.payouts.create({"amount": net, "currency": "usd"})
    psp.knob("POST", f"/sandbox/payouts/{payout.id}", {"status": "paid"})
    assert client.v1.payouts.retrieve(payout.id).status == "paid"
    psp.knob("POST", f"/sandbox/payouts/{payout.id}", {"status": "failed", "code": "account_closed"})
    failed = client.v1.payouts.retrieve(payout.id, {"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_code) == ("failed", "account_closed")
    assert isinstance(failed.failure_balance_transaction, stripe.BalanceTransaction)
    assert failed.failure_balance_transaction.net == net == available(client)
    assert failed.failure_balance_transaction.type == "payout_failure"
    canceled = client.v1.payouts.create({"amount": 100, "currency": "usd"})
    assert client.v1.payouts.cancel(canceled.id).status == "canceled"
    assert available(client) == net
    with pytest.raises(stripe.InvalidRequestError, match="manual and pending"):
        client.v1.payouts.cancel(canceled.id)


def test_every_midnight_all_that_is_available_leaves_and_its_parts_add_up(
    psp: Psp, client: stripe.StripeClient
) -> None:
    psp.settings(automatic_payouts=True, payout_takes_seconds=3_600)
    nets = [charge(client, 10_000), charge(client, 2_500)]
    euros = charge(client, 7_000, "eur")
    psp.advance(3 * DAY)
    payouts = eventually(lambda: client.v1.payouts.list().data, lambda rows: len(rows) == 2)
    by_currency = {payout.currency: payout for payout in payouts}
    assert {name: payout.amount for name, payout in by_currency.items()} == {"usd": sum(nets), "eur": euros}
    inside = transactions(client, payout=by_currency["usd"].id)
    assert sorted(row.net for row in inside) == sorted([*nets, -sum(nets)])
    psp.knob("POST", "/sandbox/fees", {"amount": 900})
    late = charge(client, 5_000)
    psp.advance(3 * DAY)
    newest = eventually(lambda: client.v1.payouts.list().data, lambda rows: len(rows) == 3)[0]
    assert newest.amount == late - 900
    assert sum(row.net for row in transactions(client, payout=newest.id)) == 0
    assert eventually(lambda: client.v1.payouts.list({"status": "paid"}).data, lambda rows: len(rows) >= 2)


def test_chaos_repeats_shuffles_loses_and_spoils_by_its_seed(tmp_path: Path) -> None:
    with receiving() as receiver, running_psp(tmp_path, webhook_url=receiver.url, retry_base_seconds=0.01) as psp:
        psp.settings(
            settle_after_seconds=0,
            chaos={"seed": 5, "copies": 5, "drop": 0.2, "wrong_signature": 0.1, "spread_seconds": 0.3},
        )
        http_client: Any = stripe.RequestsClient()
        client = stripe.StripeClient(psp.secret_key, base_addresses={"api": psp.url}, http_client=http_client)
        for _ in range(20):
            charge(client, 1_000)
        rows = eventually(psp.deliveries, lambda rows: all(row["state"] != "pending" for row in rows))
        http_client.close()
        events = {row["event"] for row in rows}
        dropped = {row["event"] for row in rows if row["state"] == "dropped"}
        assert len(events) >= 60
        assert 0.05 < len(dropped) / len(events) < 0.4
        sent = [row["event"] for row in rows if row["state"] == "delivered"]
        assert 2 < len(sent) / (len(events) - len(dropped)) < 4, "three copies on average"
        assert 0 < len(receiver.posts) - len(receiver.accepted()) < len(sent) / 4
        assert {event.id for event in receiver.accepted()} <= events - dropped
        assert len(types(receiver)) > 100
        with pytest.raises(RuntimeError, match="part of chaos"):
            psp.settings(chaos={"drop": 2})
