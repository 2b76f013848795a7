"""Our books against the provider: what no webhook brought is found, and account 1100 comes to what stands there."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Customer
from billing import inbox, ledger, postings, stripe_gateway, topups
from billing.models import BalanceTransaction, Journal, ProviderCursor, ProviderJournal, StripeEvent
from billing.reconciliation import mirror, poller, tie_out
from billing.stripe_gateway.client import client as at_provider
from sandbox.psp.cards import card_fee
from sandbox.psp.client import Psp
from sandbox.psp.webhooks import sign
from tests.provider_stage import DAY, SECRET, booked_well, eventually, handle_all, pay_in
from tests.silent_provider import cents_on, found_by_poll, paid_out, psp, settled, tied_out

__all__ = ["psp"]

pytestmark = pytest.mark.django_db(transaction=True)


ROOT = Path(__file__).resolve().parent.parent


def test_payments_without_any_webhook_are_found_by_the_first_poll_and_tie_out(psp: Psp, payer: Customer) -> None:
    top_ups = [pay_in(psp, payer, 1_000 + number) for number in range(4)]
    eventually(lambda: len(psp.knob("GET", "/sandbox/")["deliveries"]) == 0)
    eventually(lambda: poller.poll() and BalanceTransaction.objects.count() == 4)
    found_by_poll()
    nets = sum(top_up.amount_cents - card_fee(top_up.amount_cents) for top_up in top_ups)
    [row] = tied_out()
    assert (row.net_cents, row.provider_cents, row.books_nano_usd) == (nets, nets, nets * 10**7)
    assert {event.source for event in StripeEvent.objects.all()} == {"poll"}
    assert ledger.balance(postings.PREPAID, "USD", str(payer.pk)) == -sum(each.amount_cents for each in top_ups) * 10**7

    before = Journal.objects.count(), StripeEvent.objects.count(), BalanceTransaction.objects.count()
    ProviderCursor.objects.update(since=timezone.now() - timedelta(days=300), full_day_read_at=None)
    assert poller.poll() == {"events": 0, "movements": 0}, "a cursor set back finds nothing new"
    assert (Journal.objects.count(), StripeEvent.objects.count(), BalanceTransaction.objects.count()) == before


def test_a_gap_of_many_pages_is_read_on_where_the_provider_fell_silent(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing.stripe_gateway.client.PAGE", 3)
    for number in range(4):
        pay_in(psp, payer, 1_000 + number)
    eventually(lambda: _events_there() >= 20)
    there = _events_there()
    reads = []
    real = stripe_gateway.list_events

    def breaking(**given: Any) -> Any:
        reads.append(given["after"])
        if len(reads) == 3:
            psp.kill()
        return real(**given)

    monkeypatch.setattr(stripe_gateway, "list_events", breaking)
    poller.poll()
    kept = StripeEvent.objects.count()
    cursor = ProviderCursor.objects.get(name="events")
    assert kept == 6, "two pages were read before the provider died"
    assert cursor.after, "the next pass goes on below them"
    assert "does not answer" in cursor.error
    psp.start()
    late = pay_in(psp, payer, 2_000)
    first_read = len(reads)
    assert poller.poll()["events"] == there - kept, "an unfinished pass goes on"
    assert reads[first_read] == cursor.after
    assert poller.poll()["events"] > 0, "and the next one finds what happened meanwhile"
    found_by_poll()
    late.refresh_from_db()
    assert late.status == "paid"
    assert ProviderCursor.objects.get(name="events").error == ""
    monkeypatch.undo()
    eventually(lambda: poller.poll() and BalanceTransaction.objects.count() == 5)
    found_by_poll()
    tied_out()


def _events_there() -> int:
    return len(at_provider().v1.events.list({"limit": 100}).data)


def test_two_polls_at_once_and_two_inboxes_at_once_credit_once(psp: Psp, payer: Customer) -> None:
    top_ups = [pay_in(psp, payer, 1_500) for _ in range(3)]
    together = threading.Barrier(4)

    def work() -> None:
        try:
            together.wait()
            poller.poll()
            inbox.handle_waiting()
            mirror.explain()
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: poller.poll() and BalanceTransaction.objects.count() == 3)
    found_by_poll()
    assert Journal.objects.filter(kind="top_up").count() == len(top_ups)
    assert StripeEvent.objects.count() == _events_there()
    tied_out()


# One process set up once; for each step a child of it, which ends itself there.
_WORKER = """
import json, os, signal, sys, django
django.setup()
from django.db import connection
from billing import check_books, inbox, ledger
from billing.reconciliation import mirror, payouts, poller, tie_out
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
def work(plant):
    assert not any(check_books.invariants().values())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_stripeevent SET not_before = now() WHERE handled_at IS NULL")
    exec(plant)
    poller.poll(); inbox.handle_waiting(); mirror.explain(); tie_out.run()
for step, plant in json.loads(sys.argv[1]).items():
    child = os.fork()
    if not child:
        try:
            work(plant)
        finally:
            os._exit(1)
    print(step, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


_PLANTS = {
    "after the events were read": "inbox.keep = die",
    "after a page was kept": "poller._turned = die",
    "after the movements were mirrored": "mirror.keep = (lambda real: lambda rows: (real(rows), die()))(mirror.keep)",
    "between the provider's answer and the booking": "ledger.book = die",
    "inside the booking of a payout": "payouts._book = (lambda real: lambda row: (real(row), die()))(payouts._book)",
    "after the object was synced": "inbox._note_handled = die",
    "while explaining": "mirror._book_own_fees = die",
    "before the tie-out is kept": "tie_out._compare = die",
}


def test_a_worker_killed_at_any_step_leaves_nothing_that_the_next_one_does_not_finish(
    psp: Psp, payer: Customer, settings: Any
) -> None:
    pay_in(psp, payer, 10_000)
    eventually(lambda: settled() == 1)
    psp.advance(3 * DAY)
    payout_id = paid_out(psp, 5_000)
    database = connection.settings_dict
    environment = {
        **os.environ,
        "DATABASE_URL": f"postgres://{database['USER']}:{database['PASSWORD']}@"
        f"{database['HOST'] or '127.0.0.1'}:{database['PORT']}/{database['NAME']}",
        "STRIPE_API_BASE": psp.url,
        "STRIPE_SECRET_KEY": psp.secret_key,
    }
    ended = subprocess.run(
        [sys.executable, "-c", _WORKER, json.dumps(_PLANTS)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ended.stdout.splitlines() == [f"{step} {-signal.SIGKILL}" for step in _PLANTS], ended.stderr[-3_000:]
    found_by_poll()
    assert Journal.objects.filter(kind="top_up").count() == 1
    assert Journal.objects.filter(kind="payout").count() == 1
    assert cents_on(postings.PAYOUTS, payout_id) == 5_000
    tied_out()


def test_a_kind_nobody_follows_is_kept_and_marked_and_a_failing_event_waits_and_can_be_tried_again(
    psp: Psp, payer: Customer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, kind in enumerate(("payout", "coupon")):
        body = json.dumps(
            {"id": f"evt_{number}", "type": f"{kind}.created", "data": {"object": {"id": "x_1", "object": kind}}}
        ).encode()
        for secret in (SECRET, "whsec_of_last_year"):  # both secrets of a rotation, so it comes twice
            answer = client.post(
                "/stripe/webhook",
                body,
                content_type="application/json",
                headers={"stripe-signature": sign(secret, body, int(time.time()))},
            )
            assert answer.status_code == 200
    assert StripeEvent.objects.count() == 2
    assert inbox.handle_waiting() == 1
    unused, poison = StripeEvent.objects.get(event_id="evt_1"), StripeEvent.objects.get(event_id="evt_0")
    assert (unused.outcome, unused.kind) == ("unused", "coupon")
    assert unused.handled_at
    assert poison.handled_at is None
    assert poison.error.startswith("Refused")
    assert inbox.handle_waiting() == 0, "it waits before it is tried again"
    assert inbox.try_again(poison.id)
    inbox.handle_waiting()
    poison.refresh_from_db()
    assert poison.attempts == 2
    monkeypatch.setitem(inbox.SYNCS, "payout", lambda subject: None)
    assert inbox.try_again(poison.id)
    assert inbox.handle_waiting() == 1
    poison.refresh_from_db()
    assert (poison.outcome, poison.error) == ("synced", "")
    assert not inbox.try_again(poison.id)


def test_one_look_at_an_object_answers_every_event_about_it(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    top_up = pay_in(psp, payer)
    eventually(lambda: poller.poll() and StripeEvent.objects.filter(type="charge.updated").exists())
    asked: list[str] = []
    real = inbox.SYNCS["charge"]

    def noted(subject: inbox.Subject) -> None:
        asked.append(subject.id)
        real(subject)

    monkeypatch.setitem(inbox.SYNCS, "charge", noted)
    handle_all()
    assert StripeEvent.objects.filter(kind="charge").count() == 2
    assert len(asked) == 1
    top_up.refresh_from_db()
    assert top_up.status == "paid"


def test_what_differs_is_told_in_plain_words_with_its_age_and_what_is_on_its_way_is_not_alarming(
    psp: Psp, payer: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    params: Any = {
        "amount": 2_500,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "confirm": True,
        "off_session": True,
    }
    at_provider().v1.payment_intents.create(params)  # a payment that is none of ours
    psp.knob("POST", "/sandbox/fees", {"amount": 900})  # a fee of the account: booked by the mirror itself
    top_up = pay_in(psp, payer, 5_000)
    eventually(lambda: settled() == 3)
    found_by_poll()
    ledger.book(
        kind="adjustment",
        reference="stripe:pi_nobody",
        occurred_at=timezone.now(),
        transfers=postings.provider_fee(fee_nano_usd=7 * 10**7),
    )
    [row] = tie_out.run()
    assert not row.agrees
    assert (row.movements, row.unexplained, row.unmatched_journals) == (3, 1, 1)
    stranger = 2_500 - card_fee(2_500)
    assert row.difference_nano_usd == (-stranger - 7) * 10**7
    assert row.provider_cents == row.net_cents
    assert "tie-out of account 1100 in usd differs by -" in caplog.text
    [open_movement] = tie_out.unexplained()
    assert open_movement.words == f"A payment of ${stranger / 100:.2f} net that belongs to no paid top-up of ours."
    assert open_movement.difference_nano_usd == stranger * 10**7
    [open_journal] = tie_out.unmatched()
    assert open_journal.words == "Names pi_nobody, of which the provider shows no movement."
    assert open_movement.young
    assert open_journal.young
    booked_well()
    BalanceTransaction.objects.update(created_at=timezone.now() - timedelta(hours=30))
    assert not tie_out.unexplained()[0].young

    # The same payment booked a second time shows at once, although it was explained before.
    top_up.refresh_from_db()
    assert BalanceTransaction.objects.filter(payment_intent_id=top_up.payment_intent_id, explained_at__isnull=False)
    ledger.book(
        kind="top_up",
        reference=f"stripe:{top_up.payment_intent_id}:again",
        occurred_at=timezone.now(),
        transfers=postings.provider_fee(fee_nano_usd=10**7),
    )
    mirror.explain()
    words = [each.words for each in tie_out.unexplained()]
    net = 5_000 - card_fee(5_000)
    assert any(f"A payment of ${net / 100:.2f} net, but our journals" in each for each in words), words
    assert tie_out.run_when_due() is False


def test_a_payment_whose_events_were_lost_for_good_heals_from_its_movement(psp: Psp, payer: Customer) -> None:
    top_up = pay_in(psp, payer)
    topups.settle(top_up.id)
    eventually(lambda: settled() == 1)
    top_up.refresh_from_db()
    ProviderCursor.objects.create(
        name="events", since=timezone.now() + timedelta(days=1), full_day_read_at=timezone.now()
    )
    with_fee = top_up.balance_transaction_id is not None
    tie_out.refresh()
    top_up.refresh_from_db()
    assert top_up.balance_transaction_id or with_fee
    assert not tie_out.unexplained()
    assert ProviderJournal.objects.count() == 2
    assert not StripeEvent.objects.exists()
    tied_out()


def test_a_short_pass_in_which_the_day_gets_full_does_not_count_as_the_long_one(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a day a whole day is read again. A pass that asked for an hour says so, however long the provider took."""
    begun = timezone.now()
    clock = [begun]
    monkeypatch.setattr(poller, "timezone", SimpleNamespace(now=lambda: clock[0]))
    earlier = begun - poller.FULL_DAY + timedelta(seconds=1)
    ProviderCursor.objects.create(name="events", since=begun, full_day_read_at=earlier)
    reach = []

    def read(since: datetime, after: str) -> tuple[Any, bool]:
        reach.append(begun - since)
        clock[0] += timedelta(seconds=2)
        return poller._seen([], new=0), False

    poller._read(ProviderCursor.Name.EVENTS, read)
    assert ProviderCursor.objects.get().full_day_read_at == earlier
    poller._read(ProviderCursor.Name.EVENTS, read)
    assert reach == [poller.OVERLAP, poller.OVERLAP + poller.FULL_DAY]
    assert ProviderCursor.objects.get().full_day_read_at == clock[0]
