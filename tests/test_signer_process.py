"""The signer as a process on a real chain: started, told to end, killed in the middle of its work."""

import http.client
import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from signing import stops
from tests import builders, size
from tests.process_stage import World, environment, running_world, signer_process, start, wait_until_ready
from tests.signer_stage import Answer, Client, check_tickets, execute, rows, wallet

pytestmark = pytest.mark.django_db(transaction=True)
KILLS = size.of(2, full=10)
PAYMENTS = 40 * (KILLS + 1)
CREDIT = 10**12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("world")) as world:
        yield world


def gateway(url: str) -> tuple[Client, Any]:
    owner = builders.customer()
    builders.api_key(owner, "ch_live_process0_key")
    builders.credit(owner, CREDIT, reference="test:process")
    return Client(url, "ch_live_process0_key"), owner


def test_a_signer_on_a_real_chain_signs_until_the_chain_is_gone(world: World) -> None:
    with signer_process(world) as (process, url):
        client, owner = gateway(url)
        answer = client.pay(orchestrator=world.offer(), type="live")
        assert answer.status == 200, answer.body
        check_tickets(answer.payment, world.sender.checksum_address)
        assert len(rows(owner)) == 1
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert "ch_live_process0_key" not in errors
    with signer_process(world) as (_, url):
        request = world.offer()
        stopped = int(json.loads((_chain_folder(world) / "chain.json").read_text())["pid"])
        os.kill(stopped, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + 20
            while (answer := Client(url, client.key).pay(orchestrator=request, type="fixed")).status == 200:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert (answer.status, answer.code) == (503, "chain_stale")
        finally:
            os.kill(stopped, signal.SIGCONT)


def _chain_folder(world: World) -> Path:
    return Path(world.environment["SENDER_KEYSTORE_FILE"]).parent / "chain"


def test_whoever_was_heard_is_answered_before_the_signer_ends(world: World) -> None:
    with signer_process(world) as (process, url):
        client, owner = gateway(url)
        bodies = [json.dumps({"orchestrator": world.offer(), "type": "fixed"}).encode() for _ in range(32)]
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM billing_wallet FOR UPDATE")
            asked = [client.ask("POST", "/generate-live-payment", body) for body in bodies]
            for _ in range(2):
                # Who comes later is heard later: then all of them were.
                assert client.request("GET", "/healthz").status == 200
            process.terminate()
            cursor.execute("COMMIT")
        answers = [answer() for answer in asked]
        process.communicate(timeout=20)
        assert process.returncode == 0
        assert {answer.status for answer in answers} <= {200, 503}
        assert len(rows(owner)) == sum(answer.status == 200 for answer in answers)


def test_a_signer_killed_at_work_loses_no_payment_and_charges_none_twice(world: World) -> None:
    env = environment(world)
    url = f"http://127.0.0.1:{env['SIGNER_PORT']}"
    client, owner = gateway(url)
    requests = [{"orchestrator": world.offer(price=(9 * 10**11, 1)), "type": "fixed"} for _ in range(PAYMENTS)]
    answers: dict[int, Answer] = {}

    def ask(numbers: list[int]) -> None:
        for number in numbers:
            deadline = time.monotonic() + 60
            while number not in answers and time.monotonic() < deadline:
                try:
                    answer = client.pay(**requests[number])
                except (OSError, http.client.HTTPException):
                    time.sleep(0.02)
                    continue
                if answer.status == 200:
                    answers[number] = answer

    askers = [threading.Thread(target=ask, args=[list(range(first, PAYMENTS, 6))]) for first in range(6)]
    process = start(env)
    try:
        wait_until_ready(process, url)
        for asker in askers:
            asker.start()
        for kills in range(1, KILLS + 1):
            while len(answers) < 40 * kills:
                time.sleep(0.002)
            process.kill()
            process.communicate()
            process = start(env)
        for asker in askers:
            asker.join()
    finally:
        process.kill()
        process.communicate()
    assert len(answers) == PAYMENTS
    paid = rows(owner)
    assert len(paid) == PAYMENTS
    assert wallet(owner) == CREDIT - sum(row["charge_nano_usd"] for row in paid)
    booked = {(bytes(row["recipient_rand_hash"]), row["first_nonce"]) for row in paid}
    given = {(answer.payment.ticket_params.recipient_rand_hash, answer.nonces[0]) for answer in answers.values()}
    assert booked == given


def test_two_signer_processes_stop_within_two_seconds(world: World) -> None:
    staff = builders.user()
    with signer_process(world) as (_, url), signer_process(world) as (_, other_url):
        client, owner = gateway(url)
        clients = [client, Client(other_url, client.key)]

        def statuses() -> list[int]:
            return [each.pay(orchestrator=world.offer(price=(1, 1)), type="fixed").status for each in clients]

        assert statuses() == [200, 200]
        stop = stops.throw(scope="customer", subject=str(owner.pk), reason="drill", user=staff)
        deadline = time.monotonic() + 2
        while statuses() != [402, 402]:
            assert time.monotonic() < deadline
        stops.lift(stop, user=staff)
        deadline = time.monotonic() + 2
        while statuses() != [200, 200]:
            assert time.monotonic() < deadline


def test_a_crowd_that_says_nothing_takes_no_file_from_those_who_pay(world: World) -> None:
    with signer_process(world) as (process, url), ExitStack() as crowd:
        client, owner = gateway(url)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (200, 200))
        regular = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port, timeout=15)
        regular.request("GET", "/readyz")
        assert regular.getresponse().read() == b'{"status":"ready"}'
        for _ in range(3):
            for _ in range(150):
                crowd.enter_context(socket.create_connection((regular.host, regular.port), timeout=15))
            assert client.pay(orchestrator=world.offer(), type="fixed").status == 200
            # 100 connections, and what the signer itself has open.
            assert len(os.listdir(f"/proc/{process.pid}/fd")) <= 200
        execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE '%%-signer'"
        )
        deadline = time.monotonic() + 10
        while client.pay(orchestrator=world.offer(), type="fixed").status != 200:
            assert time.monotonic() < deadline
        regular.request("GET", "/readyz")
        assert regular.getresponse().read() == b'{"status":"ready"}'
        assert len(rows(owner)) == 4
        regular.close()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SENDER_KEYSTORE_FILE": ""}, "keystore"),
        ({"SENDER_ADDRESS": "0x" + "11" * 20}, "holds the key of"),
        ({"SIGNER_PORT": "many"}, "SIGNER_PORT must be a whole number"),
        ({"RECIPIENT_POLICY": "friends"}, "RECIPIENT_POLICY must be one of"),
    ],
)
def test_a_signer_that_cannot_start_says_why_in_one_sentence(
    world: World, changes: dict[str, str], sentence: str
) -> None:
    process = start(environment(world, **changes))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert sentence in errors
    assert errors.strip().count("\n") == 0
