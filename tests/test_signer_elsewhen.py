"""Sessions over processes and over time: another sealing key, two processes at once, another clock, a day later."""

import time
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import pytest

from signing.models import SignerSession
from signing.pm.orchestrator_info import parse_orchestrator_info
from signing.signer.database import Database
from tests.held_chain import HeldChain
from tests.held_line import held_line
from tests.signer_stage import Answer, Client, Stage, execute, offer, rows, running_signer, wallet

pytestmark = pytest.mark.django_db(transaction=True)
CREDIT = 10**11
OLD_KEY, NEW_KEY = "the-old-" * 8, "the-new-" * 8
DAY_SECONDS = 86_400


def fixed(**members: Any) -> dict[str, Any]:
    return {"orchestrator": offer(price=(9 * 10**11, 1)), "type": "fixed", **members}


def follow_up(first: Answer, **members: Any) -> dict[str, Any]:
    return fixed(state=first.json["state"], ManifestID="m", **members)


# -- The key that seals states -----------------------------------------------------------------------------------------


@contextmanager
def sealing(key: str, *also: str) -> Iterator[Stage]:
    with running_signer(SECRET_KEY=key, SECRET_KEY_FALLBACKS=list(also)) as stage:
        yield stage


def test_sessions_go_on_over_every_step_of_a_change_of_the_sealing_key() -> None:
    """As the settings page says it: known to all, then sealing at one after the other, then the old one forgotten."""
    with ExitStack() as running:
        before = running.enter_context(sealing(OLD_KEY, NEW_KEY))
        after = running.enter_context(sealing(NEW_KEY, OLD_KEY))
        gateway, owner = before.gateway(dollars_nano=CREDIT)
        here, there = gateway, Client(after.url, gateway.key)
        answer = here.pay(**fixed())
        untouched = answer.json["state"]
        for client in (there, here, there):
            request = follow_up(answer)
            answer = client.pay(**request)
            assert answer.status == 200, answer.body
            # Its answer was lost: the other process, which seals with another key, gives it again.
            assert {each.pay(**request).body for each in (here, there)} == {answer.body}
        assert len(rows(owner)) == 4
        with sealing(NEW_KEY) as last:
            client = Client(last.url, gateway.key)
            assert client.pay(**follow_up(answer)).status == 200
            assert client.pay(**fixed(state=untouched, ManifestID="m")).code == "invalid_sig"
        assert len(rows(owner)) == 5


# -- Two processes at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["question", "answer"])
@pytest.mark.parametrize("is_new", [True, False], ids=["opening", "follow-up"])
def test_a_request_that_is_still_being_committed_elsewhere_gets_one_answer_at_both(
    what: Literal["question", "answer"], is_new: bool
) -> None:
    chain = HeldChain()
    with (
        held_line() as line,
        running_signer(chain, database_port=line.port) as slow,
        running_signer(chain) as quick,
        ThreadPoolExecutor(1) as pool,
    ):
        gateway, owner = slow.gateway(dollars_nano=CREDIT)
        request = fixed() if is_new else follow_up(gateway.pay(**fixed()))
        rand_hash = parse_orchestrator_info(b64decode(request["orchestrator"])).ticket_params.recipient_rand_hash
        held = line.hold(what, rand_hash, rand_hash.hex().encode())
        first = pool.submit(gateway.pay, **request)
        assert held.wait(5)
        second = Client(quick.url, gateway.key).pay(**request)
        line.let_go()
        assert (second.status, first.result().status) == (200, 200)
        assert first.result().body == second.body
        assert len(rows(owner)) == (1 if is_new else 2)


# -- Clocks ------------------------------------------------------------------------------------------------------------


def test_processes_whose_clocks_differ_a_little_never_move_a_session_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of a second is within what a commit may take: the first signer stands that far in the future."""
    databases: list[Database] = []
    measure = Database.measure_clock

    async def mismeasure(database: Database) -> None:
        await measure(database)
        databases.append(database)
        if database is databases[0]:
            database._offset_ns = (database._offset_ns or 0) + 330_000_000

    monkeypatch.setattr(Database, "measure_clock", mismeasure)
    with running_signer() as ahead, running_signer(ahead.chain) as exact:
        gateway, owner = ahead.gateway(dollars_nano=CREDIT)
        clients = [gateway, Client(exact.url, gateway.key)]
        answer, times, of_the_future = clients[0].pay(**fixed()), [], 0
        for turn in range(1, 9):
            answer = clients[turn % 2].pay(**follow_up(answer))
            assert answer.status == 200, answer.body
            times.append(SignerSession.objects.get(customer=owner).last_update)
            of_the_future += times[-1].timestamp() > time.time()
        assert times == sorted(times)
        assert of_the_future, "the clocks did not differ"
        # Time that has not passed yet is no elapsed time, and no opening payment either.
        statuses = set()
        for _ in range(4):
            live = {"type": "live", "ManifestID": "m"}
            opened = clients[0].pay(orchestrator=offer(price=(9 * 10**11, 1)), **live)
            early = clients[1].pay(orchestrator=offer(price=(9 * 10**11, 1)), state=opened.json["state"], **live)
            statuses.add(early.status)
            # What the first signer answered in the second one's future is answered again there, and is no 482.
            later = {"orchestrator": offer(price=(9 * 10**11, 1)), "state": opened.json["state"], **live}
            paid = clients[0].pay(**later)
            assert (paid.status, clients[1].pay(**later).body) == (200, paid.body)
        assert 482 in statuses
        assert [row["billed_units"] for row in rows(owner) if row["kind"] == "live"].count(10) == 4


# -- Later -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "code"), [(60, "total_ev_too_high"), (150, "too_many_tickets")])
def test_a_lost_answer_comes_again_although_the_time_since_then_could_not_be_paid_any_more(
    seconds: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second costs a ticket: what one payment may hold is over long before the ticket parameters are."""
    right = Database.now_ns
    with running_signer() as stage:
        gateway, owner = stage.gateway(dollars_nano=CREDIT)
        dear = {"type": "live", "ManifestID": "m"}
        opened = gateway.pay(orchestrator=offer(price=(10**12, 1)), **dear)
        request = {"orchestrator": offer(price=(10**12, 1)), "state": opened.json["state"], **dear}
        lost = gateway.pay(**request)
        monkeypatch.setattr(Database, "now_ns", lambda database: right(database) + seconds * 10**9)
        assert gateway.pay(**request).body == lost.body
        renewed = gateway.pay(**{**request, "orchestrator": offer(price=(10**12, 1))})
        assert (renewed.status, renewed.json["payment"]) == (200, lost.json["payment"])
        assert gateway.pay(**{**request, "state": lost.json["state"]}).code == code
        assert len(rows(owner)) == 2


def a_day_passes() -> None:
    day = "interval '1 day'"
    execute(f"UPDATE signing_session SET last_update = last_update - {day}, opened_at = opened_at - {day}")


def test_a_session_left_for_a_day_is_charged_the_day_once_and_goes_on() -> None:
    with running_signer() as stage:
        gateway, owner = stage.gateway(dollars_nano=CREDIT)
        cheap = {"type": "live", "ManifestID": "m"}
        first = gateway.pay(orchestrator=offer(price=(10**8, 1)), **cheap)
        a_day_passes()
        request = {"orchestrator": offer(price=(10**8, 1)), "state": first.json["state"], **cheap}
        second = gateway.pay(**request)
        assert second.status == 200, second.body
        assert gateway.pay(**request).body == second.body
        opened, day = rows(owner)
        assert opened["billed_units"] == 10
        assert DAY_SECONDS < day["billed_units"] < DAY_SECONDS + 60
        assert len(second.nonces) == day["tickets"] == 8  # a ticket is worth 10,000 seconds; the first left 9,990
        assert second.state["SequenceNumber"] == 1
        later = gateway.pay(orchestrator=offer(price=(10**8, 1)), state=second.json["state"], **cheap)
        assert (later.status, rows(owner)[-1]["tickets"]) == (200, 1)
        assert rows(owner)[-1]["billed_units"] < 60


def test_a_day_that_takes_more_tickets_than_a_payment_holds_ends_the_session_and_moves_nothing() -> None:
    with running_signer() as stage:
        gateway, owner = stage.gateway(dollars_nano=CREDIT)
        dear = {"type": "live", "ManifestID": "m"}
        first = gateway.pay(orchestrator=offer(price=(10**10, 1)), **dear)
        a_day_passes()
        before, money = SignerSession.objects.values().get(customer=owner), wallet(owner)
        given = offer(price=(10**10, 1))
        refused = gateway.pay(orchestrator=given, state=first.json["state"], **dear)
        assert (refused.status, refused.code) == (400, "too_many_tickets")
        assert (SignerSession.objects.values().get(customer=owner), wallet(owner)) == (before, money)
        assert gateway.pay(orchestrator=given, **dear).status == 200
        assert len(rows(owner)) == 2
