"""Which rows one commit of many payments locks: looked at from outside while its transaction is still open."""

from collections.abc import Mapping
from typing import Any

from django.db import connection

from tests.asked_payments import Account, Row, commit

PAYMENTS = 32
_TABLES = ("billing_wallet", "accounts_customer", "accounts_apikey", "billing_ethusdrate", "signing_session")


def of_one_commit(customers: int) -> Mapping[str, float]:
    """Locked rows a payment by table, and ticket parameters; of customers who take turns."""
    from django.conf import settings
    from django.db import transaction
    from psycopg import connect
    from psycopg.conninfo import make_conninfo

    accounts = [Account(10 * PAYMENTS) for _ in range(customers)]
    rows: list[Row] = [accounts[number % customers].opening() for number in range(PAYMENTS)]
    given: dict[str, Any] = settings.DATABASES["default"]
    address = make_conninfo(
        dbname=given["NAME"],
        user=given["USER"],
        password=given["PASSWORD"],
        host=given["HOST"],
        port=given["PORT"],
    )
    with connect(address, autocommit=True) as outside:
        outside.execute("CREATE EXTENSION IF NOT EXISTS pgrowlocks")
        with transaction.atomic():
            assert commit(rows) == ["committed"] * PAYMENTS
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                (pid,) = cursor.fetchone()
            locked = {}
            for table in _TABLES:
                [(found,)] = outside.execute(
                    "SELECT count(*) FROM pgrowlocks(%s) WHERE %s = ANY(pids)", [table, pid]
                ).fetchall()
                locked[table] = round(found / PAYMENTS, 3)
            [(counters,)] = outside.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s", [pid]
            ).fetchall()
            locked["ticket parameters"] = round(counters / PAYMENTS, 3)
            transaction.set_rollback(True)
    return locked
