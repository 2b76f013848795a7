"""The thief: money that is not aged yet leaves slowly, whoever's it is and wherever it goes; aged money is free."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from billing import ledger
from signing import recipients
from signing.signer.fresh_money import FreshMoney
from tests import builders, size
from tests.signer_stage import Client, Stage, execute, offer
from tests.velocity_stage import FIRST, SECOND, THIRD, UNIT, Hours, card_customer, codes, pay, seasoned, signer, sums

pytestmark = pytest.mark.django_db(transaction=True)


# -- One cap after the other: just below, and just above ---------------------------------------------------------------


def test_one_account_spends_so_much_fresh_money_a_day_wherever_it_goes() -> None:
    with signer(customer=3) as stage:
        client, owner = card_customer(stage)
        answers = [pay(client, recipient) for recipient in (FIRST, SECOND, THIRD, FIRST)]
        assert codes(answers) == [200, 200, 200, "velocity"]
        refused = answers[-1]
        assert refused.status == 429
        assert 23 * 3600 < int(refused.headers["retry-after"]) <= 25 * 3600 + 5
        text = refused.json["error"]["message"]
        assert text.startswith(
            "this account may spend $0.01 of money that is not aged yet in 24 hours; $0.01 went since"
        )
        assert codes([pay(card_customer(stage)[0])]) == [200]
        # Aged money goes first and is free.
        builders.credit(owner, 2 * UNIT, reference="bank:1")
        assert codes([pay(client) for _ in range(3)]) == [200, 200, "velocity"]
        assert sums() == (4 * UNIT,) * 3


def test_one_account_pays_one_recipient_so_much_fresh_money_a_day() -> None:
    with signer(pair=2) as stage:
        client, _ = card_customer(stage)
        answers = [pay(client, recipient) for recipient in (FIRST, FIRST, FIRST, SECOND)]
        assert codes(answers) == [200, 200, "velocity", 200]
        assert answers[2].json["error"]["message"].startswith("this account may pay this recipient $0.00 of money")
        assert codes([pay(card_customer(stage)[0])]) == [200]


def test_all_accounts_together_pay_one_recipient_so_much_fresh_money_a_day() -> None:
    seasoned(FIRST, SECOND)
    with signer(recipient=3, new_recipient=1) as stage:
        clients = [card_customer(stage)[0] for _ in range(4)]
        answers = [pay(client) for client in clients]
        assert codes(answers) == [200, 200, 200, "velocity"]
        text = answers[-1].json["error"]["message"]
        assert text.startswith(
            "all accounts together may pay this recipient $0.01 of money that is not aged yet in 24 h"
        )
        assert "first paid" not in text
        assert int(answers[-1].headers["retry-after"]) > 23 * 3600
        assert codes([pay(clients[-1], SECOND), pay(clients[-1])]) == [200, "velocity"]
        # Bank transfers, and whatever is aged, pay it freely.
        rich, _ = stage.gateway()
        assert codes([pay(rich) for _ in range(5)]) == [200] * 5
        assert sums() == (4 * UNIT,) * 3


def test_a_recipient_nobody_paid_before_starts_low_and_grows() -> None:
    with signer(recipient=3, new_recipient=1) as stage:
        client, _ = card_customer(stage)
        answers = [pay(client) for _ in range(2)]
        assert codes(answers) == [200, "velocity"]
        assert "as it was first paid less than 7 days ago" in answers[1].json["error"]["message"]
        execute("UPDATE signing_recipientseen SET first_paid_at = now() - interval '6 days 23 hours'")
        time.sleep(0.3)
        assert codes([pay(client)]) == ["velocity"]
        execute("UPDATE signing_recipientseen SET first_paid_at = now() - interval '7 days 1 minute'")
        time.sleep(0.3)
        assert codes([pay(client) for _ in range(3)]) == [200, 200, "velocity"]


def test_a_flagged_recipient_gets_next_to_nothing_within_two_seconds_and_a_listed_one_much() -> None:
    staff = builders.user()
    seasoned(FIRST, SECOND)
    recipients.rule(address="0x" + SECOND.hex(), standing="listed", reason="partner", user=staff)
    with signer(pair=2, recipient=4, listed=6, flagged=1) as stage:
        one, other = card_customer(stage)[0], card_customer(stage)[0]
        assert codes([pay(one, SECOND) for _ in range(7)]) == [200] * 6 + ["velocity"]
        assert codes([pay(one), pay(other)]) == [200, 200]
        flag = recipients.rule(address="0x" + FIRST.hex(), standing="flagged", reason="drill", user=staff)
        flagged_at = time.monotonic()
        while (answer := pay(one)).status == 200:
            assert time.monotonic() - flagged_at < 2
        assert answer.code == "velocity"
        assert codes([pay(stage.gateway()[0])]) == [200]
        recipients.lift(flag, reason="over", user=staff)
        lifted_at = time.monotonic()
        while pay(other).status != 200:
            assert time.monotonic() - lifted_at < 2
            time.sleep(0.05)


def test_a_day_later_as_much_leaves_again_and_not_an_hour_before() -> None:
    seasoned(FIRST)
    hours = Hours()
    with signer(customer=2, pair=2, recipient=2) as stage:
        client, _ = card_customer(stage)
        assert codes([pay(client) for _ in range(3)]) == [200, 200, "velocity"]
        hours.go_by(24)
        assert codes([pay(client)]) == ["velocity"]
        hours.go_by(1)
        time.sleep(0.3)
        assert codes([pay(client) for _ in range(3)]) == [200, 200, "velocity"]


def test_money_that_aged_is_free() -> None:
    with signer(customer=1) as stage:
        client, owner = card_customer(stage)
        assert codes([pay(client), pay(client)]) == [200, "velocity"]
        execute("SET session_replication_role = replica")
        execute("UPDATE billing_grant SET aged_at = now() - interval '1 second'")
        execute("SET session_replication_role = DEFAULT")
        execute("SELECT billing_age_grants(%s)", owner.pk)
        assert codes([pay(client) for _ in range(3)]) == [200] * 3


def test_a_credit_too_small_is_told_before_any_cap() -> None:
    with signer(customer=0) as stage:
        client, _ = card_customer(stage, payments=1)
        assert codes([pay(client)]) == ["velocity"]
        dear = pay(client, orchestrator=offer(price=(19 * 10**11, 1), recipient=FIRST))
        assert (dear.status, dear.code) == (402, "insufficient_credit")


# -- Promotional credit ------------------------------------------------------------------------------------------------


def test_promotional_credit_pays_listed_recipients_only() -> None:
    staff = builders.user()
    with signer(customer=2) as stage:
        client, owner = stage.gateway(dollars_nano=0)
        ledger.grant_promo(
            customer_id=owner.pk,
            amount_nano_usd=3 * UNIT,
            campaign="launch",
            reference="grant:1",
            occurred_at=datetime.now(UTC),
        )
        refused = pay(client)
        assert (refused.status, refused.code) == (402, "promotional_credit_only")
        rule = recipients.rule(address="0x" + FIRST.hex(), standing="listed", reason="partner", user=staff)
        time.sleep(1.1)
        assert codes([pay(client, FIRST), pay(client, SECOND)]) == [200, "promotional_credit_only"]
        together = client.pay_all([{"orchestrator": offer(price=(1, 1), recipient=SECOND), "type": "fixed"}] * 6)
        assert {answer.code for answer in together} == {"promotional_credit_only"}
        flag = recipients.rule(address="0x" + FIRST.hex(), standing="flagged", reason="drill", user=staff)
        time.sleep(1.1)
        assert codes([pay(client)]) == ["promotional_credit_only"]
        recipients.lift(flag, reason="over", user=staff)
        time.sleep(1.1)
        assert codes([pay(client)]) == [200]
        recipients.lift(rule, reason="over", user=staff)
        time.sleep(1.1)
        assert codes([pay(client)]) == ["promotional_credit_only"]
        assert sums() == (0, 0, 0)


# -- Many at once ------------------------------------------------------------------------------------------------------


def offers(count: int, recipient: bytes = FIRST) -> list[dict[str, Any]]:
    return [{"orchestrator": offer(price=(1, 1), recipient=recipient), "type": "fixed"} for _ in range(count)]


@pytest.mark.parametrize("cap", ["customer", "pair"])
def test_in_a_batch_each_payment_is_judged_on_its_own(cap: str) -> None:
    seasoned(FIRST)
    with signer(**{cap: 9}, recipient=20) as stage:
        client, _ = card_customer(stage)
        rich, _ = stage.gateway()
        pay(client)
        assert codes(client.pay_all(offers(6))) == [200] * 6
        with ThreadPoolExecutor(2) as both:
            mixed = both.submit(client.pay_all, offers(8))
            beside = both.submit(rich.pay_all, offers(8))
            assert sorted(codes(mixed.result()), key=str) == [200] * 2 + ["velocity"] * 6
            assert codes(beside.result()) == [200] * 8
        assert sums() == (9 * UNIT,) * 3


@pytest.fixture
def three() -> Iterator[list[Stage]]:
    """Signer processes on one database, each with a room of its own for what all may send."""
    with ExitStack() as running:
        yield [running.enter_context(signer(recipient=30)) for _ in range(3)]


def test_three_signers_together_never_send_a_recipient_more_than_its_cap(three: list[Stage]) -> None:
    seasoned(FIRST)
    cast = [card_customer(three[0])[0] for _ in range(6)]
    clients = [Client(stage.url, client.key) for client in cast for stage in three]
    deadline = time.monotonic() + size.of(6, full=30)

    def spend(client: Client) -> int:
        paid = 0
        while time.monotonic() < deadline:
            answer = pay(client)
            assert answer.status == 200 or answer.code in ("velocity", "busy"), answer.body
            paid += answer.status == 200
            if answer.status != 200:
                time.sleep(0.1)
        return paid

    with ThreadPoolExecutor(len(clients)) as several:
        paid = sum(several.map(spend, clients))
    assert sums() == (paid * UNIT,) * 3
    assert 24 <= paid <= 30
    print(f"\n{paid} of 30 payments left through three signers")


def test_what_a_signer_that_died_may_have_sent_stays_taken_for_a_while() -> None:
    seasoned(FIRST)
    recipient = "0x" + FIRST.hex()
    execute("INSERT INTO signing_freshlease VALUES (%s, gen_random_uuid(), %s, clock_timestamp())", recipient, 2 * UNIT)
    with signer(recipient=3) as stage:
        client, _ = card_customer(stage)
        answers = [pay(client) for _ in range(2)]
        assert codes(answers) == [200, "busy"]
        assert (answers[1].status, answers[1].headers["retry-after"]) == (503, "1")
        execute("UPDATE signing_freshlease SET granted_at = granted_at - interval '16 seconds'")
        time.sleep(0.3)
        assert codes([pay(client) for _ in range(3)]) == [200, 200, "velocity"]


def test_room_that_cannot_be_renewed_is_used_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are given it again later, so whoever was given it must have stopped long before."""
    monkeypatch.setattr("signing.signer.fresh_money._LEASE_SECONDS", 1.0)
    seasoned(FIRST)
    with signer(recipient=9) as stage:
        client, _ = card_customer(stage)
        assert codes([pay(client), pay(client)]) == [200, 200]

        async def in_vain(_: FreshMoney) -> None:
            """The database does not answer."""

        monkeypatch.setattr(FreshMoney, "_lease", in_vain)
        time.sleep(1.1)
        assert codes([pay(client)]) == ["busy"]
        assert sums() == (2 * UNIT,) * 3


def test_a_session_goes_on_where_a_cap_ceases() -> None:
    hours = Hours()
    with signer(pair=2) as stage:
        client, _ = card_customer(stage)
        members: dict[str, Any] = {"orchestrator": offer(price=(9 * 10**11, 1), recipient=FIRST), "ManifestID": "m"}
        for _ in range(2):
            answer = pay(client, **members)
            assert answer.status == 200
            members |= {"state": answer.json["state"]}
        assert codes([pay(client, **members)]) == ["velocity"]
        hours.go_by(25)
        assert codes([pay(client, **members)]) == [200]
