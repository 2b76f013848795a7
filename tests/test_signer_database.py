"""The signer and a database that is not as it was: functions made anew, rights withdrawn, answers that never came."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction

import signing
from accounts.models import Customer
from tests import builders, size
from tests.asked_payments import Account, commit
from tests.held_line import HeldLine, database_address, database_line, held_line
from tests.repeats_stage import opening
from tests.signer_stage import COST, Answer, Client, Stage, execute, offer, price_of, rows, running_signer

pytestmark = pytest.mark.django_db(transaction=True)
COMMIT = Path(signing.__file__).parent / "sql" / "commit_payments.sql"
COMMIT_FUNCTION = "FUNCTION signing_commit_payments(signing_asked_payment[], jsonb)"
MANY = 10**15


def test_a_migration_that_makes_the_commit_anew_costs_running_signers_one_batch_asked_twice(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    cast = [stage.gateway(dollars_nano=10**12) for _ in range(4)]
    statuses: list[int] = []
    enough = threading.Event()

    def spend(client: Client) -> None:
        while not enough.is_set():
            statuses.append(client.pay(orchestrator=offer(), type="fixed").status)

    def see(payments: int) -> None:
        wanted, deadline = len(statuses) + payments, time.monotonic() + 30
        while len(statuses) < wanted and time.monotonic() < deadline:
            time.sleep(0.005)

    with ThreadPoolExecutor(len(cast)) as several:
        working = [several.submit(spend, client) for client, _ in cast]
        for _ in range(2):
            see(40)  # all of the signer's connections have made payments
            execute(COMMIT.read_text())
        see(40)
        enough.set()
    for done in working:
        done.result()
    assert set(statuses) == {200}
    assert sum(len(rows(owner)) for _, owner in cast) == len(statuses)
    assert 1 <= len([each for each in caplog.messages if each.startswith("a commit of")]) <= 2


@pytest.mark.parametrize("name", ["0021_sessions_by_their_key", "0022_payments_numbered_as_usage"])
def test_a_payment_under_way_and_a_migration_that_makes_indexes_anew_let_each_other_pass(name: str) -> None:
    account = Account(2)
    assert commit([account.opening()]) == ["committed"]
    migration = import_module(f"signing.migrations.{name}").Migration
    assert not migration.atomic
    migrating = psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}, autocommit=True)

    def migrate() -> None:
        for operation in migration.operations:
            migrating.execute(operation.sql)

    with ThreadPoolExecutor(1) as aside:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM signing_session, signing_payment, accounts_apikey")
            done = aside.submit(migrate)
            deadline = time.monotonic() + 10
            while not done.done() and time.monotonic() < deadline:
                cursor.execute("SELECT FROM pg_locks WHERE pid = %s AND NOT granted", [migrating.info.backend_pid])
                if cursor.fetchone() is not None:
                    break
                time.sleep(0.01)
            assert commit([account.opening()]) == ["committed"]
        done.result(timeout=10)
    migrating.close()


def becomes(probe: Client, status: int) -> bool:
    """Whether /readyz answers so within five seconds."""
    deadline = time.monotonic() + 5
    while probe.request("GET", "/readyz").status != status and time.monotonic() < deadline:
        time.sleep(0.1)
    return probe.request("GET", "/readyz").status == status


@pytest.mark.parametrize("right", [f"EXECUTE ON {COMMIT_FUNCTION}", "SELECT ON signing_stop"], ids=["commit", "stops"])
def test_a_signer_without_a_right_that_payments_need_is_not_ready(stage: Stage, right: str) -> None:
    probe = Client(stage.url, None)

    assert becomes(probe, 200)
    execute(f"REVOKE {right} FROM clearinghouse_signer")
    try:
        assert becomes(probe, 503)
        answer = probe.request("GET", "/readyz")
        assert (answer.code, answer.headers["retry-after"]) == ("database_unfit", "1")
    finally:
        execute(f"GRANT {right} TO clearinghouse_signer")
    assert becomes(probe, 200)


def test_a_signer_whose_line_for_commits_cannot_be_had_is_not_ready_though_it_may_still_read() -> None:
    with held_line() as line, running_signer(database_port=line.port) as stage:
        client, _ = stage.gateway(dollars_nano=10**12)
        probe = Client(stage.url, None)

        assert client.pay(orchestrator=offer(), type="fixed").status == 200
        line.upstream = ("127.0.0.1", 1)
        execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND starts_with(query, 'SELECT signing_commit_payments($1')"
        )
        assert becomes(probe, 503)
        assert client.pay(orchestrator=offer(), type="fixed").code == "database_unavailable"
        line.upstream = database_address()
        assert becomes(probe, 200)
        assert client.pay(orchestrator=offer(), type="fixed").status == 200


@pytest.mark.parametrize("ended", [True, False], ids=["at once", "when its connections end"])
def test_payments_get_503_in_two_seconds_from_a_database_that_says_nothing_and_go_on_when_it_speaks(
    ended: bool,
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as silent,
        held_line() as line,
        running_signer(database_port=line.port) as stage,
    ):
        client, owner = stage.gateway(dollars_nano=10**12)
        assert client.pay(orchestrator=offer(), type="fixed").status == 200
        line.upstream = silent.getsockname()
        if ended:
            execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE '%%-signer'"
            )
        else:
            line.hold("answer", b"")  # whatever is asked
        until = time.monotonic() + 5
        while time.monotonic() < until:
            asked_at = time.monotonic()
            answers = client.pay_all([{"orchestrator": offer(), "type": "fixed"} for _ in range(3)])
            assert time.monotonic() - asked_at < 2.5
            assert {answer.status for answer in answers} == {503}
        line.upstream = database_address()
        line.let_others_pass()
        assert becomes(Client(stage.url, None), 200)
        paid = [client.pay(orchestrator=offer(), type="fixed").status for _ in range(5)]
        assert paid == [200] * 5
        assert 6 <= len(rows(owner)) <= 9  # what was asked at last may have been committed


@contextmanager
def fresh_money(*, payments: int) -> Iterator[tuple[HeldLine, Client, Customer]]:
    """A customer with money that is not aged, of which so many payments may reach one recipient; no other cap binds."""
    unit = price_of(COST)
    caps = dict.fromkeys(("customer_nano_usd", "pair_nano_usd", "new_recipient_nano_usd", "listed_nano_usd"), MANY)
    caps |= {"recipient_nano_usd": payments * unit, "flagged_nano_usd": 0, "season_days": 0}
    with held_line() as line, running_signer(database_port=line.port, FRESH_MONEY_CAPS=caps) as stage:
        client, owner = stage.gateway(dollars_nano=0)
        aged_at = datetime.now(UTC) + timedelta(days=14)
        builders.credit(owner, 100 * unit, reference="test:fresh", aged_at=aged_at)
        yield line, client, owner


@pytest.mark.parametrize("held", ["answer", "question"][: size.of(1, full=2)])
def test_room_that_a_commit_without_an_answer_took_comes_back_after_its_time_and_never_too_much(
    held: Literal["answer", "question"],
) -> None:
    with fresh_money(payments=4) as (line, client, owner):

        def pay(asked: str) -> str:
            answer = client.pay(orchestrator=asked, type="fixed")
            return "paid" if answer.status == 200 else answer.code

        assert pay(offer()) == "paid"
        rand_hash = os.urandom(32)
        doubtful = offer(rand_hash=rand_hash)
        line.hold(held, rand_hash)
        assert pay(doubtful) == "database_unavailable"
        lost_at = time.monotonic()
        line.let_go()
        said: list[str] = []
        while (answer := pay(offer())) != "velocity":
            assert answer == "busy" or time.monotonic() - lost_at > 3, said
            said.append(answer)
            assert time.monotonic() - lost_at < 20, said
        assert set(said) == {"busy", "paid"}
        # It was committed, and is answered now; or never was, and what came instead left no room for it.
        was_committed = said.count("paid") == 2
        assert was_committed or held == "question"
        assert pay(doubtful) == ("paid" if was_committed else "velocity")
        assert [row["fresh_nano_usd"] for row in rows(owner)] == [price_of(COST)] * 4


def test_what_left_while_an_answer_about_room_was_under_way_is_taken_off_it() -> None:
    """The answer was true when it was given; what this signer sent since then may not be in it."""
    with fresh_money(payments=6) as (line, client, owner):

        def pay() -> Answer:
            return client.pay(orchestrator=offer(), type="fixed")

        assert pay().status == 200
        held = line.hold("answer", b'"new_cap"')
        time.sleep(1.05)
        assert pay().status == 200  # room is a second old now, and asked for again
        assert held.wait(5)
        assert [pay().status for _ in range(3)] == [200] * 3
        line.let_go()
        deadline = time.monotonic() + 10
        while (answer := pay()).status != 429:
            assert answer.status in (200, 503)
            assert time.monotonic() < deadline
        assert answer.code == "velocity"
        assert [row["fresh_nano_usd"] for row in rows(owner)] == [price_of(COST)] * 6


@pytest.mark.parametrize(
    ("limit", "most"), [("signing.signer.batch._MOST_WAITING", 8), ("signing.signer.asgi._MOST_REQUESTS", 9)]
)
def test_who_comes_when_the_queue_is_full_is_told_at_once_and_those_in_it_are_answered(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One payment is on its way to the database, eight wait behind it, and there is room for no more."""
    monkeypatch.setattr(limit, most)
    with (
        held_line() as line,
        running_signer(database_port=line.port) as stage,
        ThreadPoolExecutor(21) as pool,
    ):
        client, owner = stage.gateway(dollars_nano=10**12)
        assert client.pay(orchestrator=offer(), type="fixed").status == 200
        rand_hash = os.urandom(32)
        held = line.hold("question", rand_hash, rand_hash.hex().encode())
        asked = [pool.submit(client.pay, orchestrator=offer(rand_hash=rand_hash), type="fixed")]
        assert held.wait(5)
        asked += [pool.submit(client.pay, orchestrator=offer(), type="fixed") for _ in range(20)]
        deadline = time.monotonic() + 1.2
        while sum(each.done() for each in asked) < 12 and time.monotonic() < deadline:
            time.sleep(0.005)
        refused = [each.result() for each in asked if each.done()]
        line.let_go()
        answers = [each.result() for each in asked]
        assert [(answer.status, answer.code, answer.headers["retry-after"]) for answer in refused] == [
            (503, "overloaded", "1")
        ] * 12
        assert sorted(answer.status for answer in answers) == [200] * 9 + [503] * 12
        assert len(rows(owner)) == 10
        assert {answer.status for answer in client.pay_all([{"orchestrator": offer(), "type": "fixed"}] * 4)} == {200}


def test_a_signer_that_met_a_standby_finds_the_server_that_took_its_place(stage: Stage) -> None:
    """Connections made while the name still leads to a server that only reads must not be kept for good."""
    client, owner = stage.gateway(dollars_nano=10**12)
    assert client.pay(orchestrator=offer(), type="fixed").status == 200
    name, user = settings.DATABASES["default"]["NAME"], settings.DATABASES["default"]["USER"]
    execute(f'ALTER ROLE "{user}" IN DATABASE "{name}" SET default_transaction_read_only = on')
    try:
        execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'clearinghouse-signer'"
            " AND datname = current_database()"
        )
        request, deadline = {"orchestrator": offer(), "type": "fixed"}, time.monotonic() + 1.5
        while time.monotonic() < deadline:
            assert client.pay(**request).status == 503
            time.sleep(0.05)
        assert client.request("GET", "/readyz").status == 503
    finally:
        execute(f'ALTER ROLE "{user}" IN DATABASE "{name}" RESET default_transaction_read_only')
    deadline = time.monotonic() + 10
    while client.pay(**request).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(rows(owner)) == 2


def test_the_signer_finds_a_database_that_lost_its_connections(stage: Stage) -> None:
    gateway, owner = stage.gateway()
    assert gateway.pay(**opening()).status == 200
    with database_line() as line:
        line.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'clearinghouse-signer'"
            " AND datname = current_database()"
        )
    deadline = time.monotonic() + 10
    request = opening()
    while (answer := gateway.pay(**request)).status != 200:
        assert answer.status == 503
        assert time.monotonic() < deadline
    assert len(rows(owner)) == 2


def test_a_signer_whose_clock_is_off_asks_the_database_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, owner = stage.gateway()
    right = time.monotonic_ns
    monkeypatch.setattr(time, "monotonic_ns", lambda: right() + 60 * 10**9)
    assert gateway.pay(**opening()).status == 200
    with database_line() as line:
        ahead = line.execute(
            "SELECT last_update > clock_timestamp() FROM signing_session WHERE customer_id = %s", [owner.pk]
        ).fetchone()
    assert ahead == (False,)
