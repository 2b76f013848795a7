"""Tax of payments without a page reaches the provider's reports: each document once, whatever breaks on the way."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, connections, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, Customer
from billing import disputes, ledger, postings, refund_bookings, refunds, stripe_gateway, tax_telling, taxing, topups
from billing.models import Document, TaxRecord, TopUp
from billing.stripe_gateway import RefundFacts
from billing.top_up_booking import book
from sandbox.psp.client import Psp
from tests import builders
from tests.acting import acting_as
from tests.money_back import ask, available, go_on, until, want
from tests.test_tax import booked_well, buyer, provider, psp, register

__all__ = ["provider", "psp", "register"]

State = TaxRecord.State
CARD = "pm_card_visa"


def charge(psp: Psp, payer: Customer, net_cents: int = 10_000, *, card: str = CARD) -> TopUp:
    """A payment by a card that waits there, as the worker makes it: calculated, charged, booked, with its receipt."""
    top_up = TopUp.objects.create(
        customer=payer,
        created_by=payer.members.get(),
        method=TopUp.Method.SAVED_CARD,
        amount_cents=net_cents,
        net_cents=net_cents,
        total_cents=net_cents,
        credit_nano_usd=net_cents * 10**7,
    )
    with acting_as("worker"):
        taxing.calculate(top_up)
    intent = ask(psp).v1.payment_intents.create(
        {
            "amount": top_up.total_cents,
            "currency": "usd",
            "payment_method": card,
            "confirm": True,
            "metadata": {"top_up": str(top_up.pk)},
        }
    )
    until(lambda: stripe_gateway.payment(intent.id).fee)
    with acting_as("worker"):
        book(top_up, stripe_gateway.payment(intent.id))
    top_up.refresh_from_db()
    return top_up


def tick() -> int:
    """The worker's clock, without its pauses."""
    TaxRecord.objects.filter(state=State.DUE).update(not_before=timezone.now())
    with acting_as("worker"):
        return tax_telling.work()


def told(psp: Psp, top_up: TopUp) -> list[tuple[str, int, int]]:
    """(type, net, tax) of what the provider recorded of a payment, in its order."""
    mine = f"-{str(top_up.pk)[:8]}"
    return [(row["type"], row["amount"], row["amount_tax"]) for row in psp.taxes() if mine in row["reference"]]


def arrived(top_up: TopUp, status: str) -> RefundFacts:
    """What the provider says of the newest refund once it moved on."""
    part = top_up.refund_parts.latest("created_at")
    until(lambda: stripe_gateway.refund(part.provider_id or "").status == status)
    return stripe_gateway.refund(part.provider_id or "")


def test_a_sale_its_refund_and_a_refund_that_failed_are_told_once_each(psp: Psp) -> None:
    payer = buyer("DE")
    top_up = charge(psp, payer)
    record = TaxRecord.objects.get()
    assert (record.state, record.kind, record.net_cents, record.tax_cents) == ("due", "sale", 10_000, 1_900)
    assert record.document == Document.objects.get(kind="receipt")
    assert told(psp, top_up) == [], "a row first, the provider later"
    assert (tick(), tick()) == (1, 0)
    record.refresh_from_db()
    assert (record.state, record.told_tax_cents, record.calculation_id) == (
        "recorded",
        1_900,
        top_up.tax.calculation_id,
    )
    assert told(psp, top_up) == [("transaction", 10_000, 1_900)]

    want(payer, 40 * 10**9)
    go_on()
    assert (tick(), tick()) == (1, 0)
    assert told(psp, top_up)[1:] == [("reversal", -4_000, -760)]
    booked_well()


def test_a_refund_that_fails_after_it_arrived_is_taken_up_again_and_the_next_one_finds_it(psp: Psp) -> None:
    psp.settings(refund_moves_after_seconds=0.2)
    payer = buyer("DE")
    top_up = charge(psp, payer, card="pm_card_refundFail")
    want(payer, 100 * 10**9)
    go_on()
    refund_bookings.sync_part(arrived(top_up, "failed"))
    assert available(payer) == 100 * 10**9
    kinds = list(Document.objects.order_by("id").values_list("kind", "net_cents", "tax_cents"))
    assert kinds[0] == ("receipt", 10_000, 1_900)
    assert kinds[1:] in ([("credit_note", 10_000, 1_900), ("debit_note", 10_000, 1_900)], [])
    while tick():
        pass
    assert sum(net for _, net, _ in told(psp, top_up)) == 10_000
    psp.settings(refund_moves_after_seconds=1_000)
    want(payer, 60 * 10**9)
    go_on()
    while tick():
        pass
    assert sum(net for _, net, _ in told(psp, top_up)) == 4_000
    assert sum(tax for _, _, tax in told(psp, top_up)) == 760
    assert not TaxRecord.objects.exclude(state=State.RECORDED).exists()
    assert ledger.balance(postings.TAX_PAYABLE, "USD", "DE") == -760 * 10**7
    booked_well()


def test_a_lost_dispute_gives_the_tax_back_there_too(psp: Psp) -> None:
    psp.settings(verdict_after_seconds=0)
    payer = buyer("DE")
    top_up = charge(psp, payer)
    dispute_id = psp.dispute(charge=top_up.charge_id)
    disputes.sync(dispute_id)
    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    note = Document.objects.get(kind="credit_note")
    assert (note.net_cents, note.tax_cents) == (10_000, 1_900)
    assert (tick(), tick()) == (2, 0), "the sale first, then what takes it back"
    assert told(psp, top_up) == [("transaction", 10_000, 1_900), ("reversal", -10_000, -1_900)]
    assert ledger.balance(postings.TAX_PAYABLE, "USD", "DE") == 0
    booked_well()


def test_reverse_charge_is_told_as_well_and_pages_of_the_provider_are_not(psp: Psp, register: Any) -> None:
    business = buyer("FR", "", ("eu_vat", "FR40303265045"))
    top_up = charge(psp, business)
    assert (top_up.tax_cents, TaxRecord.objects.get().tax_cents) == (0, 0)
    assert tick() == 1
    assert told(psp, top_up) == [("transaction", 10_000, 0)]
    owner = buyer("DE")
    page = topups.start(customer=owner, user=owner.members.get(), amount_cents=5_000)
    assert psp.pay(str(page.checkout_session_id)).status == 303
    assert topups.settle(page.pk) == TopUp.Status.PAID
    assert TaxRecord.objects.count() == 1, "of its own page the provider keeps the record itself"
    booked_well()


@pytest.mark.parametrize("weather", ["hang_up_before", "hang_up_after", "rate_limit"])
def test_an_answer_that_got_lost_is_given_again(psp: Psp, weather: str) -> None:
    top_up = charge(psp, buyer("DE"))
    psp.api_rule(weather, "POST /v1/tax/transactions/create_from_calculation", times=3)
    assert tick() == 0
    record = TaxRecord.objects.get()
    assert (record.state, record.tries) == ("due", 1)
    assert record.not_before > timezone.now(), "the next try waits"
    psp.knob("DELETE", "/sandbox/rules")
    assert tick() == 1
    assert told(psp, top_up) == [("transaction", 10_000, 1_900)]


def test_a_worker_that_died_between_answer_and_commit_and_sixteen_at_once_tell_once(
    psp: Psp, monkeypatch: pytest.MonkeyPatch
) -> None:
    top_ups = [charge(psp, buyer("DE"), 2_000 + number) for number in range(3)]

    class Died(BaseException):
        pass

    real = stripe_gateway.record_tax

    def die(**named: Any) -> Any:
        real(**named)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(stripe_gateway, "record_tax", die)
        with pytest.raises(Died):
            tick()
    assert sum(bool(told(psp, top_up)) for top_up in top_ups) == 1, "one reached the provider"
    assert TaxRecord.objects.filter(state=State.DUE).count() == 3
    TaxRecord.objects.update(not_before=timezone.now())
    everybody = list(TaxRecord.objects.values_list("pk", flat=True)) * 4

    def tell(record_id: int) -> bool:
        try:
            return tax_telling.tell(record_id)
        except stripe_gateway.Unavailable:
            return False  # the same key is being answered to somebody else
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as several:
        list(several.map(tell, everybody))
    while tick():
        pass
    for top_up in top_ups:
        assert told(psp, top_up) == [("transaction", top_up.net_cents, top_up.tax_cents)]
    assert set(TaxRecord.objects.values_list("state", flat=True)) == {"recorded"}
    booked_well()


def test_an_error_that_hides_an_effect_is_never_doubled_and_is_told_to_finance(psp: Psp, client: Client) -> None:
    top_up = charge(psp, buyer("DE"))
    psp.api_rule("error_after", "POST /v1/tax/transactions/create_from_calculation", times=1)
    tick()
    tick()
    tick()
    record = TaxRecord.objects.get()
    assert told(psp, top_up) == [("transaction", 10_000, 1_900)]
    assert record.state in ("recorded", "refused")
    if record.state == "refused":
        assert "never reached us" in record.failure


def test_what_a_calculation_no_longer_says_waits_for_finance_and_is_asked_again(
    psp: Psp, client: Client, settings: Any
) -> None:
    settings.STAFF_MFA_REQUIRED = False
    payer = buyer("DE")
    top_up = charge(psp, payer)
    psp.advance(91 * 24 * 3600)
    psp.settings(tax_registrations=[])
    assert tick() == 0
    record = TaxRecord.objects.get()
    assert (record.state, "1900 cents" in record.failure) == ("refused", True)
    room, again = "/staff/billing/taxrecord/", {"action": "ask_again", "_selected_action": [record.pk]}
    client.force_login(builders.staff("support"))
    client.post(room, again)
    record.refresh_from_db()
    assert record.state == "refused", "support sees and does not touch"
    client.force_login(builders.staff("finance"))
    assert record.reference in client.get(room).content.decode()
    psp.settings(tax_registrations=["DE"], tax_head_office="DE")
    with acting_as("web"):
        assert client.post(room, again).status_code == 302
    assert AuditEntry.objects.filter(action="tax_record.asked_again").count() == 1
    assert tick() == 1
    record.refresh_from_db()
    assert (record.state, record.calculation_id != top_up.tax.calculation_id) == ("recorded", True)
    assert told(psp, top_up) == [("transaction", 10_000, 1_900)]


def test_what_was_told_stays_and_the_web_only_asks_again(psp: Psp) -> None:
    charge(psp, buyer("DE"))
    with acting_as("web"):
        for change in ({"state": "recorded"}, {"state": "refused"}):
            with pytest.raises(ProgrammingError, match="only asks again"), transaction.atomic():
                TaxRecord.objects.update(**change)
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            TaxRecord.objects.update(failure="x")
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        TaxRecord.objects.update(tax_cents=1)
    tick()
    for change in ({"state": "due"}, {"provider_id": "tax_other"}):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            TaxRecord.objects.update(**change)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        TaxRecord.objects.all()._raw_delete("default")
    assert refunds.refundable_nano_usd(Customer.objects.get()) == 100 * 10**9
