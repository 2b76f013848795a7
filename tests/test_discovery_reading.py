"""Orchestrators are read with care: hostile answers, slow ones, and names that lead astray."""

import asyncio
import json
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import ProgrammingError, connection, transaction
from pytest_django import Settings

from signing.discovery import reading, refresh
from signing.models import Orchestrator
from tests.discovery_stage import Pages, _sources, folder, introduce, listed, no_chain, node_url, pages, stage
from tests.held_chain import HeldChain
from tests.signer_stage import running_signer
from tests.standin_orchestrator import RECIPIENT

__all__ = ["_sources", "folder", "node_url", "stage"]
pytestmark = pytest.mark.django_db(transaction=True)


def read(url: str, *, allow_private: bool = True) -> reading.Reading:
    (found,) = asyncio.run(reading.read_all([url], introduction=None, allow_private=allow_private))
    return found


def runners_of(page: Pages, *more: dict[str, Any]) -> bytes:
    good = {"url": page.url + "/a", "app": "good", "price_info": {"price": 5, "currency": "wei", "unit": "fixed"}}
    return json.dumps([{"address": page.url, "runners": [*more, good]}]).encode()


def test_runners_alone_make_an_orchestrator_worth_listing(folder: Path, node_url: str, settings: Settings) -> None:
    introduce()
    with pages(folder) as page:
        page.body = runners_of(page)
        settings.ORCHESTRATOR_LIST = [page.url]
        assert refresh.refresh(no_chain) == 1
        row = Orchestrator.objects.get()
        assert row.trouble.startswith("grpc_")
        assert row.info is None
        owner = "0x" + RECIPIENT.hex()
        chain = HeldChain(active_recipients=frozenset({RECIPIENT}), orchestrators=((owner, page.url),))
        with running_signer(chain) as stage:
            gateway, _ = stage.gateway(dollars_nano=0)
            assert listed(gateway, 1, "?caps=good")[0]["capabilities"] == ["good"]


def test_an_orchestrator_without_a_discovery_page_has_no_runners(folder: Path, node_url: str) -> None:
    with pages(folder) as page:
        page.status, page.body = 404, b"404 page not found"
        assert read(page.url).runners == ()


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"status": 500}, "discovery_500"),
        ({"status": 302, "headers": {"Location": "http://169.254.169.254/latest"}}, "discovery_302"),
        ({"status": 301, "headers": {"Location": "/elsewhere"}}, "discovery_301"),
        ({"body": b"<html>"}, "discovery_nonsense"),
        ({"body": b'{"address":"x"}'}, "discovery_nonsense"),
        ({"body": b"[" * 200_000}, "discovery_nonsense"),
        ({"body": b" " * (reading.MOST_BYTES + 1)}, "discovery_too_long"),
        ({"body": b"[]", "headers": {"Content-Length": "abc"}}, "discovery_unreachable"),
        ({"body": b"[]", "headers": {"X": "y" * 100_000}}, "discovery_unreachable"),
        ({"body": b"\x1f\x8b" + b"\0" * 100, "headers": {"Content-Encoding": "gzip"}}, "discovery_nonsense"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_bad_answer_teaches_nothing(folder: Path, node_url: str, changes: dict[str, Any], trouble: str) -> None:
    with pages(folder) as page:
        for name, value in changes.items():
            setattr(page, name, value)
        found = read(page.url)
        assert (found.runners, found.trouble) == (None, f"sender_unknown, {trouble}")
        assert page.asked == ["/discovery"]


def test_an_answer_that_drips_for_ever_ends_in_time(
    folder: Path, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HALF_SECONDS", 0.5)
    with pages(folder) as page:
        page.drip_seconds = 0.05
        started = time.monotonic()
        assert read(page.url).trouble == "sender_unknown, timeout"
        assert time.monotonic() - started < 3


def test_many_dead_addresses_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HALF_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        nobody = reading.Introduction(sender=b"\0" * 20, signature=b"\0" * 65)
        found = asyncio.run(reading.read_all([address] * 64, introduction=nobody, allow_private=True))
        assert {each.trouble for each in found} == {"timeout, timeout"}
        assert time.monotonic() - started < 5


def test_names_that_nobody_answers_for_keep_no_other_from_being_read(
    folder: Path, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HALF_SECONDS", 1.0)
    look_up, over = socket.getaddrinfo, threading.Event()

    def silent(host: str, *given: Any, **named: Any) -> Any:
        if host.endswith(".silent.example"):
            over.wait(30)
        return look_up("127.0.0.1", *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    try:
        with pages(folder) as page:
            port = page.url.rpartition(":")[2]
            wanted = [f"https://n{number}.silent.example:{port}" for number in range(60)] + [
                f"https://orch.example:{port}"
            ]
            started = time.monotonic()
            found = asyncio.run(reading.read_all(wanted, introduction=None, allow_private=True))
            assert time.monotonic() - started < 5
            assert [each.trouble for each in found] == ["timeout"] * 60 + ["sender_unknown"]
    finally:
        over.set()


def test_each_service_may_do_its_part_of_discovery_and_no_more() -> None:
    statements = {
        "list": "SELECT * FROM signing_orchestrator",
        "sources": "SELECT * FROM signing_orchestratorsource",
        "write": "INSERT INTO signing_orchestrator (address, failures, trouble) VALUES ('https://x.example:1', 0, '')",
        "drop": "DELETE FROM signing_orchestrator",
        "introduce": "INSERT INTO signing_senderintroduction VALUES ('0x', '') ON CONFLICT DO NOTHING",
        "introduction": "SELECT * FROM signing_senderintroduction",
        "forge": "UPDATE signing_senderintroduction SET signature = ''",
        "forget": "DELETE FROM signing_senderintroduction",
    }
    allowed = {
        "web": {"list", "sources"},
        "signer": {"list", "introduce"},
        "worker": {"list", "sources", "write", "drop", "introduction"},
        "treasury": set[str](),
    }
    for service, may in allowed.items():
        for name, statement in statements.items():
            with connection.cursor() as cursor, transaction.atomic(), ExitStack() as outcome:
                cursor.execute(f"SET LOCAL ROLE clearinghouse_{service}")
                if name not in may:
                    outcome.enter_context(pytest.raises(ProgrammingError, match="permission denied"))
                with transaction.atomic():
                    cursor.execute(statement)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "0.0.0.0"])
def test_no_address_leads_into_our_own_network_unless_the_setting_says_so(
    folder: Path, node_url: str, host: str, settings: Settings
) -> None:
    settings.DISCOVERY_PRIVATE_ADDRESSES = False
    with pages(folder) as page:
        settings.ORCHESTRATOR_LIST = [f"https://{host}:{page.url.rpartition(':')[2]}"]
        assert refresh.refresh(no_chain) == 0
        assert Orchestrator.objects.get().trouble == "private_address"
        assert page.asked == []


def test_a_name_means_one_machine_from_the_check_to_the_last_byte(
    folder: Path, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a name server says later: the address that was checked is the one that is called."""
    asked = 0

    look_up = socket.getaddrinfo

    def rebinding(host: str, *given: Any, **named: Any) -> Any:
        nonlocal asked
        if host != "orch.example":
            return look_up(host, *given, **named)
        asked += 1
        return look_up("127.0.0.1" if asked == 1 else "169.254.169.254", *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pages(folder) as page:
        page.body = runners_of(page)
        port = page.url.rpartition(":")[2]
        found = read(f"https://orch.example:{port}")
        assert found.runners == ()  # it answered, for an address that is not the one it was asked at
        assert asked == 1
        assert page.asked == ["/discovery"]
