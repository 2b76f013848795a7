"""A customer's first money arrives while payments of his are being committed: it is judged as any other."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from tests import builders
from tests.asked_payments import Account, Row, commit
from tests.signer_stage import execute

pytestmark = pytest.mark.django_db(transaction=True)
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def committed_aside(payments: list[Row]) -> list[str]:
    try:
        return commit(payments)
    finally:
        connection.close()


def wait_until_somebody_waits() -> None:
    deadline = time.monotonic() + 20
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        while cursor.fetchone() != (1,):
            assert time.monotonic() < deadline
            time.sleep(0.01)
            cursor.execute(WAITING)


@pytest.mark.parametrize("others", [0, 1, 4])
def test_fresh_money_that_comes_between_the_locks_and_the_debit_is_under_its_caps(others: int) -> None:
    newcomer, known = Account(0), Account(others)
    payment = newcomer.opening()
    with ThreadPoolExecutor(1) as aside:
        with transaction.atomic():
            execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s || %s, 0))",
                payment["sender"],
                payment["rand_hash"].hex(),
            )
            told = aside.submit(committed_aside, [payment, *(known.opening() for _ in range(others))])
            wait_until_somebody_waits()
            with ThreadPoolExecutor(1) as provider:
                provider.submit(first_card_money, newcomer).result()
        assert told.result() == ["velocity", *["committed"] * others]


def first_card_money(account: Account) -> None:
    try:
        builders.credit(account.owner, 10**12, reference="first", aged_at=datetime.now(UTC) + timedelta(days=7))
    finally:
        connection.close()
