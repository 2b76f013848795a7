"""What the database refuses only when it commits was not paid, whatever the statement had answered before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.conf import settings

from signing.signer.database import Database
from tests.line_stage import with_a_database
from tests.signer_stage import Stage, execute, offer, rows, wallet

pytestmark = pytest.mark.django_db(transaction=True)
CREDIT = 10**12
OTHER_DEFAULTS = "-c default_transaction_isolation=serializable -c synchronous_commit=off"
SETTINGS = "SELECT current_setting('transaction_isolation') || ' ' || current_setting('synchronous_commit')"


@contextmanager
def refused_at_the_end() -> Iterator[None]:
    """Every payment is taken, and its transaction fails when it is to be committed."""
    execute(
        "CREATE FUNCTION refuse_late() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'late' USING ERRCODE = 'check_violation'; END $$"
    )
    execute(
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON signing_payment DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION refuse_late()"
    )
    try:
        yield
    finally:
        execute("DROP TRIGGER late ON signing_payment")
        execute("DROP FUNCTION refuse_late()")


@pytest.mark.parametrize("payments", [1, 12])
def test_a_commit_that_fails_at_its_end_lets_no_ticket_leave(stage: Stage, payments: int) -> None:
    gateway, owner = stage.gateway(dollars_nano=CREDIT)
    requests = [{"orchestrator": offer(), "type": "fixed"} for _ in range(payments)]
    with refused_at_the_end():
        answers = gateway.pay_all(requests)
    assert {(answer.status, answer.code) for answer in answers} == {(503, "not_committed")}
    assert rows(owner) == []
    assert wallet(owner) == CREDIT

    again = gateway.pay_all(requests)
    assert {answer.status for answer in again} == {200}
    assert len(rows(owner)) == payments


def test_the_line_tells_an_error_that_follows_an_answer_and_goes_on() -> None:
    execute("CREATE TABLE late_check (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)")

    async def story(database: Database) -> None:
        twice = b"INSERT INTO late_check VALUES (1), ($1::int) RETURNING 'taken'"
        for _ in range(2):
            with pytest.raises(psycopg.errors.UniqueViolation):
                await database.ask(twice, "1")
        assert await database.ask(twice, "2") == b"taken"
        assert await database.fetch("SELECT count(*) FROM late_check") == [(2,)]

    try:
        with_a_database(story)
    finally:
        execute("DROP TABLE late_check")


def test_other_defaults_of_a_role_neither_hide_what_others_committed_nor_answer_before_the_disk_has_it() -> None:
    given: dict[str, Any] = settings.DATABASES["default"]

    async def story(database: Database) -> None:
        assert await database.ask(SETTINGS.encode()) == b"read committed on"
        assert await database.fetch(SETTINGS) == [("read committed on",)]

    with_a_database(story, OPTIONS={**given["OPTIONS"], "options": OTHER_DEFAULTS})
