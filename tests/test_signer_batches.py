"""Many payments in one call of the database: each has the outcome it would have alone, and the books agree."""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection

from accounts.models import Customer
from signing import activity
from signing.models import SignerSession
from tests import signer_stage
from tests.asked_payments import Account, Row, commit, follow_up
from tests.signer_stage import COST

pytestmark = pytest.mark.django_db(transaction=True)


def plain() -> list[Row]:
    one, other = Account(10), Account(10)
    opened = [one.opening(), other.opening(), one.opening()]
    return [*opened, one.opening(tickets=3, cost_wei=str(3 * COST)), other.opening()]


def with_follow_ups() -> list[Row]:
    account = Account(20)
    opened = [account.opening() for _ in range(5)]
    assert commit(opened) == ["committed"] * 5
    return [follow_up(row) for row in opened]


def with_the_next_nonces_of_the_same_ticket_params() -> list[Row]:
    account = Account(20)
    opened = [account.opening() for _ in range(4)]
    assert commit(opened) == ["committed"] * 4
    return [
        follow_up(row, rand_hash=row["rand_hash"], first_nonce=first)
        for row, first in zip(opened, (2, 3, 1, 2), strict=True)
    ]


def with_a_session_twice() -> list[Row]:
    account = Account(20)
    opened = [account.opening() for _ in range(4)]
    assert commit(opened) == ["committed"] * 4
    next_rows = [follow_up(row) for row in opened]
    return [*next_rows, follow_up(next_rows[0]), next_rows[1], follow_up(opened[2])]


def with_more_than_the_wallet_holds() -> list[Row]:
    poor, rich = Account(2), Account(10)
    return [poor.opening(), rich.opening(), poor.opening(), poor.opening(), rich.opening()]


def with_one_opening_twice() -> list[Row]:
    account, other = Account(10), Account(10)
    again = account.opening()
    return [again, other.opening(), {**again, "session": uuid.uuid4().bytes}, account.opening(), other.opening()]


def with_shared_ticket_params() -> list[Row]:
    account, other = Account(10), Account(10)
    shared = os.urandom(32)
    used = account.opening()
    assert commit([used]) == ["committed"]
    return [
        account.opening(rand_hash=shared),
        other.opening(rand_hash=shared, first_nonce=2),
        account.opening(rand_hash=shared, first_nonce=2),
        other.opening(rand_hash=used["rand_hash"]),
        other.opening(rand_hash=used["rand_hash"], first_nonce=2),
    ]


def with_ticket_params_of_two_senders() -> list[Row]:
    account, other = Account(10), Account(10)
    opened = [account.opening(), account.opening(sender="0x" + "cd" * 20, first_nonce=7), other.opening()]
    assert commit(opened) == ["committed"] * 3
    shared, of_another = opened[0]["rand_hash"], opened[1]["rand_hash"]
    return [
        follow_up(opened[0], rand_hash=of_another),
        follow_up(opened[1], rand_hash=shared, first_nonce=1),
        follow_up(opened[2], rand_hash=of_another, first_nonce=1),
        other.opening(rand_hash=of_another, first_nonce=2),
    ]


def with_every_refusal() -> list[Row]:
    account, frozen, revoked, other, empty = Account(10), Account(10), Account(10), Account(10), Account(0)
    late, looking, good = Account(10), Account(10), Account(10)
    opened = account.opening()
    assert commit([opened]) == ["committed"]
    Customer.objects.filter(pk=frozen.owner.pk).update(status="frozen")
    signer_stage.execute("UPDATE accounts_apikey SET revoked_at = now() WHERE id = %s", revoked.key.pk)
    return [
        frozen.opening(),
        revoked.opening(),
        empty.opening(),
        follow_up(other.opening()),
        late.opening(at=int(time.time() * 1_000_000) - 10_000_000),
        follow_up(opened, sender="0x" + "cd" * 20),
        looking.opening(tickets=0),
        good.opening(),
    ]


@pytest.mark.parametrize(
    "situation",
    [
        plain,
        with_follow_ups,
        with_the_next_nonces_of_the_same_ticket_params,
        with_a_session_twice,
        with_more_than_the_wallet_holds,
        with_one_opening_twice,
        with_shared_ticket_params,
        with_ticket_params_of_two_senders,
        with_every_refusal,
    ],
)
def test_a_payment_has_the_outcome_in_a_batch_that_it_has_alone(situation: Callable[[], list[Row]]) -> None:
    together = commit(situation())
    alone = [outcome for row in situation() for outcome in commit([row])]
    assert together == alone
    check_the_books()


def test_a_batch_notes_from_where_each_session_was_opened_and_paid_last() -> None:
    account = Account(20)
    opened = [account.opening(client_ip=f"203.0.113.{n}", user_agent=f"opens/{n}") for n in range(5)]
    assert commit(opened) == ["committed"] * 5
    later = [
        follow_up(row, client_ip=f"198.51.100.{n}", user_agent=f"pays/{n}", gateway_request_id=f"job-{n}")
        for n, row in enumerate(opened)
    ]
    assert commit(later) == ["committed"] * 5
    found = SignerSession.objects.values_list(
        "client_ip", "user_agent", "last_client_ip", "last_user_agent", "gateway_request_id"
    )
    assert set(found) == {
        (f"203.0.113.{n}", f"opens/{n}", f"198.51.100.{n}", f"pays/{n}", f"job-{n}") for n in range(5)
    }


def test_whatever_was_written_before_a_batch_fetches_each_row_by_its_key() -> None:
    accounts = [Account(20) for _ in range(4)]
    opened = [account.opening() for account in accounts]
    assert commit(opened) == ["committed"] * 4
    plans: list[dict[str, Any]] = []
    with connection.cursor() as cursor:
        cursor.execute(
            "LOAD 'auto_explain'; SET auto_explain.log_level = notice; SET auto_explain.log_nested_statements = on;"
            " SET auto_explain.log_format = json; SET auto_explain.log_min_duration = 0"
        )
    try:
        connection.connection.add_notice_handler(lambda notice: plans.append(_plan(notice.message_primary)))
        assert commit([*map(follow_up, opened), *(account.opening() for account in accounts)]) == ["committed"] * 8
    finally:
        connection.close()
    looks = [node for plan in plans for node in _nodes(plan) if "Scan" in node["Node Type"] and "Relation Name" in node]
    assert {"signing_payment", "signing_session", "billing_wallet", "accounts_apikey"} <= {
        node["Relation Name"] for node in looks
    }
    for node in looks:
        assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), node
        assert node["Relation Name"] == "billing_budget" or "Filter" not in node, json.dumps(node)


def test_the_database_itself_takes_no_nonce_of_a_sender_twice() -> None:
    account = Account(10)
    row = account.opening()
    assert commit([row]) == ["committed"]
    again = "INSERT INTO signing_payment SELECT (jsonb_populate_record(p, '{\"id\": 7}')).* FROM signing_payment p"
    with pytest.raises(IntegrityError, match="payment_by_ticket_params"):
        signer_stage.execute(again)
    with pytest.raises(IntegrityError, match="INSERT of signing_nonce refused"):
        signer_stage.execute("INSERT INTO signing_nonce VALUES (%s, %s, 1)", row["sender"], row["rand_hash"])


def test_payments_of_before_with_numbers_of_their_own_are_found_by_their_charges() -> None:
    account = Account(10)
    first = account.opening()
    second = follow_up(first)
    for row in (first, second, follow_up(second), account.opening()):
        assert commit([row]) == ["committed"]
    signer_stage.execute(
        "SET session_replication_role = replica;"
        # The last payment's number is nobody's charge, and that of the one before is the last one's.
        " UPDATE signing_payment SET id = id + 1000 WHERE id ="
        " (SELECT max(id) FROM signing_payment WHERE session_id = %s);"
        " UPDATE signing_payment SET id = id + 1 WHERE id ="
        " (SELECT max(id) FROM signing_payment WHERE session_id = %s AND id = usage_id);"
        " SET session_replication_role = DEFAULT",
        uuid.UUID(bytes=first["session"]),
        uuid.UUID(bytes=first["session"]),
    )
    lines = activity.payments(account.owner.pk, uuid.UUID(bytes=first["session"]))
    assert [line.payment.usage_id for line in lines] == [line.charge.id for line in lines]
    assert [line.payment.id - line.charge.id for line in lines] == [1000, 1, 0]


def _plan(notice: str) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(notice[notice.index("{") :])["Plan"]
    return plan


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def check_the_books() -> None:
    """Wallets fell by the charges, every charge has its payment, sessions stand where their last payment does, and no
    nonce is in two payments."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT sum(amount_nano_usd) FROM billing_walletentry) - (SELECT sum(charge_nano_usd)"
            " FROM billing_usage) - (SELECT sum(available_nano_usd) FROM billing_wallet),"
            " (SELECT count(*) FROM billing_usage u FULL JOIN signing_payment p ON p.usage_id = u.id"
            " WHERE (p.customer_id, p.session_id, p.tickets) IS DISTINCT FROM (u.customer_id, u.source, u.quantity)),"
            " (SELECT count(*) FROM signing_session s JOIN LATERAL (SELECT * FROM signing_payment p"
            " WHERE p.session_id = s.id ORDER BY id DESC LIMIT 1) p ON true"
            " WHERE (s.sender_nonce, s.recipient_rand_hash)"
            " IS DISTINCT FROM (p.first_nonce + p.tickets - 1, p.recipient_rand_hash)),"
            " (SELECT count(*) FROM signing_payment p JOIN signing_payment q"
            " ON q.sender = p.sender AND q.recipient_rand_hash = p.recipient_rand_hash AND q.id <> p.id"
            " AND q.first_nonce BETWEEN p.first_nonce AND p.first_nonce + p.tickets - 1)"
        )
        assert cursor.fetchone() == (0, 0, 0, 0)
