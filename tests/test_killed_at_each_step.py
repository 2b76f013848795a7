"""A payment on a database of its own: whoever is killed at whichever step, nothing is lost and nothing doubled."""

import base64
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from accounts.models import Customer
from billing import check_books
from clearinghouse.embedded import Postgres
from signing.pm import livepeer_pb2 as pb
from tests import builders, size
from tests.client_stage import check_charges, tickets_of
from tests.held_line import HeldLine, held_line
from tests.process_stage import PROJECT, World, environment, running_world, signer_process, start, wait_until_ready
from tests.signer_stage import Answer, Client, rows

CREDIT_DOLLARS = 1_000
OUTAGES = size.of(1, full=10)
GATEWAYS = 8
STEPS = ["asked", "committing", "committed"]
PRICE = (9 * 10**11, 1)


@dataclass
class House:
    """A database server of this room alone, behind a line that can be held, and a chain to sign for."""

    postgres: Postgres
    process: subprocess.Popen[bytes]
    line: HeldLine
    world: World

    def kill_database(self) -> None:
        """The server and all its children at once, as when the machine goes away."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start_database(self) -> None:
        connection.close()
        self.process = self.postgres.start()

    @property
    def signer_environment(self) -> dict[str, str]:
        """Signers reach the database over the line, the test on a straight way."""
        straight = urlsplit(self.postgres.url)
        return {"DATABASE_URL": self.postgres.url.replace(f":{straight.port}/", f":{self.line.port}/")}

    def gateway(self, url: str) -> tuple[Client, Customer]:
        owner = builders.customer()
        secret = f"ch_live_{os.urandom(4).hex()}_{os.urandom(16).hex()}"
        builders.api_key(owner, secret)
        builders.top_up(owner, CREDIT_DOLLARS)
        return Client(url, secret), owner

    def request(self) -> dict[str, Any]:
        return {"orchestrator": self.world.offer(price=PRICE), "type": "fixed"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    postgres = Postgres(folder / "postgres")
    process = postgres.start()
    server = urlsplit(postgres.url)
    own = {"HOST": server.hostname, "PORT": server.port, "USER": server.username, "PASSWORD": server.password}
    before = dict(connection.settings_dict)
    with django_db_blocker.unblock():
        connection.close()
        connection.settings_dict.update(own, NAME=server.path[1:])
        try:
            call_command("migrate", verbosity=0, interactive=False)
            with held_line((str(server.hostname), server.port or 0)) as line, running_world(folder / "world") as world:
                found = House(postgres, process, line, world)
                yield found
        finally:
            connection.close()
            connection.settings_dict.update(before)
            postgres.stop()


@pytest.fixture(scope="module")
def signer_url(house: House) -> Iterator[str]:
    """A signer that nobody kills: it has to live through whatever happens to the others, without a traceback."""
    with signer_process(house.world, **house.signer_environment) as (process, url):
        yield url
        process.terminate()
        assert "Traceback" not in process.communicate(timeout=20)[1]


@pytest.fixture(autouse=True)
def _nothing_is_held(house: House) -> Iterator[None]:
    yield
    house.line.let_go()


def wait_until(condition: Callable[[], object], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def commits_that_wait() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%commit_payments%'"
        )
        return int(cursor.fetchone()[0])


class Asking:
    """One payment request under way, in a thread; `answer` stays None when the line broke."""

    def __init__(self, client: Client, request: dict[str, Any]) -> None:
        self.answer: Answer | None = None
        self._thread = threading.Thread(target=self._ask, args=(client, request))
        self._thread.start()

    def _ask(self, client: Client, request: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.answer = client.pay(**request)

    def wait(self) -> Answer | None:
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()
        return self.answer


def until_paid(client: Client, request: dict[str, Any]) -> Answer:
    """Asks the same again until there is an answer, as a gateway does."""
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline
        try:
            answer = client.pay(**request)
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            continue
        if answer.status == 200:
            return answer
        assert answer.status == 503, answer.body
        time.sleep(0.02)


def reach(
    step: str, house: House, client: Client, owner: Customer, request: dict[str, Any], kill: Callable[[], None]
) -> Asking:
    """Brings a payment to the step and kills there."""
    before = len(rows(owner))
    if step == "committing":
        with psycopg.connect(house.postgres.url) as blocker:
            blocker.execute("SELECT 1 FROM billing_wallet WHERE customer_id = %s FOR UPDATE", [owner.pk])
            asking = Asking(client, request)
            wait_until(commits_that_wait)
            kill()
            with contextlib.suppress(psycopg.OperationalError):
                blocker.rollback()
        return asking
    # The ticket parameters travel in the commit alone, whatever else the signer asks the database meanwhile.
    params = pb.OrchestratorInfo.FromString(base64.b64decode(request["orchestrator"])).ticket_params
    marks = (params.recipient_rand_hash, params.recipient_rand_hash.hex().encode())
    held = house.line.hold("question" if step == "asked" else "answer", *marks)
    asking = Asking(client, request)
    wait_until(held.is_set)
    assert len(rows(owner)) == before + (step == "committed")
    kill()
    house.line.let_go()
    return asking


def check_one_payment(owner: Customer, answers: list[Answer], payments: int) -> None:
    """As many payments as were wanted, every answer one of them, wallet and books exact."""
    booked = rows(owner)
    assert len(booked) == payments
    sold = {ticket for row in booked for ticket in tickets_of(row)}
    for answer in answers:
        assert {(answer.payment.ticket_params.recipient_rand_hash, nonce) for nonce in answer.nonces} <= sold
    check_charges(owner, CREDIT_DOLLARS * 10**9)
    assert not {name: figure for name, figure in check_books.invariants().items() if figure}


@pytest.mark.parametrize("step", STEPS)
def test_a_signer_killed_at_a_step_of_a_payment_loses_and_doubles_nothing(house: House, step: str) -> None:
    env = environment(house.world, **house.signer_environment)
    url = f"http://127.0.0.1:{env['SIGNER_PORT']}"
    client, owner = house.gateway(url)
    process = start(env)
    try:
        wait_until_ready(process, url)
        first = client.pay(**house.request())
        assert first.status == 200, first.body
        request = house.request()
        asking = reach(step, house, client, owner, request, process.kill)
        assert asking.wait() is None
        process.communicate()
        process = start(env)
        wait_until_ready(process, url)
        check_one_payment(owner, [first, until_paid(client, request), until_paid(client, request)], 2)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("step", STEPS)
def test_a_database_killed_at_a_step_of_a_payment_loses_and_doubles_nothing(
    house: House, signer_url: str, step: str
) -> None:
    client, owner = house.gateway(signer_url)
    first = until_paid(client, house.request())
    request = house.request()
    asking = reach(step, house, client, owner, request, house.kill_database)
    house.start_database()
    during = asking.wait()
    assert during is None or during.status in (200, 503), during.body
    check_one_payment(owner, [first, until_paid(client, request), until_paid(client, request)], 2)


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_while_it_posts_usage_posts_each_payment_once(house: House, signer_url: str, step: str) -> None:
    client, owner = house.gateway(signer_url)
    answers = [until_paid(client, house.request()) for _ in range(3)]
    post = "from billing import ledger; ledger.post_usage()"
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", post]
    env = {**os.environ, "DATABASE_URL": house.postgres.url, "PGOPTIONS": "-c role=clearinghouse_worker"}
    with psycopg.connect(house.postgres.url) as blocker:
        if step == "asked":
            blocker.execute("SELECT pg_advisory_lock(hashtextextended('billing_post_customer', %s))", [owner.pk])
        elif step == "committing":
            blocker.execute("LOCK TABLE billing_transfer IN EXCLUSIVE MODE")  # the first journal waits half written
        posting = subprocess.Popen(command, cwd=PROJECT, env=env)
        if step == "committed":
            posting.wait(timeout=60)
        else:
            wait_until(_poster_waits, seconds=60)
            posting.kill()
            posting.wait()
    wait_until(lambda: not _poster_waits())
    check_one_payment(owner, answers, 3)
    assert subprocess.run(command, cwd=PROJECT, env=env, timeout=60).returncode == 0
    check_one_payment(owner, answers, 3)
    assert not any(row["journal_id"] is None for row in rows(owner))


def _poster_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND query LIKE '%billing_post_usage(%'"
        )
        return bool(cursor.fetchone()[0])


def test_a_database_stopped_and_started_under_load_gives_no_wrong_answer(house: House, signer_url: str) -> None:
    with signer_process(house.world, **house.signer_environment) as (other, other_url):
        client, owner = house.gateway(signer_url)
        clients = [client, Client(other_url, client.key)]
        statuses: Counter[int] = Counter()
        answers: list[Answer] = []
        slowest, ended = [0.0], threading.Event()

        def work(place: int) -> None:
            while not ended.is_set():
                request, answer = house.request(), None
                while answer is None or (answer.status == 503 and not ended.is_set()):
                    started = time.monotonic()
                    answer = clients[place % 2].pay(**request)
                    slowest[0] = max(slowest[0], time.monotonic() - started)
                    statuses[answer.status] += 1
                if answer.status == 200:
                    answers.append(answer)

        working = [threading.Thread(target=work, args=(place,)) for place in range(GATEWAYS)]
        for each in working:
            each.start()
        for outage in range(OUTAGES):
            paid, refused = len(answers), statuses[503]
            wait_until(lambda paid=paid: len(answers) >= paid + 20, seconds=30)  # type: ignore[misc]
            if outage % 2:
                house.kill_database()
            else:
                connection.close()
                house.postgres.stop()
            wait_until(lambda refused=refused: statuses[503] >= refused + GATEWAYS, seconds=30)  # type: ignore[misc]
            house.start_database()
        paid = len(answers)
        wait_until(lambda: len(answers) >= paid + 20, seconds=30)
        ended.set()
        for each in working:
            each.join(timeout=30)
        other.terminate()
        assert "Traceback" not in other.communicate(timeout=20)[1]
    print(f"{OUTAGES} outages: {dict(statuses)}, the slowest answer took {slowest[0]:.2f} s")
    assert set(statuses) == {200, 503}
    assert slowest[0] < 5  # two seconds of the signer's, and what two busy cores add
    # A payment whose answer was 503 may have been committed; asked again it would be answered again.
    booked = rows(owner)
    sold = {ticket for row in booked for ticket in tickets_of(row)}
    given = [(answer.payment.ticket_params.recipient_rand_hash, nonce) for answer in answers for nonce in answer.nonces]
    assert len(given) == len(set(given))
    assert set(given) <= sold
    assert len(booked) <= len(answers) + GATEWAYS
    check_charges(owner, CREDIT_DOLLARS * 10**9)
    assert not {name: figure for name, figure in check_books.invariants().items() if figure}
