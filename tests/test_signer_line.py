"""The line for commits: every question gets its own answer or none, whatever becomes of the connection."""

import asyncio
import socket
import time
from collections.abc import Awaitable
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from clearinghouse.embedded import free_port
from signing.signer import line as line_module
from signing.signer.asked_payments import asked_payment
from signing.signer.batch import Batch
from signing.signer.database import Database, DatabaseUnavailable
from signing.signer.fresh_money import Caps, FreshMoney
from signing.signer.outages import reason
from signing.signer.recipients import Recipients
from tests.held_line import HeldLine, database_address, held_line
from tests.line_stage import with_a_database

pytestmark = pytest.mark.django_db(transaction=True)
ECHO = b"SELECT $1::text"
PID = b"SELECT pg_backend_pid()"
LONG = "a long question " * 100_000


async def number_of(database: Database) -> int:
    told = await database.ask(PID)
    assert told
    return int(told)


async def unavailable(asking: Awaitable[object]) -> float:
    """How many seconds it took to say so."""
    since = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await asking
    return time.monotonic() - since


def test_a_line_is_one_connection_that_prepares_a_statement_once_and_lives_through_what_the_server_refuses() -> None:
    async def story(database: Database) -> None:
        number = await number_of(database)
        for text in ("first", "", LONG, "last"):
            assert await database.ask(ECHO, text) == text.encode()
        for refused, error in (
            (b"SELECT 1 / 0", psycopg.errors.DivisionByZero),
            (b"SELECT nothing", psycopg.errors.UndefinedColumn),
        ):
            with pytest.raises(error):
                await database.ask(refused)
            assert await database.ask(ECHO, "again") == b"again"
        with pytest.raises(DatabaseUnavailable):
            await database.ask(b"COPY (SELECT 1) TO STDOUT")
        assert await database.ask(ECHO, "after a stream") == b"after a stream"
        assert await number_of(database) != number
        number = await number_of(database)
        assert await database.ask(b"SELECT NULL") is None
        assert await database.ask(b"SELECT $1::bytea", b"\0\1") == b"\\x0001"
        prepared = b"SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT $1::text'"
        assert await database.ask(prepared) == b"1"
        assert await number_of(database) == number

    with_a_database(story)


def test_a_statement_that_takes_too_long_is_an_outage_and_the_line_goes_on() -> None:
    async def story(database: Database) -> None:
        assert await unavailable(database.ask(b"SELECT pg_sleep(3)::text")) < 2
        assert await database.ask(ECHO, "after") == b"after"

    with_a_database(story)


def test_a_connection_that_was_ended_is_made_anew_and_nobody_gets_another_one_s_answer() -> None:
    async def story(database: Database) -> None:
        for number_of_times in range(3):
            number = await number_of(database)
            asking = asyncio.create_task(database.ask(b"SELECT 'old' FROM pg_sleep(1)"))
            await asyncio.sleep(0.1)
            if number_of_times == 0:  # while the server works
                await database.fetch("SELECT pg_terminate_backend(%s)", [number])
                assert await unavailable(asking) < 1
            elif number_of_times == 1:  # whoever asked has no more time
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            else:  # while nobody asks
                assert await asking == b"old"
                await database.fetch("SELECT pg_terminate_backend(%s)", [number])
                await asyncio.sleep(0.1)
            assert await database.ask(ECHO, "new") == b"new"
            assert await number_of(database) != number

    with_a_database(story)


@pytest.mark.parametrize("what", ["question", "answer"])
def test_a_silent_line_is_told_within_two_seconds_and_its_late_answer_is_nobody_s(what: Any) -> None:
    async def silence(database: Database, line: HeldLine) -> None:
        assert await database.ask(ECHO, "first") == b"first"
        line.hold(what, b"a mark")
        assert await unavailable(database.ask(ECHO, "a mark")) < 2
        line.let_go()
        for _ in range(20):
            assert await database.ask(ECHO, "another") == b"another"

    with held_line() as line:
        with_a_database(lambda database: silence(database, line), port=line.port)


def test_a_connection_that_falls_silent_while_it_begins_is_given_up_for_another_one() -> None:
    async def story(database: Database, line: HeldLine) -> None:
        number = await number_of(database)
        silent = line.hold("question", b"statement_timeout")
        await database.fetch("SELECT pg_terminate_backend(%s)", [number])
        await asyncio.sleep(0.1)
        assert await unavailable(database.ask(ECHO, "during")) < 2
        assert silent.is_set()
        line.let_others_pass()
        deadline = time.monotonic() + 3
        while True:
            try:
                assert await database.ask(ECHO, "after") == b"after"
                break
            except DatabaseUnavailable:
                assert time.monotonic() < deadline
        assert await database.ask(b"SELECT current_setting('statement_timeout')") == b"1500ms"
        assert await database.ask(b"SELECT current_setting('lock_timeout')") == b"250ms"

    with held_line() as line:
        with_a_database(lambda database: story(database, line), port=line.port)


async def becomes_available(database: Database, seconds: float) -> None:
    """Both ways to ask are had again in that time; before, each says within two seconds that it is not."""
    deadline = time.monotonic() + seconds
    for ask in (lambda: database.ask(ECHO, "after"), lambda: database.fetch("SELECT 'after'")):
        while True:
            asked_at = time.monotonic()
            try:
                assert await ask() in (b"after", [("after",)])
                break
            except DatabaseUnavailable:
                assert time.monotonic() - asked_at < 2
                assert time.monotonic() < deadline


@pytest.mark.parametrize("silent_at", ["once", "the limits"])
def test_a_server_that_takes_connections_and_says_nothing_is_told_in_two_seconds_and_left_for_one_that_speaks(
    silent_at: str,
) -> None:
    async def story(database: Database, line: HeldLine, silent: tuple[str, int]) -> None:
        await becomes_available(database, 5)
        if silent_at == "once":
            line.upstream = silent
        else:
            line.hold("question", b"statement_timeout")
        line.cut()
        until = time.monotonic() + 4
        while time.monotonic() < until:
            told = await asyncio.gather(
                *(unavailable(database.fetch("SELECT 1")) for _ in range(5)), unavailable(database.ask(ECHO, "away"))
            )
            assert max(told) < 2
        line.upstream = database_address()
        line.let_others_pass()
        await becomes_available(database, 6)

    with held_line() as line, socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        with_a_database(lambda database: story(database, line, silent.getsockname()), port=line.port)


def test_a_pool_whose_questions_went_unanswered_is_had_again_at_once() -> None:
    async def story(database: Database, line: HeldLine) -> None:
        await becomes_available(database, 5)
        line.hold("answer", b"a mark")
        unheard = (unavailable(database.fetch("SELECT 'a mark', pg_sleep(0.1)")) for _ in range(8))
        assert max(await asyncio.gather(*unheard)) < 2
        impatient = asyncio.create_task(database.fetch("SELECT 'a mark'"))
        await asyncio.sleep(0.6)
        impatient.cancel()
        line.let_others_pass()
        await becomes_available(database, 1.5)

    with held_line() as line:
        with_a_database(lambda database: story(database, line), port=line.port)


def test_an_old_connection_is_replaced_beside_the_questions_and_kept_where_no_other_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line_module, "MOST_SECONDS_OF_A_CONNECTION", 0.3)
    monkeypatch.setattr(line_module, "_SECONDS_BETWEEN_RENEWALS", 0.3)
    monkeypatch.setattr(line_module, "_SECONDS_TO_FINISH", 0.2)

    async def numbers(database: Database, seconds: float) -> set[int]:
        until, seen = time.monotonic() + seconds, set()
        while time.monotonic() < until:
            seen.add(await number_of(database))
            assert await database.ask(b"SELECT 'slow' FROM pg_sleep(0.05)") == b"slow"
        return seen

    async def story(database: Database, line: HeldLine) -> None:
        assert len(await numbers(database, 2)) >= 3
        line.upstream = ("127.0.0.1", 1)
        await asyncio.sleep(0.5)
        kept = await numbers(database, 1)
        assert len(kept) == 1
        line.upstream = database_address()
        assert len(await numbers(database, 2)) >= 3
        await asyncio.sleep(1)
        rows = await database.fetch(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'clearinghouse-signer' AND pid = ANY (%s)",
            [list(kept)],
        )
        assert rows == [(0,)]

    with held_line() as line:
        with_a_database(lambda database: story(database, line), port=line.port)


def test_a_server_that_became_a_standby_is_left(caplog: pytest.LogCaptureFixture) -> None:
    readonly = "set_config('default_transaction_read_only', 'on', false)"

    async def story(database: Database) -> None:
        await becomes_available(database, 5)
        number = await number_of(database)
        await database.ask(f"SELECT {readonly}".encode())
        await asyncio.gather(*(database.fetch(f"SELECT {readonly}, pg_sleep(0.2)") for _ in range(4)))
        assert await unavailable(database.ask(b"CREATE TABLE line_standby ()")) < 1
        assert await number_of(database) != number
        told = [unavailable(database.fetch("CREATE TABLE line_standby ()")) for _ in range(4)]
        await asyncio.gather(*told)
        assert await database.fetch("SELECT current_setting('default_transaction_read_only')") == [("off",)]

    async def reading_only(database: Database) -> None:
        assert await unavailable(database.ask(ECHO, "during")) < 2

    with_a_database(story)
    name = settings.DATABASES["default"]["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        try:
            with_a_database(reading_only)
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    assert "database: ReadOnlySqlTransaction 25006: cannot execute CREATE TABLE in a read-only transaction" in (
        caplog.messages
    )
    assert [each for each in caplog.messages if "no connection: " in each and "session is read-only" in each]


def test_an_outage_is_logged_with_its_reason_and_never_with_what_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    given: dict[str, Any] = settings.DATABASES["default"]
    secret = "a payload that nobody may read"

    async def story(database: Database) -> None:
        await becomes_available(database, 5)
        number = await number_of(database)
        asking = asyncio.create_task(database.ask(b"SELECT $1::text FROM pg_sleep(1)", secret))
        await asyncio.sleep(0.1)
        await database.fetch("SELECT pg_terminate_backend(%s)", [number])
        await unavailable(asking)
        await unavailable(database.ask(b"SELECT $1::text FROM pg_sleep(3)", secret))
        for refused in (b"SELECT $1::int", b"SELECT nothing($1)"):
            with pytest.raises(psycopg.Error) as told:
                await database.ask(refused, secret)
            assert secret not in reason(told.value)

    async def turned_away(database: Database) -> None:
        await unavailable(database.ask(ECHO, secret))

    with_a_database(story)
    with held_line(("127.0.0.1", 1)) as line:
        with_a_database(turned_away, port=line.port)
    with_a_database(turned_away, port=free_port())
    with_a_database(turned_away, PASSWORD="not this one")
    with_a_database(turned_away, NAME="no_such_database")
    for said in (
        "consuming input failed: terminating connection due to administrator command",
        "QueryCanceled 57014: canceling statement due to statement timeout",
        "server closed the connection unexpectedly",
        "Connection refused",
        "password authentication failed for user",
        'database "no_such_database" does not exist',
    ):
        assert [each for each in caplog.messages if each.startswith("database: ") and said in each], said
    assert not [each for each in caplog.messages if secret in each or "not this one" in each]
    assert not [each for each in caplog.messages if given["PASSWORD"] in each]


def test_a_database_that_turns_everybody_away_is_not_asked_at_once_again_by_everybody() -> None:
    async def story(database: Database) -> None:
        until = time.monotonic() + 1
        count = 0
        while time.monotonic() < until:
            assert await unavailable(database.ask(ECHO, "away")) < 1
            count += 1
        assert 2 <= count <= 12

    with held_line(("127.0.0.1", 1)) as line:
        with_a_database(story, port=line.port)


def test_a_database_that_is_away_is_told_at_once_and_found_when_it_comes_back() -> None:
    nowhere = held_line(("127.0.0.1", 1))

    async def story(database: Database, line: HeldLine) -> None:
        for _ in range(2):
            assert await unavailable(database.ask(ECHO, "away")) < 1
        line.upstream = database_address()
        assert await database.ask(ECHO, "here") == b"here"

    with nowhere as line:
        with_a_database(lambda database: story(database, line), port=line.port)


def test_a_batch_that_cannot_be_committed_is_told_to_all_and_is_nobody_s_error_where_nobody_waits() -> None:
    caps = Caps(**settings.FRESH_MONEY_CAPS)
    payment = asked_payment(
        customer=1, api_key=1, session=bytes(16), rand_hash=bytes(32), digest=bytes(64), sender="0x" + "ab" * 20
    )

    async def story(database: Database) -> None:
        batch = Batch(database, FreshMoney(database, Recipients(database, "any"), caps))
        batch.start()
        _, told, left = (batch.enqueue(payment) for _ in range(3))
        left.cancel()
        with pytest.raises(DatabaseUnavailable):
            await told
        await batch.stop()

    with held_line(("127.0.0.1", 1)) as line:
        with_a_database(story, port=line.port)
