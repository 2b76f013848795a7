"""Several sender keys: a customer stays with one, the newest takes the new ones, and a move ends old sessions."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection

from accounts.models import AuditEntry
from signing import sender_keys
from signing.models import SenderPin
from signing.pm.ceilings import SenderFunds
from signing.signer.keystore import SigningKey
from signing.signer.web3signer import Web3Signer
from tests import builders, standin_web3signer
from tests.held_chain import ETHER, HeldChain
from tests.sender_cast import FIRST, SECOND, THIRD, text_of
from tests.signer_stage import Client, Stage, check_tickets, offer, rows, running_signer

pytestmark = pytest.mark.django_db(transaction=True)
FUNDS = SenderFunds(deposit_wei=ETHER, reserve_wei=ETHER, withdraw_round=0)


@contextmanager
def signer_of(*keys: SigningKey, chain: HeldChain | None = None) -> Iterator[Stage]:
    """A signer that holds these keys, all of them funded."""
    if chain is None:
        chain = HeldChain()
        assert chain.current
        chain.current = replace(chain.current, other_funds={text_of(key): FUNDS for key in (FIRST, SECOND, THIRD)})
    with running_signer(chain, key=keys[0], more_keys=keys[1:]) as stage:
        yield stage


def opening(**changes: Any) -> dict[str, Any]:
    return {"orchestrator": offer(price=(9 * 10**11, 1)), "type": "fixed", "ManifestID": "m", **changes}


def sender_of(client: Client) -> str:
    """Who the customer is told to introduce itself as."""
    return str(client.request("POST", "/sign-orchestrator-info").json["address"])


def until(holds: Any) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_rows_the_first_key_signs_for_everybody() -> None:
    with signer_of(FIRST, SECOND) as stage:
        client, owner = stage.gateway()
        assert sender_of(client) == FIRST.checksum_address
        check_tickets(client.pay(**opening()).payment, FIRST.checksum_address)
        assert SenderPin.objects.get().customer == owner


def test_new_customers_pay_by_the_newest_key_and_old_ones_stay() -> None:
    with signer_of(FIRST, SECOND) as stage:
        old, _ = stage.gateway()
        assert sender_of(old) == FIRST.checksum_address
        sender_keys.register(FIRST.checksum_address)
        sender_keys.register(SECOND.checksum_address)
        between, _ = stage.gateway()
        assert sender_of(between) == FIRST.checksum_address
        sender_keys.rotate_to(SECOND.checksum_address)
        new, owner = stage.gateway()
        answer = new.pay(**opening())
        check_tickets(answer.payment, SECOND.checksum_address)
        assert answer.payment.sender == SECOND.address
        assert sender_of(new) == SECOND.checksum_address
        assert {sender_of(client) for client in (old, between)} == {FIRST.checksum_address}
        check_tickets(old.pay(**opening()).payment, FIRST.checksum_address)
        assert rows(owner)[0]["tickets"] == len(answer.nonces)
        # Back to the first one, for those who come next.
        sender_keys.rotate_to(FIRST.checksum_address)
        assert sender_of(stage.gateway()[0]) == FIRST.checksum_address
        assert sender_of(new) == SECOND.checksum_address


def test_a_customer_has_one_sender_at_every_signer_however_many_ask_first() -> None:
    """Two signers disagree about their default; only one of them is right."""
    with signer_of(FIRST, SECOND) as here, signer_of(SECOND, FIRST, chain=here.chain) as there:
        for _ in range(5):
            client, owner = here.gateway()
            doors = [client, Client(there.url, client.key)] * 6
            start = threading.Barrier(len(doors))
            told: list[str] = []

            def ask(door: Client, start: threading.Barrier = start, told: list[str] = told) -> None:
                start.wait()
                told.append(sender_of(door))

            askers = [threading.Thread(target=ask, args=(door,)) for door in doors]
            for asker in askers:
                asker.start()
            for asker in askers:
                asker.join()
            assert len(told) == len(doors)
            assert len(set(told)) == 1
            assert SenderPin.objects.get(customer=owner).address == told[0].lower()


def test_a_signer_without_the_customers_key_says_so_for_now() -> None:
    with signer_of(FIRST) as here, signer_of(SECOND, chain=here.chain) as there:
        client, owner = here.gateway()
        assert client.pay(**opening()).status == 200
        answer = Client(there.url, client.key).pay(**opening())
        assert (answer.status, answer.code) == (503, "sender_key_missing")
        assert len(rows(owner)) == 1


def test_a_key_that_was_registered_and_not_activated_takes_nobody() -> None:
    sender_keys.register(FIRST.checksum_address)
    sender_keys.register(SECOND.checksum_address)
    with signer_of(SECOND) as stage:
        client, owner = stage.gateway()
        answer = client.pay(**opening())
        assert (answer.status, answer.code) == (503, "no_sender_key")
        sender_keys.rotate_to(SECOND.checksum_address)
        assert client.pay(**opening()).status == 200
        assert len(rows(owner)) == 1


def test_each_sender_pays_from_its_own_deposit() -> None:
    with signer_of(FIRST, SECOND) as stage:
        clients = [stage.gateway()[0] for _ in range(2)]
        sender_keys.register(FIRST.checksum_address)
        assert clients[0].pay(**opening()).status == 200
        sender_keys.register(SECOND.checksum_address)
        sender_keys.rotate_to(SECOND.checksum_address)
        assert clients[1].pay(**opening()).status == 200
        empty = SenderFunds(deposit_wei=0, reserve_wei=0, withdraw_round=0)
        stage.chain.change(other_funds={text_of(SECOND): empty})
        assert clients[0].pay(**opening()).status == 200
        assert clients[1].pay(**opening()).status == 503
        stage.chain.change(other_funds={})
        refused = clients[1].pay(**opening())
        assert (refused.status, refused.code) == (503, "sender_unread")


def test_nonces_of_two_senders_do_not_meet() -> None:
    shared = offer(price=(9 * 10**11, 1))
    with signer_of(FIRST, SECOND) as stage:
        first, _ = stage.gateway()
        a = first.pay(**opening(orchestrator=shared))
        sender_keys.register(FIRST.checksum_address)
        sender_keys.register(SECOND.checksum_address)
        sender_keys.rotate_to(SECOND.checksum_address)
        second, _ = stage.gateway()
        b = second.pay(**opening(orchestrator=shared))
        assert a.nonces[0] == b.nonces[0] == 1
        assert first.pay(**opening(orchestrator=shared, ManifestID="n")).nonces[0] == a.nonces[-1] + 1


def test_a_local_and_a_remote_key_serve_side_by_side() -> None:
    with (
        standin_web3signer.running(b"\x5e" * 32) as server,
        signer_of(FIRST, *Web3Signer(server.url).keys()) as stage,
    ):
        local, _ = stage.gateway()
        assert sender_of(local) == FIRST.checksum_address
        sender_keys.register(SECOND.checksum_address)
        sender_keys.rotate_to(SECOND.checksum_address)
        remote, _ = stage.gateway()
        check_tickets(remote.pay(**opening()).payment, SECOND.checksum_address)
        server.manner = "silent"
        started = time.monotonic()
        asking = threading.Thread(target=remote.pay, kwargs=opening())
        asking.start()
        assert all(local.pay(**opening()).status == 200 for _ in range(5))
        assert time.monotonic() - started < 0.9, "a key that hangs must not hold up another one"
        asking.join()


def test_a_moved_customer_starts_again_and_is_charged_once_for_everything() -> None:
    with signer_of(FIRST, SECOND) as here, signer_of(FIRST, SECOND, chain=here.chain) as there:
        client, owner = here.gateway()
        first = client.pay(**opening())
        sender_keys.register(FIRST.checksum_address)
        sender_keys.register(SECOND.checksum_address)
        assert sender_keys.move(owner, to=SECOND.checksum_address)
        assert not sender_keys.move(owner, to=SECOND.checksum_address)
        doors = [client, Client(there.url, client.key)]
        for door in doors:
            until(lambda door=door: sender_of(door) == SECOND.checksum_address)
        paid = len(rows(owner))
        for door in doors:
            ended = door.pay(**opening(state=first.json["state"]))
            assert (ended.status, ended.code) == (400, "sender_changed")
        assert len(rows(owner)) == paid
        again = client.pay(**opening())
        check_tickets(again.payment, SECOND.checksum_address)
        follow = doors[1].pay(**opening(state=again.json["state"]))
        assert follow.status == 200, follow.body
        check_tickets(follow.payment, SECOND.checksum_address)


def test_an_answer_lost_before_the_move_is_still_given() -> None:
    with signer_of(FIRST, SECOND) as stage:
        client, owner = stage.gateway()
        request = opening()
        opened = client.pay(**request)
        follow = opening(state=opened.json["state"])
        lost = client.pay(**follow)
        sender_keys.register(SECOND.checksum_address)
        sender_keys.move(owner, to=SECOND.checksum_address)
        until(lambda: sender_of(client) == SECOND.checksum_address)
        assert client.pay(**follow).body == lost.body
        assert len(rows(owner)) == 2


def test_a_move_is_written_down_and_goes_to_registered_keys_only() -> None:
    owner = builders.customer()
    with pytest.raises(sender_keys.UnknownSender):
        sender_keys.move(owner, to=SECOND.checksum_address)
    assert not SenderPin.objects.exists()
    sender_keys.register(SECOND.checksum_address)
    sender_keys.move(owner, to=SECOND.checksum_address.upper().replace("0X", "0x"))
    entry = AuditEntry.objects.get(action="sender_key.customer_moved")
    assert (entry.customer, entry.after) == (owner, {"sender": text_of(SECOND)})


def test_a_pin_is_decided_once() -> None:
    owner = builders.customer()
    told = []
    for key in (FIRST, SECOND):
        with connection.cursor() as cursor:
            cursor.execute("SELECT signing_pin_sender(%s, %s)", [owner.pk, [text_of(key)]])
            told.append(cursor.fetchone()[0])
    assert told == [text_of(FIRST)] * 2
