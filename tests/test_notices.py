"""Letters about an account: each is written with its fact, sent once, and found again by the clock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from smtplib import SMTPException
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, connection, connections, transaction
from django.test import Client
from django.utils import timezone

from accounts import holds, notices
from accounts.mail import Letter
from accounts.models import Customer, Membership, Notice
from billing import budget_letters, budgets, disputes, fraud_warnings, money_letters, refunds
from billing.models import Dispute, Refund
from sandbox.psp.client import Psp
from tests import builders
from tests.acting import acting_as
from tests.money_back import NANO, go_on, handle_events, pay, spend, until, want

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def payer(settings: Any) -> Customer:
    settings.SELLER_EMAIL = "help@example.com"
    return builders.customer("Payer")


def post() -> list[str]:
    """The subjects of what the worker sends now; it is asked twice."""
    mail.outbox.clear()
    with acting_as("worker"):
        notices.send_waiting()
        assert notices.send_waiting() == 0
    return [str(letter.subject) for letter in mail.outbox]


def text() -> str:
    [letter] = mail.outbox
    return str(letter.body)


def comes_to(psp: Psp, look: Callable[[], bool]) -> None:
    """Handles events until it is so."""

    def handled() -> bool:
        handle_events(psp)
        return look()

    until(handled)


class Killed(BaseException):
    """A worker that ends here."""


def test_a_dispute_is_told_when_it_opens_and_when_it_is_won_however_often_its_events_come(
    psp: Psp, payer: Customer
) -> None:
    top_up = pay(psp, payer, 2_000)
    dispute_id = psp.dispute(charge=top_up.charge_id)
    handle_events(psp)
    disputes.sync(dispute_id)
    assert post() == ["Your payment of $20.00 is disputed, and your account is frozen"]
    assert mail.outbox[0].to == [payer.members.get().email]
    for said in ("$20.00 of your credit are kept aside", "Visa 4242", "ask it to withdraw", "help@example.com"):
        assert said in text()
    assert post() == []

    disputes.submit_evidence(Dispute.objects.get(), text="winning_evidence", user=builders.user())
    comes_to(psp, lambda: Dispute.objects.get().stage == "won")
    disputes.sync(dispute_id)
    assert post() == ["The dispute of $20.00 is over: the payment stands"]
    assert "$20.00 are in your balance again" in text()
    assert "signed again" in text()


def test_a_lost_dispute_tells_what_is_owed_and_a_worker_killed_half_way_tells_it_once(
    psp: Psp, payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    top_up = pay(psp, payer, 2_000)
    spend(payer, 15 * NANO)
    dispute_id = psp.dispute(charge=top_up.charge_id)
    disputes.sync(dispute_id)
    post()
    psp.decide(dispute_id, "lost")

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(money_letters, "dispute_lost", die)
        with pytest.raises(Killed):
            disputes.sync(dispute_id)
    assert Dispute.objects.get().stage == "open", "the verdict and its letter are one transaction"
    with acting_as("worker"):
        disputes.sync(dispute_id)
        disputes.sync(dispute_id)

    with monkeypatch.context() as patched:
        patched.setattr("accounts.mail.send", die)
        with pytest.raises(Killed):
            notices.send_waiting()
    assert post() == [], "it is somebody's for a minute"
    Notice.objects.filter(sent_at=None).update(not_before=timezone.now())
    assert post() == ["The dispute of $20.00 is over: the money went back"]
    for said in ("$5.00 of it were taken from your credit", "$15.00 had been used", "the next top-up pays it first"):
        assert said in text()


def test_a_fraud_warning_freezes_with_one_letter_and_lifting_tells_that_it_is_over(psp: Psp, payer: Customer) -> None:
    top_up = pay(psp, payer, 2_000)
    warning_id = psp.warn(charge=top_up.charge_id)
    handle_events(psp)
    with acting_as("worker"):
        fraud_warnings.sync(warning_id)
    assert post() == ["Your account is on hold: a bank warns of fraud"]
    assert "may not know this payment" in text()
    for hold in holds.standing(payer):
        holds.lift(hold, reason="Known", user=builders.user())
    assert post() == ["Your account is no longer on hold"]


def test_only_the_first_hold_and_the_end_of_the_last_are_told_and_never_the_reason(payer: Customer) -> None:
    colleague = builders.user()
    Membership.objects.create(customer=payer, user=colleague, role=Membership.Role.MEMBER)
    staff = builders.staff("risk")
    with acting_as("web"):
        first = holds.place(customer=payer, code="staff", reference="staff:1", reason="Odd friends", user=staff)
        assert holds.place(customer=payer, code="staff", reference="staff:1", reason="Again", user=staff) is None
        second = holds.place(customer=payer, code="fraud", reference="fraud:1", reason="Pays for Acme too")
    assert first
    assert second
    assert post() == ["Your account is on hold"]
    assert mail.outbox[0].to != [colleague.email]
    assert "Odd friends" not in text()
    with acting_as("web"):
        holds.lift(first, reason="Called", user=staff)
        assert post() == []
        holds.lift(second, reason="Called", user=staff)
        holds.lift(second, reason="Called", user=staff)
    assert post() == ["Your account is no longer on hold"]


def test_a_refund_tells_where_it_went_and_one_that_fails_tells_that_it_is_back(psp: Psp, payer: Customer) -> None:
    pay(psp, payer, 3_000)
    want(payer, 12 * NANO)
    go_on()
    handle_events(psp)
    assert Refund.objects.get().status == "done"
    assert post() == ["Your refund of $12.00 was sent"]
    assert "$12.00 went to Visa 4242" in text()

    refund = want(payer, 8 * NANO)
    go_on()
    part = refund.parts.get()
    psp.move_refund(str(part.provider_id), "failed")
    comes_to(psp, lambda: Refund.objects.filter(status="returned").exists())
    handle_events(psp)
    [*_, last] = post()
    assert last == "Your refund of $8.00 could not be sent"
    assert "$8.00 could not be sent and are in your balance again" in str(mail.outbox[-1].body)
    assert refunds.refundable_nano_usd(payer) == 18 * NANO


def test_a_budget_is_told_at_80_percent_and_used_up_once_a_period(payer: Customer, one_day: None) -> None:
    builders.top_up(payer, 100)
    key = builders.api_key(payer)
    budgets.set_limit(user=payer.members.get(), customer=payer, api_key=None, period="day", limit_nano_usd=10 * NANO)
    budgets.set_limit(user=payer.members.get(), customer=payer, api_key=key, period="total", limit_nano_usd=50 * NANO)

    def look() -> list[str]:
        with acting_as("worker"):
            budget_letters.watch()
            budget_letters.watch()
        return post()

    spend(payer, 8 * NANO - 1)
    assert look() == []
    spend(payer, 1)
    assert look() == ["80 % of the budget of Payer is spent"]
    assert "starts again on" in text()
    spend(payer, NANO)
    assert look() == []
    spend(payer, NANO // 2)
    assert look() == []
    assert builders.refusal(payer, cost_wei=NANO * 10**6 // 3, markup_bps=0) == "key_limit_reached"
    spend(payer, NANO // 3)
    assert look() == ["The budget of Payer is used up: $10.00 a day"]
    assert look() == []
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE billing_budget SET period_start = period_start - 1 WHERE period = 'day'")
        cursor.execute("UPDATE accounts_notice SET reference = reference || ' of yesterday'")
        cursor.execute("SET session_replication_role = DEFAULT")
    assert look() == [], "a new day has spent nothing yet"
    spend(payer, 8 * NANO)
    spend(payer, NANO // 2)
    assert look() == ["85 % of the budget of Payer is spent"]


def test_a_letter_waits_for_the_mail_server_goes_out_once_from_many_workers_and_stays_as_written(
    payer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = holds.place(customer=payer, code="staff", reference="staff:1", reason="Odd")
    assert hold

    def away(*_: Any, **__: Any) -> None:
        raise SMTPException

    with monkeypatch.context() as patched:
        patched.setattr("accounts.mail.send", away)
        assert notices.send_waiting() == 0
    waiting = Notice.objects.get()
    assert (waiting.attempts, waiting.error, waiting.sent_at) == (1, "SMTPException", None)
    assert post() == [], "the next try comes later"
    Notice.objects.update(not_before=timezone.now())

    def send(_: int) -> int:
        try:
            return notices.send_waiting()
        finally:
            connections.close_all()

    mail.outbox.clear()
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(send, range(4))) == 1
    assert mail.outbox[0].extra_headers["Message-ID"].startswith(f"<notice-{waiting.pk}@")
    for change in ("UPDATE accounts_notice SET \"to\" = 'x'", "DELETE FROM accounts_notice"):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)


def test_no_name_and_no_address_keeps_letters_from_those_who_wait_for_them(payer: Customer, static_files: None) -> None:
    client = Client()
    client.force_login(payer.members.get())
    assert client.post("/settings/account/", {"company": "Pay\ner"}).status_code == 302
    payer.refresh_from_db()
    words = Letter(subject=f"A payment is disputed: {payer.name}", paragraphs=["The bank says so."])
    notices.write_to(payer, reference="one", letter=words, to="nobody@example.com\nBcc: all@example.com")
    notices.write_to(payer, reference="two", letter=words, to="risk@example.com")
    assert post() == ["A payment is disputed: Pay er"]
    assert Notice.objects.get(reference="one").error == "BadHeaderError"
