"""The sandbox provider gives money back and takes it back as Stripe does: refunds, disputes, fraud warnings."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import stripe

from sandbox.psp.client import Psp, running_psp
from tests.stripe_client import client

__all__ = ["client"]


@pytest.fixture(scope="module")
def psp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psp]:
    with running_psp(tmp_path_factory.mktemp("psp")) as running:
        running.settings(settle_after_seconds=0, refund_moves_after_seconds=0, verdict_after_seconds=0)
        yield running


def pay(client: stripe.StripeClient, amount: int = 10_000, *, card: str = "pm_card_visa") -> str:
    """The id of a paid charge."""
    intent = client.v1.payment_intents.create(
        {"amount": amount, "currency": "usd", "payment_method": card, "confirm": True}
    )
    return str(intent.latest_charge)


def until[T](look: Callable[[], T]) -> T:
    """What `look` finds once it finds something."""
    deadline = time.monotonic() + 5
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def moved(client: stripe.StripeClient, source: str) -> list[tuple[str, int, int]]:
    """Category, amount and fee of all that one object moved on the balance, oldest first."""
    found = client.v1.balance_transactions.list({"source": source}).data
    return [(row.reporting_category, row.amount, row.fee) for row in reversed(found)]


def told(client: stripe.StripeClient, id: str) -> list[str]:
    """The kinds of the events about one object, oldest first."""
    found = client.v1.events.list({"limit": 100}).data
    return [event.type for event in reversed(found) if event.data.object["id"] == id]


def test_a_charge_is_refunded_in_parts_and_never_beyond_what_was_paid(psp: Psp, client: stripe.StripeClient) -> None:
    charge = pay(client)
    first = client.v1.refunds.create(
        {"charge": charge, "amount": 4_000, "metadata": {"part": "1"}, "expand": ["balance_transaction"]},
        {"idempotency_key": f"part-1-{charge}"},
    )
    again = client.v1.refunds.create(
        {"charge": charge, "amount": 4_000, "metadata": {"part": "1"}, "expand": ["balance_transaction"]},
        {"idempotency_key": f"part-1-{charge}"},
    )
    assert (first.id, first.status, first.currency) == (again.id, "succeeded", "usd")
    assert isinstance(first.balance_transaction, stripe.BalanceTransaction)
    assert (first.balance_transaction.type, first.balance_transaction.net) == ("refund", -4_000)
    assert moved(client, first.id) == [("refund", -4_000, 0)]
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded") as refused:
        client.v1.refunds.create({"charge": charge, "amount": 6_001})
    assert refused.value.param == "amount"
    rest = client.v1.refunds.create({"charge": charge})
    assert (rest.amount, rest.destination_details.card.type) == (6_000, "refund")  # type: ignore[union-attr]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": charge, "amount": 1})
    assert refused.value.code == "charge_already_refunded"

    whole = client.v1.charges.retrieve(charge, {"expand": ["refunds"]})
    assert (whole.amount_refunded, whole.refunded) == (10_000, True)
    assert whole.refunds is not None
    assert [refund.id for refund in whole.refunds.data] == [rest.id, first.id]
    assert told(client, charge).count("charge.refunded") == 2
    assert told(client, first.id) == ["refund.created"]


def test_eight_full_refunds_at_once_give_the_money_back_once(psp: Psp, client: stripe.StripeClient) -> None:
    charge = pay(client, 2_500)

    def ask(_: int) -> str | None:
        try:
            return client.v1.refunds.create({"charge": charge, "amount": 2_500}).id
        except stripe.InvalidRequestError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers.count("charge_already_refunded") == 7
    assert len(client.v1.refunds.list({"charge": charge}).data) == 1


def test_a_pending_refund_arrives_later_and_a_failed_one_comes_back(psp: Psp, client: stripe.StripeClient) -> None:
    slow = client.v1.refunds.create({"charge": pay(client, card="pm_card_pendingRefund")})
    assert slow.status == "pending"
    until(lambda: client.v1.refunds.retrieve(slow.id).status == "succeeded")
    assert told(client, slow.id) == ["refund.created", "refund.updated", "charge.refund.updated"]

    charge = pay(client, card="pm_card_refundFail")
    failing = client.v1.refunds.create({"charge": charge, "amount": 3_000})
    assert failing.status == "succeeded"
    failed = until(lambda: [refund for refund in [client.v1.refunds.retrieve(failing.id)] if refund.status == "failed"])
    assert failed[0].failure_reason == "expired_or_canceled_card"
    assert failed[0].failure_balance_transaction
    assert moved(client, failing.id) == [("refund", -3_000, 0), ("refund_failure", 3_000, 0)]
    assert client.v1.charges.retrieve(charge).amount_refunded == 0
    assert "refund.failed" in told(client, failing.id)
    assert client.v1.refunds.create({"charge": charge}).amount == 10_000


def test_a_dispute_takes_amount_and_fee_and_winning_brings_the_amount_back(
    psp: Psp, client: stripe.StripeClient
) -> None:
    charge = pay(client, 7_140, card="pm_card_createDispute")
    [dispute] = until(lambda: client.v1.disputes.list({"charge": charge}).data)
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 7_140)
    assert [(row.amount, row.fee, row.net) for row in dispute.balance_transactions] == [(-7_140, 1_500, -8_640)]
    assert client.v1.charges.retrieve(charge).disputed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": charge})
    assert refused.value.code == "charge_disputed"

    draft = client.v1.disputes.update(dispute.id, {"evidence": {"customer_name": "Ann"}, "submit": False})
    assert (draft.status, draft.evidence_details.submission_count) == ("needs_response", 0)
    sent = client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert (sent.status, sent.evidence.customer_name) == ("under_review", "Ann")
    until(lambda: len(client.v1.disputes.retrieve(dispute.id).balance_transactions) == 2)
    assert moved(client, dispute.id) == [("dispute", -7_140, 1_500), ("dispute_reversal", 7_140, 0)]
    assert told(client, dispute.id) == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    with pytest.raises(stripe.InvalidRequestError, match="can no longer"):
        client.v1.disputes.update(dispute.id, {"evidence": {"customer_name": "Bob"}})


def test_a_part_is_disputed_and_lost_and_an_inquiry_takes_nothing_until_it_grows(
    psp: Psp, client: stripe.StripeClient
) -> None:
    charge = pay(client)
    lost = psp.dispute(charge=charge, amount=2_000, reason="product_not_received")
    psp.decide(lost, "lost")
    assert client.v1.disputes.retrieve(lost).status == "lost"
    assert moved(client, lost) == [("dispute", -2_000, 1_500)]
    assert client.v1.disputes.close(psp.dispute(charge=pay(client))).status == "lost"

    asked = psp.dispute(charge=pay(client), inquiry=True)
    question = client.v1.disputes.retrieve(asked)
    assert (question.status, question.balance_transactions) == ("warning_needs_response", [])
    assert question.is_charge_refundable
    with pytest.raises(RuntimeError, match="cannot become"):
        psp.decide(asked, "lost")
    client.v1.disputes.update(asked, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}})
    until(lambda: client.v1.disputes.retrieve(asked).status == "needs_response")
    assert moved(client, asked) == [("dispute", -10_000, 1_500)]

    psp.settings(dispute_fee_returned=True)
    psp.decide(asked, "won")
    psp.settings(dispute_fee_returned=False)
    assert moved(client, asked)[1] == ("dispute_reversal", 10_000, -1_500)


def test_a_bank_warns_of_fraud(psp: Psp, client: stripe.StripeClient) -> None:
    charge = pay(client, card="pm_card_createIssuerFraudRecord")
    [warning] = until(lambda: client.v1.radar.early_fraud_warnings.list({"charge": charge}).data)
    assert (warning.actionable, warning.fraud_type) == (True, "unauthorized_use_of_card")
    assert told(client, warning.id) == ["radar.early_fraud_warning.created"]
    assert client.v1.radar.early_fraud_warnings.retrieve(psp.warn(charge=pay(client))).charge
