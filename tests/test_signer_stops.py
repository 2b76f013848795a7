"""The kill switch: what staff stopped is refused by every signer, and nothing of it is signed or charged."""

import time
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction

from accounts.models import ApiKey, AuditEntry, Customer
from signing import stops
from signing.models import Stop
from signing.pm.orchestrator_info import parse_orchestrator_info
from signing.signer.keystore import Keystore
from tests import builders
from tests.held_chain import KEY, RECIPIENT
from tests.held_line import held_line
from tests.signer_stage import Answer, Client, Stage, offer, rows, running_signer, wallet

pytestmark = pytest.mark.django_db(transaction=True)
CREDIT = 10**12
OUR_SENDER = "0x" + Keystore(KEY).address.hex()


def until(pay: Callable[[], Answer], status: int, *, since: float = 0.0) -> Answer:
    """The first answer with this status; it has to come within two seconds (of now, or `since` the given moment)."""
    deadline = (since or time.monotonic()) + 2
    while (answer := pay()).status != status:
        assert time.monotonic() < deadline, answer.body
        time.sleep(0.01)
    return answer


def pays(client: Client) -> Callable[[], Answer]:
    return lambda: client.pay(orchestrator=offer(price=(1, 1)), type="fixed")


def subject_of(scope: str, owner: Customer) -> str:
    key = ApiKey.objects.get(customer=owner)
    return {
        "all": "",
        "customer": str(owner.pk),
        "api_key": str(key.pk),
        "recipient": "0x" + RECIPIENT.hex(),
        "sender": OUR_SENDER,
    }[scope]


@pytest.mark.parametrize(
    ("scope", "status", "code", "spares_others"),
    [
        ("all", 503, "signing_stopped", False),
        ("sender", 503, "signing_stopped", False),
        ("customer", 402, "account_frozen", True),
        ("api_key", 402, "account_frozen", True),
        ("recipient", 403, "recipient_stopped", False),
    ],
)
def test_what_is_stopped_is_refused_until_the_stop_is_lifted(
    scope: str, status: int, code: str, spares_others: bool
) -> None:
    """By both of two signers, each of which learns it by itself."""
    staff = builders.user()
    with running_signer() as stage, running_signer(stage.chain) as second:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        other, _ = stage.gateway(dollars_nano=CREDIT)
        both = [client, Client(second.url, client.key)]
        assert [pays(each)().status for each in both] == [200, 200]
        stop = stops.throw(scope=scope, subject=subject_of(scope, owner), reason="drill", user=staff)
        thrown_at = time.monotonic()
        for each in both:
            answer = until(pays(each), status, since=thrown_at)
            assert answer.code == code
            assert ("retry-after" in answer.headers) == (status == 503)
        before = (wallet(owner), len(rows(owner)))
        assert {pays(each)().status for _ in range(3) for each in both} == {status}
        assert (wallet(owner), len(rows(owner))) == before
        assert pays(other)().status == (200 if spares_others else status)
        assert stops.lift(stop, user=staff)
        lifted_at = time.monotonic()
        for each in both:
            assert until(pays(each), 200, since=lifted_at).nonces == [1]


@pytest.mark.parametrize("scope", ["customer", "api_key", "recipient", "sender"])
def test_a_stop_of_somebody_else_stops_nobody(scope: str) -> None:
    staff = builders.user()
    with running_signer() as stage:
        client, _ = stage.gateway(dollars_nano=CREDIT)
        _, other = stage.gateway(dollars_nano=CREDIT)
        subject = subject_of(scope, other) if scope in {"customer", "api_key"} else "0x" + "77" * 20
        stops.throw(scope=scope, subject=subject, reason="drill", user=staff)
        deadline = time.monotonic() + 1.3
        while time.monotonic() < deadline:
            assert pays(client)().status == 200
            time.sleep(0.05)


def test_a_session_lives_through_a_stop_of_all_signing_and_is_charged_once(stage: Stage) -> None:
    staff = builders.user()
    client, owner = stage.gateway(dollars_nano=CREDIT)
    first = client.pay(orchestrator=offer(), type="fixed")
    follow_up = {"orchestrator": offer(), "type": "fixed", "ManifestID": "m", "state": first.json["state"]}
    lost = client.pay(**follow_up)
    stop = stops.throw(scope="all", subject="", reason="drill", user=staff)
    until(lambda: client.pay(**follow_up), 503)
    stops.lift(stop, user=staff)
    again = until(lambda: client.pay(**follow_up), 200)
    assert again.body == lost.body
    assert len(rows(owner)) == 2


def test_a_payment_whose_commit_was_slow_does_not_leave_after_a_stop() -> None:
    staff = builders.user()
    with held_line() as line, running_signer(database_port=line.port) as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        asked: dict[str, Any] = {"orchestrator": offer(), "type": "fixed"}
        rand_hash = parse_orchestrator_info(b64decode(asked["orchestrator"])).ticket_params.recipient_rand_hash
        held = line.hold("answer", rand_hash, rand_hash.hex().encode())
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(client.pay, **asked)
            assert held.wait(5)
            stop = stops.throw(scope="all", subject="", reason="an incident", user=staff)
            time.sleep(1.2)  # so old grows what the payment knew of stops
            line.let_go()
            assert (slow.result().status, slow.result().code) == (503, "signing_stopped")
        left = wallet(owner)
        assert left < CREDIT
        assert stops.lift(stop, user=staff)
        assert until(lambda: client.pay(**asked), 200).nonces == [1]
        assert (wallet(owner), len(rows(owner))) == (left, 1)


@pytest.mark.parametrize("is_new_offer", [False, True])
def test_an_answer_given_again_does_not_leave_after_a_stop_either(is_new_offer: bool) -> None:
    staff = builders.user()
    with held_line() as line, running_signer(database_port=line.port) as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        first = client.pay(orchestrator=offer(), type="fixed")
        asked: dict[str, Any] = {"orchestrator": offer(), "type": "fixed", "ManifestID": "m"}
        asked["state"] = first.json["state"]
        lost = client.pay(**asked)
        assert lost.status == 200
        again = asked | ({"orchestrator": offer()} if is_new_offer else {})
        held = line.hold(
            "answer", parse_orchestrator_info(b64decode(again["orchestrator"])).ticket_params.recipient_rand_hash
        )
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(client.pay, **again)
            assert held.wait(5)
            stop = stops.throw(scope="all", subject="", reason="an incident", user=staff)
            time.sleep(1.2)
            line.let_go()
            assert (slow.result().status, slow.result().code) == (503, "signing_stopped")
        assert stops.lift(stop, user=staff)
        assert until(lambda: client.pay(**again), 200).json["payment"] == lost.json["payment"]
        assert len(rows(owner)) == 2


def test_a_stop_is_thrown_once_and_lifted_once_and_told_both_times() -> None:
    staff, owner = builders.user(), builders.customer()
    stop = stops.throw(scope="customer", subject=str(owner.pk), reason="stolen card", user=staff)
    with pytest.raises(stops.AlreadyStopped):
        stops.throw(scope="customer", subject=str(owner.pk), reason="again", user=staff)
    assert stops.lift(stop, user=staff)
    assert not stops.lift(stop, user=staff)
    noted = AuditEntry.objects.filter(action__startswith="stop.").order_by("id")
    told = [(entry.action, entry.actor, entry.customer) for entry in noted]
    assert told == [("stop.set", staff, owner), ("stop.lifted", staff, owner)]
    assert stops.throw(scope="customer", subject=str(owner.pk), reason="again", user=staff).pk != stop.pk


def test_what_was_stopped_stays_as_it_was_written() -> None:
    staff = builders.user()
    stop = stops.throw(scope="all", subject="", reason="drill", user=staff)
    changes = [
        f"UPDATE signing_stop SET reason = 'x' WHERE id = {stop.pk}",
        f"UPDATE signing_stop SET subject = 'x', lifted_at = now(), lifted_by_id = {staff.pk}",
        "DELETE FROM signing_stop",
    ]
    for change in changes:
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)
    stops.lift(stop, user=staff)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE signing_stop SET lifted_at = NULL, lifted_by_id = NULL")
    with pytest.raises(IntegrityError), transaction.atomic():
        Stop.objects.create(scope="all", subject="x", reason="drill", set_by=staff)
    with pytest.raises(IntegrityError), transaction.atomic():
        Stop.objects.create(scope="customer", subject="", reason="drill", set_by=staff)


@pytest.mark.parametrize("service", ["signer", "worker", "treasury"])
def test_only_the_web_throws_stops_and_it_changes_no_other_column(service: str) -> None:
    # The worker carries out what two people agreed on; prices are among it.
    pricing = [] if service == "worker" else [service]
    with connection.cursor() as cursor:
        for role, statement in [
            (service, "INSERT INTO signing_stop (scope, subject, reason) VALUES ('all', '', 'x')"),
            (service, "UPDATE signing_stop SET lifted_at = now()"),
            *((role, "INSERT INTO signing_priceceiling (scope) VALUES ('global')") for role in pricing),
            *((role, "INSERT INTO billing_markup (reason) VALUES ('x')") for role in pricing),
            ("web", "UPDATE signing_stop SET reason = 'x'"),
            ("web", "UPDATE signing_stop SET subject = 'x'"),
            ("web", "DELETE FROM signing_stop"),
            ("web", "UPDATE signing_priceceiling SET per_units = 2"),
            ("web", "UPDATE billing_markup SET bps = 2"),
            ("web", "DELETE FROM billing_markup"),
        ]:
            cursor.execute(f"SET ROLE clearinghouse_{role}")
            try:
                with pytest.raises(ProgrammingError) as refused:
                    cursor.execute(statement)
            finally:
                cursor.execute("RESET ROLE")
            assert isinstance(refused.value.__cause__, psycopg.errors.InsufficientPrivilege), statement
