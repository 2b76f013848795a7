"""Recharging without anybody's hand: once per low balance, within its limits, and off when something is wrong."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import holds
from accounts.models import Customer
from billing import auto_recharge, cards, ledger, recharge_letters, topups
from billing.models import AutoRecharge, SavedCard, TopUp
from sandbox.psp.client import GOOD_CARD, SECURE_CARD, Psp
from signing import stops
from tests import builders
from tests.acting import acting_as
from tests.test_saved_cards import ALWAYS_ASKS, SAVES_BUT_DECLINES, Died, charges_of, dying_after, kept
from tests.top_up_stage import booked_well, eventually, in_the_past, provider, psp, wallet_nano_usd

__all__ = ["provider", "psp"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_day")]


def switch_on(payer: Customer, card: SavedCard, **more: Any) -> None:
    wanted = {"threshold_cents": 2_000, "mode": "amount", "amount_cents": 5_000, "cap_cents": 20_000, **more}
    auto_recharge.switch_on(payer, auto_recharge.Wanted(card=card, **wanted), user=payer.members.get())


def on(psp: Psp, payer: Customer, number: str = GOOD_CARD, **more: Any) -> AutoRecharge:
    switch_on(payer, kept(psp, payer, number), **more)
    return state(payer)


def state(payer: Customer) -> AutoRecharge:
    return AutoRecharge.objects.get(customer=payer)


def rows(payer: Customer) -> list[TopUp]:
    return list(TopUp.objects.filter(customer=payer, method="auto").order_by("created_at"))


def spend(payer: Customer, dollars: int) -> None:
    """Real usage through the ledger's debit: so many dollars at 3,000 dollars per ETH without markup."""
    builders.debit(payer, cost_wei=dollars * 10**18 // 3_000, markup_bps=0)


def long_ago(payer: Customer) -> None:
    for top_up in rows(payer):
        in_the_past(top_up, minutes=11)


def test_usage_below_the_threshold_charges_the_card_once(psp: Psp, payer: Customer) -> None:
    builders.top_up(payer, 50)
    on(psp, payer, SECURE_CARD)
    assert auto_recharge.run() == 0, "there is enough"
    spend(payer, 31)
    assert rows(payer) == [], "nothing is charged inside a payment"
    assert auto_recharge.run() == 1
    [top_up] = rows(payer)
    assert (top_up.status, top_up.card) == ("paid", "Visa 3155"), "a card that was set up needs no holder"
    assert charges_of(top_up) == 1
    assert wallet_nano_usd(payer) // 10**9 == 69
    assert auto_recharge.run() == 0
    ledger.post_usage()
    booked_well()


def test_a_target_is_reached_and_the_month_has_an_end(psp: Psp, payer: Customer) -> None:
    on(psp, payer, mode="target", amount_cents=10_000, cap_cents=15_000)
    assert auto_recharge.run() == 1
    assert wallet_nano_usd(payer) == 100 * 10**9
    spend(payer, 95)
    assert auto_recharge.run() == 1
    assert rows(payer)[-1].amount_cents == 5_000, "the month had 50 dollars left"
    spend(payer, 50)
    assert (auto_recharge.run(), auto_recharge.run()) == (0, 0)
    assert auto_recharge.spent_cents(payer.pk, now=timezone.now()) == 15_000
    AutoRecharge.objects.update(capped_month=date(2026, 2, 1))  # the letter leaves after the month's end
    assert (recharge_letters.send_waiting(), recharge_letters.send_waiting()) == (1, 0)
    assert "monthly limit" in mail.outbox[-1].subject
    assert "$150.00 were charged in February 2026." in str(mail.outbox[-1].body)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_topup SET created_at = created_at - interval '32 days' WHERE method = 'auto'")
    assert auto_recharge.run() == 1, "a new month"
    ledger.post_usage()
    booked_well()


def test_a_target_above_the_largest_top_up_is_reached_in_steps(psp: Psp, payer: Customer, settings: Any) -> None:
    settings.TOP_UP_MAXIMUM_CENTS = 5_000
    on(psp, payer, threshold_cents=6_000, mode="target", amount_cents=8_000)
    assert [auto_recharge.run() for _ in range(3)] == [1, 1, 0]
    assert [row.amount_cents for row in rows(payer)] == [5_000, 3_000]


def test_a_declined_card_rests_an_hour_and_three_declines_are_the_end(psp: Psp, payer: Customer) -> None:
    on(psp, payer, SAVES_BUT_DECLINES)
    for tries in (1, 2, 3):
        assert auto_recharge.run() == 1
        assert auto_recharge.run() == 0, "it rests"
        assert state(payer).failures == tries
        paused_until = state(payer).not_before
        assert paused_until
        assert timedelta(minutes=59) < paused_until - timezone.now() <= timedelta(hours=1)
        assert recharge_letters.send_waiting() == 1
        AutoRecharge.objects.update(not_before=timezone.now() - timedelta(seconds=1))
        long_ago(payer)
    assert (state(payer).is_on, auto_recharge.run()) == (False, 0)
    assert "3 declined charges" in state(payer).off_reason
    assert [letter.subject for letter in mail.outbox] == [
        "Visa 0341 was declined",
        "Visa 0341 was declined",
        "Automatic recharge is off",
    ]
    assert [top_up.status for top_up in rows(payer)] == ["failed"] * 3
    switch_on(payer, SavedCard.objects.get())
    assert (state(payer).failures, state(payer).off_reason) == (0, "")


def test_a_bank_that_wants_its_holder_is_a_decline_and_never_a_charge(psp: Psp, payer: Customer) -> None:
    on(psp, payer, ALWAYS_ASKS)
    auto_recharge.run()
    [top_up] = rows(payer)
    assert (top_up.status, top_up.failure_code) == ("failed", "authentication_required")
    assert "Top up once by hand" in top_up.failure
    assert charges_of(top_up) == 0


def test_a_success_forgets_earlier_declines(psp: Psp, payer: Customer) -> None:
    on(psp, payer)
    AutoRecharge.objects.update(failures=2)
    assert auto_recharge.run() == 1
    assert (state(payer).failures, state(payer).is_on) == (0, True)


def test_three_charges_within_ten_minutes_ring_the_alarm(psp: Psp, payer: Customer) -> None:
    on(psp, payer)
    for _ in range(3):
        assert auto_recharge.run() == 1
        spend(payer, int(wallet_nano_usd(payer) // 10**9))
    assert auto_recharge.run() == 0
    assert not state(payer).is_on
    assert "within ten minutes" in state(payer).off_reason
    assert recharge_letters.send_waiting() == 1
    assert "looks like a mistake" in str(mail.outbox[-1].body)
    assert len(rows(payer)) == 3


def test_many_workers_at_once_begin_one_charge(psp: Psp, payer: Customer) -> None:
    on(psp, payer)
    together = threading.Barrier(6)

    def work(_: int) -> int:
        try:
            together.wait()
            return auto_recharge.run()
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 1
    eventually(lambda: rows(payer)[0].status == "paid" or topups.settle(rows(payer)[0].id) == "paid")
    assert charges_of(rows(payer)[0]) == 1
    assert wallet_nano_usd(payer) == 50 * 10**9
    booked_well()


def test_what_is_on_its_way_counts_and_a_dead_worker_charges_once(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(psp, payer)
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "credit", dying_after(ledger.credit))
        with pytest.raises(Died):
            auto_recharge.run()
    assert auto_recharge.run() == 0, "one that waits is enough"
    [top_up] = rows(payer)
    in_the_past(top_up, minutes=2)
    topups.sweep()
    assert charges_of(top_up) == 1
    assert wallet_nano_usd(payer) == 50 * 10**9

    spend(payer, 45)
    long_ago(payer)
    psp.api_rule("hang_up_before", "POST /v1/payment_intents", times=3)
    assert auto_recharge.run() == 1, "the provider is away; the wish stands"
    assert auto_recharge.run() == 0
    psp.knob("DELETE", "/sandbox/rules")
    assert topups.settle(rows(payer)[-1].id) == "paid"
    ledger.post_usage()
    booked_well()


def test_nobody_is_charged_who_is_frozen_stopped_or_without_a_card(psp: Psp, payer: Customer) -> None:
    on(psp, payer)
    staff = builders.user()
    hold = holds.place(customer=payer, code="staff", reference="test:1", reason="looked at")
    assert hold
    assert auto_recharge.run() == 0
    holds.lift(hold, reason="fine")
    stop = stops.throw(scope="customer", subject=str(payer.pk), reason="looked at", user=staff)
    assert auto_recharge.run() == 0
    stops.lift(stop, user=staff)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_wallet (customer_id, available_nano_usd, debt_nano_usd) VALUES (%s, 0, 5)", [payer.pk]
        )
    assert auto_recharge.run() == 0, "who owes us pays by hand"
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_wallet SET debt_nano_usd = 0")
    assert cards.remove(SavedCard.objects.get(), user=payer.members.get())
    assert auto_recharge.run() == 0
    assert "was removed" in state(payer).off_reason
    assert rows(payer) == []


def test_each_service_does_its_part_of_recharging(psp: Psp, payer: Customer) -> None:
    card = kept(psp, payer)
    with acting_as("web"):
        switch_on(payer, card)
        switch_on(payer, card, amount_cents=6_000)
    with acting_as("worker"):
        assert auto_recharge.run() == 1
        AutoRecharge.objects.update(notice="declined")
        assert recharge_letters.send_waiting() == 1
    with acting_as("web"):
        auto_recharge.switch_off(payer, user=payer.members.get())
    assert wallet_nano_usd(payer) == 60 * 10**9


def test_the_page_switches_it_on_within_sense_and_off(psp: Psp, payer: Customer, client: Client) -> None:
    client.force_login(payer.members.get())
    assert "needs a saved card" in client.get("/wallet/auto-recharge/").content.decode()
    card = kept(psp, payer)
    form = {"threshold": "20", "mode": "amount", "amount": "50", "cap": "500", "card": str(card.id), "agreed": "on"}
    wrong: list[tuple[dict[str, str], str]] = [
        ({"agreed": ""}, "Tick the box"),
        ({"cap": "40"}, "smaller than one charge"),
        ({"amount": "5"}, "outside of what"),
        ({"mode": "target", "amount": "21"}, "well above"),
        ({"threshold": "x"}, "Write an amount"),
    ]
    for change, words in wrong:
        answer = client.post("/wallet/auto-recharge/on/", form | change)
        assert (answer.status_code, words in answer.content.decode()) == (422, True), change
    assert client.post("/wallet/auto-recharge/on/", form).status_code == 302
    assert auto_recharge.run() == 1
    page = client.get("/wallet/auto-recharge/").content.decode()
    assert "Charged this month" in page
    assert "$450.00 left of $500.00" in page
    assert client.post("/wallet/auto-recharge/off/").status_code == 302
    assert not state(payer).is_on
