"""Rooms for fresh money: what is on its way, or nobody knows of, is never given to anybody else meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from signing.signer.asked_payments import AskedPayment, asked_payment
from signing.signer.database import Database, DatabaseUnavailable
from signing.signer.fresh_money import Caps, FreshMoney
from signing.signer.recipients import Recipients
from tests.signer_stage import execute
from tests.velocity_stage import FIRST, OPEN_CAPS, UNIT, card_customer, codes, pay, seasoned, signer, sums

pytestmark = pytest.mark.django_db(transaction=True)
CAP = 10
RECIPIENT = "0x" + FIRST.hex()


def payment() -> AskedPayment:
    return asked_payment(
        customer=1,
        api_key=1,
        session=bytes(16),
        rand_hash=bytes(32),
        digest=bytes(64),
        sender="0x" + "ab" * 20,
        recipient=RECIPIENT,
    )


def with_two_processes(story: Callable[[FreshMoney, FreshMoney], Awaitable[None]]) -> None:
    seasoned(FIRST)
    caps = Caps(**{**OPEN_CAPS, "recipient_nano_usd": CAP})

    async def tell() -> None:
        database = Database(settings.DATABASES["default"])
        await database.open()
        recipients = Recipients(database, "any")
        await story(*(FreshMoney(database, recipients, caps) for _ in range(2)))
        await database.close()

    asyncio.run(tell())


async def room(process: FreshMoney) -> int:
    """What it may spend after it has asked again."""
    await asyncio.sleep(0.3)
    assert await process.renew(RECIPIENT)
    lease = process.lease(RECIPIENT)
    assert lease
    return max(0, lease.room)


def test_what_a_process_has_on_its_way_is_not_given_to_another_one_until_it_is_known() -> None:
    async def story(one: FreshMoney, other: FreshMoney) -> None:
        assert await room(one) == CAP
        under_way = one.take([payment()])
        assert under_way.rooms == {RECIPIENT: CAP}
        for _ in range(3):
            assert (await room(other), await room(one)) == (0, 0)
        one.settle(under_way, {}, ())
        for _ in range(4):
            rooms = [await room(each) for each in (one, other)]
            assert sum(rooms) <= CAP
        assert rooms == [CAP // 2, CAP // 2]

    with_two_processes(story)


def test_what_a_process_sends_while_it_asks_again_is_not_given_to_another_one() -> None:
    async def story(one: FreshMoney, other: FreshMoney) -> None:
        assert (await room(one), await room(other)) == (CAP, 0)
        await asyncio.sleep(0.3)
        asking = asyncio.create_task(one.renew(RECIPIENT))
        await asyncio.sleep(0.001)
        # It asks in this moment, and until it is answered its old room still counts.
        under_way = one.take([payment()])
        assert under_way.rooms == {RECIPIENT: CAP}
        await asking
        assert await room(other) == 0
        one.settle(under_way, {RECIPIENT: CAP}, ())

    with_two_processes(story)


def test_what_a_process_that_died_may_still_commit_stays_taken_however_long_that_takes() -> None:
    execute(
        "INSERT INTO signing_freshlease VALUES (%s, gen_random_uuid(), %s, now() - interval '1 minute')", RECIPIENT, CAP
    )
    params = connection.get_connection_params() | {"cursor_factory": None}

    async def story(one: FreshMoney, other: FreshMoney) -> None:
        with psycopg.connect(**params) as committing:
            committing.execute("SELECT pg_current_xact_id()")
            assert [await room(one) for _ in range(3)] == [0, 0, 0]
            committing.commit()
            assert await room(one) > 0
            # What began afterwards has nothing to do with it.
            committing.execute("SELECT pg_current_xact_id()")
            assert await room(one) > 0

    with_two_processes(story)


def test_a_question_for_room_that_got_lost_and_is_carried_out_late_frees_nothing_that_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[tuple[Any, ...]] = []

    async def lose(_: Database, *question: Any) -> Sequence[tuple[Any, ...]]:
        lost.append(question)
        raise DatabaseUnavailable

    async def story(one: FreshMoney, other: FreshMoney) -> None:
        with monkeypatch.context() as away:
            away.setattr(Database, "fetch", lose)
            with pytest.raises(DatabaseUnavailable):
                await room(one)
        assert (await room(one), await room(other)) == (CAP, 0)
        under_way = one.take([payment()])
        assert under_way.rooms == {RECIPIENT: CAP}
        [(statement, parameters)] = lost
        with psycopg.connect(**params) as late:
            late.execute(statement, parameters)
        assert await room(other) == 0
        one.settle(under_way, {RECIPIENT: CAP}, ())

    params = connection.get_connection_params() | {"cursor_factory": None}
    with_two_processes(story)


@pytest.fixture
def stalled() -> Iterator[Callable[[int], None]]:
    """Commits of a customer's payments take until he is let go: what they wrote stands, and nobody sees it."""
    execute("CREATE TABLE stalled_here (customer_id bigint)")
    execute(
        "CREATE FUNCTION stall_here() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$"
        " BEGIN WHILE EXISTS (SELECT FROM stalled_here s WHERE s.customer_id = NEW.customer_id)"
        " LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NULL; END $$"
    )
    execute(
        "CREATE CONSTRAINT TRIGGER stall_here AFTER INSERT OR UPDATE ON signing_velocity DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION stall_here()"
    )
    yield lambda customer: execute("INSERT INTO stalled_here VALUES (%s)", customer)
    execute("DELETE FROM stalled_here")
    execute("DROP TRIGGER stall_here ON signing_velocity")
    execute("DROP FUNCTION stall_here()")
    execute("DROP TABLE stalled_here")


def test_a_commit_that_takes_longer_than_any_statement_lives_is_not_paid_for_twice(
    stalled: Callable[[int], None],
) -> None:
    seasoned(FIRST)
    with signer(recipient=2) as stage:
        (slow, slow_owner), (quick, _) = card_customer(stage), card_customer(stage)
        stalled(slow_owner.pk)
        assert codes([pay(slow)])[0] in ("database_unavailable", "busy")
        lost_at, said = time.monotonic(), []
        while time.monotonic() < lost_at + 9:
            said += codes([pay(quick)])
            time.sleep(0.2)
        assert 200 not in said
        execute("DELETE FROM stalled_here")
        deadline = time.monotonic() + 10
        while "velocity" not in said[-1:]:
            assert time.monotonic() < deadline, said
            said += codes([pay(quick)])
            time.sleep(0.1)
        assert said.count(200) == 1
        assert sums() == (2 * UNIT,) * 3


@pytest.mark.parametrize(
    ("now", "first_hour"),
    [("10:59:59.9", 10), ("11:00:00", 10), ("11:00:04.9", 10), ("11:00:05", 11)],
)
def test_what_was_counted_in_an_hour_s_last_moment_counts_until_a_day_after_it_was_done(
    now: str, first_hour: int
) -> None:
    """A payment is counted in the hour in which its commit began; the commit may take two seconds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT signing_velocity_since(%s)", [f"2026-03-02 {now}+00"])
        (since,) = cursor.fetchone()
    assert since == datetime(2026, 3, 1, first_hour, tzinfo=UTC)
