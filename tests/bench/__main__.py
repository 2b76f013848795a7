"""make bench: the signer's speed, one JSON line a benchmark; ends with 1 when the books do not match the answers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests import stage
from tests.bench import server
from tests.bench.load import Job, fingerprint

PROJECT = Path(__file__).resolve().parent.parent.parent
_GATE = 0.12
_CREDIT_NANO_USD = 10**15
_MANY = 64
_SOAK_RATE = 300


class Mismatch(Exception):
    """The ledger does not hold exactly what was answered."""


class Bench:
    """A signer in its own process over an empty database of its own."""

    def __init__(self) -> None:
        from clearinghouse.embedded import free_port

        assert stage._server, "the bench measures a PostgreSQL of its own: unset DATABASE_URL"
        assert stage._server._process
        self._postgres = stage._server._process.pid
        self._port = free_port()
        self._signer = subprocess.Popen([sys.executable, "-m", "tests.bench.server", str(self._port)], cwd=PROJECT)
        self._customers = 0
        self._only = os.environ.get("BENCH_ONLY", "")
        self._wait()

    def close(self) -> None:
        self._signer.terminate()
        self._signer.wait(timeout=20)

    def _wait(self) -> None:
        from tests.signer_stage import Client

        deadline = time.monotonic() + 30
        while True:
            assert self._signer.poll() is None, "the signer did not start"
            try:
                if Client(f"http://127.0.0.1:{self._port}", None).request("GET", "/readyz").status == 200:
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, "the signer did not become ready"
            time.sleep(0.05)

    def run(self, name: str, *, customers: int, **job: Any) -> dict[str, Any]:
        """One benchmark with customers of its own: asked, measured, and checked against the books."""
        from tests.bench import machine

        if self._only not in name and name != "warm up":
            return {}
        owners, keys = self._open_customers(customers)
        asked = Job(port=self._port, keys=keys, **job)
        load = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load", json.dumps(asdict(asked))],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert load.stdin
        assert load.stdout
        assert load.stdout.readline() == "ready\n"
        pids = {"signer": self._signer.pid, "postgresql": self._postgres}
        before = {part: machine.cpu_seconds(pid) for part, pid in pids.items()}
        statements, memory = self._statements(), machine.memory_mb(self._signer.pid)
        load.stdin.write("go\n")
        load.stdin.flush()
        told = json.loads(load.stdout.readline())
        spent = {part: machine.cpu_seconds(pid) - before[part] for part, pid in pids.items()}
        load.communicate()
        statements = self._statements() - statements
        self._check_books(name, owners, told, asked.requests)
        return _say(
            name,
            payments_per_second=round(asked.requests / told["seconds"]),
            p50_ms=round(told["p50_ms"], 2),
            p99_ms=round(told["p99_ms"], 2),
            connections=asked.connections,
            customers=customers,
            tickets=asked.tickets,
            signer_cpu_us=round(spent["signer"] / asked.requests * 1e6, 1),
            postgresql_cpu_us=round(spent["postgresql"] / asked.requests * 1e6, 1),
            load_generator_cpu_us=round(told["cpu_seconds"] / asked.requests * 1e6, 1),
            statements_per_payment=round(statements / asked.requests, 3),
            signer_memory_mb=round(machine.memory_mb(self._signer.pid)),
            memory_growth_mb=round(machine.memory_mb(self._signer.pid) - memory, 1),
            p99_drift=round(told["p99_drift"], 2),
            load_average=machine.load_average(),
        )

    def _open_customers(self, count: int) -> tuple[list[int], list[str]]:
        from accounts import customers
        from accounts.models import User
        from tests import builders

        owners, keys = [], []
        for _ in range(count):
            self._customers += 1
            user = User.objects.create(email=f"bench{self._customers}@example.com")
            owner, key = customers.open_for(user, name="Bench"), f"ch_live_bench{self._customers:05}_secret"
            builders.api_key(owner, key)
            builders.credit(owner, _CREDIT_NANO_USD, reference=f"bench:{self._customers}")
            owners.append(owner.pk)
            keys.append(key)
        return owners, keys

    def _statements(self) -> int:
        """Round trips of the signer to its database so far."""
        from tests.signer_stage import Client

        return int(Client(f"http://127.0.0.1:{self._port}", None).request("GET", server.STATEMENTS).body)

    def _check_books(self, name: str, owners: Sequence[int], told: dict[str, Any], requests: int) -> None:
        """Every answer has its rows, every row its answer, and the wallets fell by the sum of the charges."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT encode(p.recipient_rand_hash, 'hex'), p.first_nonce, p.tickets, u.quantity, u.charge_nano_usd"
                " FROM billing_usage u FULL JOIN signing_payment p"
                " ON p.customer_id = u.customer_id AND p.usage_id = u.id"
                " WHERE coalesce(u.customer_id, p.customer_id) = ANY(%s)",
                [list(owners)],
            )
            rows = cursor.fetchall()
            cursor.execute(
                "SELECT sum(available_nano_usd)::bigint FROM billing_wallet WHERE customer_id = ANY(%s)", [list(owners)]
            )
            (left,) = cursor.fetchone()
        booked = [(rand_hash, first, tickets) for rand_hash, first, tickets, _, _ in rows]
        if told["statuses"] != {"200": requests}:
            raise Mismatch(f"{name}: answers were {told['statuses']}")
        if fingerprint(booked) != told["fingerprint"] or any(row[2] != row[3] for row in rows):
            raise Mismatch(f"{name}: {len(rows)} rows do not match the answers")
        if left != len(owners) * _CREDIT_NANO_USD - sum(row[4] for row in rows):
            raise Mismatch(f"{name}: the wallets do not match the charges")


def _say(name: str, **measured: Any) -> dict[str, Any]:
    print(json.dumps({"benchmark": name, **measured}), flush=True)
    return measured


def _signing() -> float:
    from tests.bench import machine

    library, own = machine.library_signatures_per_second(), machine.keystore_signatures_per_second()
    _say(
        "signing alone",
        library_signatures_per_second=round(library),
        keystore_signatures_per_second=round(own),
        times_the_library=round(library / own, 3),
        load_average=machine.load_average(),
    )
    return library


def _all(bench: Bench) -> None:
    library = _signing()
    bench.run("warm up", customers=8, connections=8, requests=500)
    fastest = {}
    for who, customers in (("many customers", _MANY), ("one hot customer", 1)):
        for connections, requests in ((1, 300), (16, 3_000), (64, 8_000)):
            name = f"{who}, {connections} connections"
            fastest[name] = bench.run(name, customers=customers, connections=connections, requests=requests)
    _tickets(bench)
    bench.run("200 payments a second", customers=_MANY, connections=32, requests=1_000, rate=200)
    seconds = int(os.environ.get("BENCH_SOAK_SECONDS", "10"))
    bench.run(f"soak of {seconds} s", customers=_MANY, connections=32, requests=_SOAK_RATE * seconds, rate=_SOAK_RATE)
    for who in ("many customers", "one hot customer"):
        if measured := fastest[f"{who}, 64 connections"]:
            ratio = measured["payments_per_second"] / library
            _say(f"gate, {who}", ratio=round(ratio, 4), wanted=_GATE, reached=ratio >= _GATE)


def _tickets(bench: Bench) -> None:
    spent = {}
    for tickets, requests in ((1, 2_000), (10, 1_000), (100, 300)):
        name = f"{tickets} tickets a payment"
        spent[tickets] = bench.run(name, customers=_MANY, connections=16, requests=requests, tickets=tickets)
    if all(spent.values()):
        further = (spent[100]["signer_cpu_us"] - spent[1]["signer_cpu_us"]) / 99
        _say("a further ticket", signer_cpu_us=round(further, 1), wanted=32, reached=further <= 32)


def main() -> int:
    import django

    django.setup()
    from django.core.management import call_command

    try:
        call_command("migrate", verbosity=0)
        bench = Bench()
        try:
            _all(bench)
        finally:
            bench.close()
    except Mismatch as mismatch:
        print(mismatch, file=sys.stderr)
        return 1
    finally:
        stage.pytest_unconfigure()
    return 0


if __name__ == "__main__":
    sys.exit(main())
