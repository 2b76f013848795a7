"""Cards that wait at the provider: kept with consent, charged once, asked for by banks, removed for good."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test import Client
from django.utils import timezone

from accounts import holds
from accounts.models import AuditEntry, Customer
from billing import card_payments, cards, inbox, ledger, stripe_gateway, topups
from billing.models import CardSetup, Journal, SavedCard, TopUp, WalletEntry
from billing.stripe_gateway import Unavailable
from billing.stripe_gateway.client import client as provider_client
from sandbox.psp.client import GOOD_CARD, Psp
from tests import builders
from tests.acting import acting_as
from tests.top_up_stage import booked_well, eventually, in_the_past, provider, psp, session_of, wallet_nano_usd

__all__ = ["provider", "psp"]

pytestmark = pytest.mark.django_db(transaction=True)
ALWAYS_ASKS = "4000 0027 6000 3184"
ASKS_ON_REQUEST = "4000 0000 0000 3055"
SAVES_BUT_DECLINES = "4000 0000 0000 0341"
MASTERCARD = "5555 5555 5555 4444"


def kept(psp: Psp, payer: Customer, number: str = GOOD_CARD) -> SavedCard:
    """A card that its owner kept on the provider's page."""
    setup = cards.start_setup(customer=payer, user=payer.members.get(), setup_id=uuid.uuid4())
    assert setup.checkout_session_id
    pressed = psp.pay(setup.checkout_session_id, card=number)
    if pressed.location and "/3d-secure/" in pressed.location:
        psp.authenticate(pressed.location)
    assert cards.settle_setup(setup.id) == "done"
    setup.refresh_from_db()
    assert setup.card
    return setup.card


def begin(payer: Customer, card: SavedCard | None, amount_cents: int = 5_000, **more: Any) -> TopUp:
    return topups.start(customer=payer, user=payer.members.get(), amount_cents=amount_cents, card=card, **more)


def charges() -> list[dict[str, Any]]:
    """What the provider charged, whatever we believe."""
    return [charge.to_dict() for charge in provider_client().v1.charges.list({"limit": 100}).data if charge.paid]


def charges_of(top_up: TopUp) -> int:
    return sum(charge["metadata"].get("top_up") == str(top_up.id) for charge in charges())


def test_a_kept_card_is_charged_with_one_click_once_for_one_form(psp: Psp, payer: Customer) -> None:
    card = kept(psp, payer)
    assert (card.brand, card.last4, card.country, card.is_default) == ("Visa", "4242", "US", True)
    assert card.fingerprint
    wish = uuid.uuid4()
    top_up = begin(payer, card, top_up_id=wish)
    assert top_up.status == TopUp.Status.STARTED, "the web charges nothing; the worker does"
    assert charges_of(top_up) == 0
    assert topups.settle(wish) == "paid"
    assert topups.settle(wish) == "paid"
    assert begin(payer, card, top_up_id=wish).id == wish, "the back button and a second tab find the same row"
    top_up.refresh_from_db()
    assert (top_up.card, top_up.card_fingerprint, top_up.card_country) == ("Visa 4242", card.fingerprint, "US")
    assert top_up.charge_id
    assert charges_of(top_up) == 1
    assert wallet_nano_usd(payer) == 50 * 10**9
    assert SavedCard.objects.get().charged_at is not None
    booked_well()


def test_whatever_answer_is_lost_the_card_is_charged_once(psp: Psp, payer: Customer) -> None:
    card, done = kept(psp, payer), 0
    for door in ("POST /v1/payment_intents", "POST /v1/payment_intents/*/confirm"):
        for fault in ("error_before", "error_after", "hang_up_before", "hang_up_after"):
            psp.api_rule(fault, door, times=3)
            top_up = begin(payer, card)
            for _ in range(4):
                try:
                    if topups.settle(top_up.id) == "paid":
                        break
                except Unavailable:
                    psp.knob("DELETE", "/sandbox/rules")
            psp.knob("DELETE", "/sandbox/rules")
            assert topups.settle(top_up.id) == "paid"
            assert charges_of(top_up) == 1, (door, fault)
            done += 1
    assert done == 8
    assert wallet_nano_usd(payer) == done * 50 * 10**9
    booked_well()


def test_a_provider_that_dies_while_it_charges_has_charged_once(psp: Psp, payer: Customer) -> None:
    card = kept(psp, payer)
    for crash in ("crash_before", "crash_after"):
        top_up = begin(payer, card)
        psp.api_rule(crash, "POST /v1/payment_intents/*/confirm")
        with pytest.raises(Unavailable):
            topups.settle(top_up.id)
        psp.wait()
        psp.start()
        assert topups.settle(top_up.id) == "paid"
        assert charges_of(top_up) == 1
    booked_well()


class Died(BaseException):
    """The worker is gone between two lines."""


def dying_after(work: Callable[..., Any]) -> Callable[..., Any]:
    def working(*given: Any, **named: Any) -> Any:
        work(*given, **named)
        raise Died

    return working


def test_a_worker_that_dies_between_any_two_steps_charges_and_credits_once(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, credited = kept(psp, payer), 0
    steps: list[tuple[Any, str, int]] = [
        (card_payments, "_ask", 0),
        (card_payments, "_create", 0),
        (stripe_gateway, "confirm_payment", 1),
        (ledger, "credit", 1),
    ]
    for room, name, charged in steps:
        top_up = begin(payer, card)
        with monkeypatch.context() as patched:
            patched.setattr(room, name, dying_after(getattr(room, name)))
            with pytest.raises(Died):
                topups.settle(top_up.id)
        assert wallet_nano_usd(payer) == credited, name
        assert charges_of(top_up) == charged, name
        booked_well()

        in_the_past(top_up, minutes=2)
        topups.sweep()
        top_up.refresh_from_db()
        assert top_up.status == TopUp.Status.PAID
        assert charges_of(top_up) == 1, name
        credited += 50 * 10**9
        assert wallet_nano_usd(payer) == credited
    booked_well()


def test_many_workers_at_once_charge_one_card_once(psp: Psp, payer: Customer) -> None:
    card = kept(psp, payer)
    wish, together = uuid.uuid4(), threading.Barrier(6)

    def work(_: int) -> None:
        try:
            together.wait()
            begin(payer, card, top_up_id=wish)
            topups.settle(wish)
        except Unavailable:
            pass  # the provider works on the same key
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    eventually(lambda: topups.settle(wish) == "paid")
    [top_up] = TopUp.objects.all()
    assert charges_of(top_up) == 1
    assert wallet_nano_usd(payer) == 50 * 10**9
    assert Journal.objects.filter(kind="top_up").count() == 1
    booked_well()


def test_a_declined_card_ends_the_wish_with_words_that_help(psp: Psp, payer: Customer) -> None:
    top_up = begin(payer, kept(psp, payer, SAVES_BUT_DECLINES))
    assert topups.settle(top_up.id) == "failed"
    top_up.refresh_from_db()
    assert (top_up.failure_code, "did not say why" in top_up.failure) == ("generic_decline", True)
    assert topups.settle(top_up.id) == "failed", "it is not tried again by itself"
    assert charges_of(top_up) == 0
    assert wallet_nano_usd(payer) == 0


def test_a_bank_that_asks_is_answered_on_its_page_and_the_same_payment_goes_on(
    psp: Psp, payer: Customer, client: Client
) -> None:
    card = kept(psp, payer, ALWAYS_ASKS)
    top_up = begin(payer, card)
    assert topups.settle(top_up.id) == "open"
    top_up.refresh_from_db()
    assert "/3d-secure/" in top_up.checkout_url
    client.force_login(payer.members.get())
    page = f"/wallet/top-ups/{top_up.id}/"
    assert client.get(f"{page}?pay=1", headers={"hx-request": "true"}).headers["HX-Redirect"] == top_up.checkout_url
    assert "Your bank asks you" in client.get(page).content.decode()
    assert topups.settle(top_up.id) == "open"
    assert charges_of(top_up) == 0

    back = psp.authenticate(top_up.checkout_url)
    assert back.location
    assert back.location.endswith(page)
    psp.authenticate(top_up.checkout_url)
    assert topups.settle(top_up.id) == "paid"
    assert charges_of(top_up) == 1
    assert wallet_nano_usd(payer) == 50 * 10**9
    booked_well()


def test_a_holder_who_says_no_or_nothing_is_not_charged(psp: Psp, payer: Customer) -> None:
    card = kept(psp, payer, ALWAYS_ASKS)
    refused, left, called_off = (begin(payer, card, 2_000) for _ in range(3))
    for top_up in (refused, left, called_off):
        assert topups.settle(top_up.id) == "open"
        top_up.refresh_from_db()
    psp.authenticate(refused.checkout_url, complete=False)
    assert topups.settle(refused.id) == "failed"
    in_the_past(left, hours=21)
    assert topups.settle(left.id) == "expired"
    assert topups.cancel(called_off.id) == "expired"
    for top_up in (left, called_off):
        psp.authenticate(top_up.checkout_url)
        assert topups.settle(top_up.id) == "expired"
    assert [charges_of(top_up) for top_up in (refused, left, called_off)] == [0, 0, 0]
    assert wallet_nano_usd(payer) == 0


def test_3d_secure_is_requested_on_the_first_use_of_a_card_only(psp: Psp, payer: Customer) -> None:
    card = kept(psp, payer, ASKS_ON_REQUEST)
    first = begin(payer, card)
    assert topups.settle(first.id) == "open"
    first.refresh_from_db()
    psp.authenticate(first.checkout_url)
    assert topups.settle(first.id) == "paid"
    second = begin(payer, card)
    assert topups.settle(second.id) == "paid", "a card that was used before is not asked for again"
    assert wallet_nano_usd(payer) == 100 * 10**9
    booked_well()


def test_a_card_paid_with_on_the_page_is_kept_only_with_consent(psp: Psp, payer: Customer) -> None:
    for saves, number in ((False, MASTERCARD), (True, GOOD_CARD)):
        top_up = begin(payer, None, saves_card=saves)
        psp.pay(session_of(top_up), card=number)
        assert topups.settle(top_up.id) == "paid"
    [card] = SavedCard.objects.all()
    assert (str(card), card.charged_at is not None) == ("Visa 4242", True)
    assert card.consented_at == top_up.created_at
    again = begin(payer, card)
    assert topups.settle(again.id) == "paid"
    assert wallet_nano_usd(payer) == 150 * 10**9
    booked_well()


def test_the_same_card_kept_twice_stands_there_once(psp: Psp, payer: Customer) -> None:
    first, other = kept(psp, payer), kept(psp, payer, MASTERCARD)
    second = kept(psp, payer)
    assert list(cards.of(payer)) == [second, other] or list(cards.of(payer)) == [other, second]
    first.refresh_from_db()
    assert first.removed_at is not None
    assert cards.sweep() >= 1
    assert SavedCard.objects.get(id=first.id).detached_at is not None


def test_a_removed_card_is_never_charged_again_and_forgotten_at_the_provider(
    psp: Psp, payer: Customer, client: Client
) -> None:
    card = kept(psp, payer)
    waiting = begin(payer, card)
    client.force_login(payer.members.get())
    assert client.post(f"/wallet/cards/{card.id}/remove/").status_code == 302
    assert topups.settle(waiting.id) == "failed"
    waiting.refresh_from_db()
    assert "removed" in waiting.failure
    cards.sweep()
    card.refresh_from_db()
    assert card.detached_at is not None
    assert charges_of(waiting) == 0
    assert client.post(f"/wallet/cards/{card.id}/remove/").status_code == 404
    assert {"card.saved", "card.removed"} <= set(AuditEntry.objects.values_list("action", flat=True))


def test_a_card_that_the_provider_refuses_to_forget_holds_up_no_other(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, fine = kept(psp, payer), kept(psp, payer, ALWAYS_ASKS)
    for card in (stuck, fine):
        cards.remove(card, user=payer.members.get())
    real = stripe_gateway.forget_card

    def refusing(payment_method_id: str) -> None:
        if payment_method_id == stuck.payment_method_id:
            raise stripe_gateway.Refused("no such card")
        real(payment_method_id)

    monkeypatch.setattr(stripe_gateway, "forget_card", refusing)
    SavedCard.objects.filter(id=stuck.id).update(removed_at=timezone.now())
    cards.sweep()
    fine.refresh_from_db()
    assert fine.detached_at is not None


def test_a_card_that_the_provider_lost_is_not_offered_any_more(psp: Psp, payer: Customer) -> None:
    card = kept(psp, payer)
    provider_client().v1.payment_methods.detach(card.payment_method_id)

    def gone() -> bool:
        inbox.handle_waiting()
        card.refresh_from_db()
        return card.removed_at is not None

    eventually(gone)
    assert not cards.of(payer).exists()


def test_nobody_pays_with_a_card_of_somebody_else(psp: Psp, payer: Customer, client: Client) -> None:
    stranger = builders.customer("Stranger")
    card = kept(psp, stranger)
    client.force_login(payer.members.get())
    form = {"top_up": uuid.uuid4(), "choice": "5000", "pay_with": str(card.id)}
    assert client.post("/wallet/top-ups/", form).status_code == 422
    assert client.post(f"/wallet/cards/{card.id}/default/").status_code == 404
    with pytest.raises(IntegrityError, match="somebody else"):
        begin(payer, card)
    assert not TopUp.objects.exists()


def test_a_frozen_account_is_not_charged_even_for_what_it_wished_before(psp: Psp, payer: Customer) -> None:
    card = kept(psp, payer)
    top_up = begin(payer, card)
    holds.place(customer=payer, code="staff", reference="test:1", reason="looked at")
    assert topups.settle(top_up.id) == "failed"
    assert charges_of(top_up) == 0


def test_each_service_does_its_part_of_saving_and_charging(psp: Psp, payer: Customer) -> None:
    with acting_as("web"):
        setup = cards.start_setup(customer=payer, user=payer.members.get(), setup_id=uuid.uuid4())
    assert setup.checkout_session_id
    psp.pay(setup.checkout_session_id)
    with acting_as("worker"):
        assert cards.settle_setup(setup.id) == "done"
    card = SavedCard.objects.get()
    with acting_as("web"):
        top_up = begin(payer, card)
        cards.choose(card, user=payer.members.get())
    with acting_as("worker"):
        assert topups.settle(top_up.id) == "paid"
    with acting_as("web"):
        assert cards.remove(card, user=payer.members.get())
    with acting_as("worker"):
        cards.sweep()
    assert WalletEntry.objects.filter(customer=payer).count() == 1
    booked_well()


def test_the_answer_about_the_page_for_a_card_may_get_lost(psp: Psp, payer: Customer) -> None:
    for fault in ("error_after", "hang_up_after", "hang_up_before"):
        psp.api_rule(fault, "POST /v1/checkout/sessions", times=3)
        setup = cards.start_setup(customer=payer, user=payer.members.get(), setup_id=uuid.uuid4())
        psp.knob("DELETE", "/sandbox/rules")
        CardSetup.objects.filter(id=setup.id).update(created_at=timezone.now() - timedelta(minutes=2), checked_at=None)
        cards.sweep()
        setup.refresh_from_db()
        assert setup.status == "open", fault
        assert setup.checkout_session_id
        psp.pay(setup.checkout_session_id)
        assert cards.settle_setup(setup.id) == "done"
    assert CardSetup.objects.count() == 3
