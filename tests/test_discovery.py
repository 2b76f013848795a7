"""Discovery as gateways see it: what the signer tells of orchestrators that answer, and of those that are away."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.models.functions import Now
from livepeer_gateway import discover_orchestrators, discover_runners
from livepeer_gateway.capabilities import CapabilityId, build_capabilities
from pytest_django import Settings

from clearinghouse.embedded import free_port
from sandbox.orchestrator.terms import LV2V_MODEL
from signing.discovery import refresh
from signing.models import Orchestrator, RecipientRule, SenderIntroduction
from signing.pm.wire import orchestrator_info_digest
from tests.discovery_stage import (
    APPS,
    LIVE,
    _sources,
    ask,
    door_to,
    folder,
    introduce,
    listed,
    make_due,
    no_chain,
    node_url,
    pages,
    stage,
    until,
)
from tests.held_chain import HeldChain
from tests.signer_stage import Client, Stage, running_signer
from tests.standin_orchestrator import RECIPIENT

__all__ = ["_sources", "folder", "node_url", "stage"]
pytestmark = pytest.mark.django_db(transaction=True)


# -- What the signer tells ---------------------------------------------------------------------------------


def test_the_sdk_finds_what_the_worker_read_in_the_name_of_our_sender(
    stage: Stage, node_url: str, settings: Settings
) -> None:
    settings.ORCHESTRATOR_LIST = [node_url]
    assert refresh.refresh(no_chain) == 1
    gateway, _ = stage.gateway(dollars_nano=0)
    key = {"Authorization": f"Bearer {gateway.key}"}
    (entry,) = listed(gateway, 1)
    assert list(entry) == ["address", "score", "capabilities", "runners"]
    assert entry["address"] == node_url
    assert entry["score"] == 1
    assert entry["capabilities"] == [LIVE, *APPS]
    assert entry["runners"][0] == {
        "url": f"{node_url}/runner/camera/session",
        "app": "sandbox/camera",
        "mode": "persistent",
        "capacity": 100,
        "capacity_used": 0,
        "capacity_available": 100,
        "price_info": {"price": 46_300_000_000, "currency": "wei", "unit": "seconds"},
    }
    wish = build_capabilities(CapabilityId.LIVE_VIDEO_TO_VIDEO, LV2V_MODEL)
    assert discover_orchestrators(signer_url=stage.url, signer_headers=key, capabilities=wish) == [node_url]
    other = build_capabilities(CapabilityId.LIVE_VIDEO_TO_VIDEO, "another-model")
    assert discover_orchestrators(signer_url=stage.url, signer_headers=key, capabilities=other) == []
    found = asyncio.run(discover_runners(signer_url=stage.url, signer_headers=key, app="sandbox/caption"))
    assert [runner["app"] for runner in found[0]["runners"]] == ["sandbox/caption"]
    assert asyncio.run(discover_runners(signer_url=stage.url, signer_headers=key, gpu="H100")) == []


def test_without_anybody_to_list_the_answer_is_503_and_an_unmatched_filter_is_an_empty_list(
    stage: Stage, node_url: str, settings: Settings
) -> None:
    gateway, _ = stage.gateway(dollars_nano=0)
    assert ask(gateway) == (503, "no_orchestrators")
    assert ask(gateway, "?caps=a/b") == (503, "no_orchestrators")
    settings.ORCHESTRATOR_LIST = [node_url]
    refresh.refresh(no_chain)
    listed(gateway, 1)
    assert ask(gateway, "?caps=a/b") == []
    assert ask(gateway, f"?caps=a/b&caps={LIVE}")[0]["address"] == node_url
    assert ask(gateway, "?" + "&".join(["caps=a"] * 100)) == (400, "invalid_filter")
    assert Client(gateway.url, None).request("GET", "/discover-orchestrators").status == 401


def test_whoever_may_not_be_paid_is_not_listed(stage: Stage, node_url: str, settings: Settings) -> None:
    settings.ORCHESTRATOR_LIST = [node_url]
    refresh.refresh(no_chain)
    gateway, _ = stage.gateway(dollars_nano=0)
    listed(gateway, 1)
    stage.chain.change(active_recipients=frozenset())
    until(lambda: ask(gateway) == (503, "no_orchestrators"))
    stage.chain.change(active_recipients=frozenset({RECIPIENT}))
    listed(gateway, 1)
    blocked = RecipientRule.objects.create(address="0x" + RECIPIENT.hex(), standing="frozen", reason="drill")
    until(lambda: ask(gateway) == (503, "no_orchestrators"))
    RecipientRule.objects.filter(pk=blocked.pk).update(lifted_at=Now(), lift_reason="over")
    listed(gateway, 1)
    held, stage.chain.current = stage.chain.current, None
    until(lambda: ask(gateway) == (503, "chain_stale"))
    stage.chain.current = held


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"RECIPIENT_POLICY": "listed"}, None),
        ({"RECIPIENT_POLICY": "any"}, [LIVE, *APPS]),
        ({"MAX_PRICE_PER_UNIT": 1675}, [LIVE, "sandbox/restyle"]),
        ({"MAX_PRICE_PER_UNIT": 1674}, None),
        ({"MAX_TICKET_EV_WEI": 50_000_000_001}, [LIVE, *APPS]),
        ({"MAX_TICKET_EV_WEI": 50_000_000_000}, None),
        ({"MAX_FACE_VALUE_WEI": 5 * 10**12}, [LIVE, *APPS]),
        ({"MAX_FACE_VALUE_WEI": 5 * 10**12 - 1}, None),
    ],
    ids=str,
)
def test_nothing_is_listed_that_a_payment_would_be_refused_for(
    node_url: str, settings: Settings, changes: dict[str, Any], names: list[str] | None
) -> None:
    introduce()
    settings.ORCHESTRATOR_LIST = [node_url]
    refresh.refresh(no_chain)
    registered = {"RECIPIENT_POLICY": "registered", **changes}
    chain = HeldChain(active_recipients=frozenset({RECIPIENT}))
    with running_signer(chain, **registered) as stage:
        gateway, _ = stage.gateway(dollars_nano=0)
        found = until(lambda: (found := ask(gateway)) != (503, "database_unavailable") and found)
        assert found == (503, "no_orchestrators") if names is None else found[0]["capabilities"] == names


def test_a_signer_introduces_its_sender_once_and_starts_again_without_a_word(stage: Stage) -> None:
    row = SenderIntroduction.objects.get()
    assert row.address == "0x" + stage.keystore.address.hex()
    assert bytes(row.signature) == stage.keystore.sign_personal(orchestrator_info_digest(stage.keystore.address))
    with running_signer() as again:
        assert again.url != stage.url
        assert SenderIntroduction.objects.get().made_at == row.made_at


# -- Old answers -------------------------------------------------------------------------------------------


def test_an_orchestrator_that_is_away_stays_as_it_was_for_the_stated_time_and_then_goes(
    node_url: str, settings: Settings
) -> None:
    introduce()
    chain = HeldChain(active_recipients=frozenset({RECIPIENT}))
    with running_signer(chain, DISCOVERY_KEEP_SECONDS=600) as stage:
        gateway, _ = stage.gateway(dollars_nano=0)
        with door_to(node_url) as address:
            settings.ORCHESTRATOR_LIST = [address]
            assert refresh.refresh(no_chain) == 1
        make_due()
        assert refresh.refresh(no_chain) == 0
        row = Orchestrator.objects.get()
        assert row.failures == 1
        assert "unreachable" in row.trouble
        assert listed(gateway, 1)[0]["capabilities"] == [LIVE, *APPS]
        # Each half grows old for itself.
        Orchestrator.objects.update(info_read_at=Now() - timedelta(seconds=601))
        until(lambda: ask(gateway) == (503, "no_orchestrators"))
        stage.chain.change(orchestrators=(("0x" + RECIPIENT.hex(), address + "/"),))
        until(lambda: isinstance(found := ask(gateway), list) and found[0]["capabilities"] == APPS)
        Orchestrator.objects.update(info_read_at=Now(), runners_read_at=Now() - timedelta(seconds=601))
        until(lambda: isinstance(found := ask(gateway), list) and found[0]["capabilities"] == [LIVE])
        Orchestrator.objects.update(info_read_at=Now() - timedelta(seconds=601))
        until(lambda: ask(gateway) == (503, "no_orchestrators"))


def test_answers_are_asked_for_anew_after_the_interval_and_failures_sooner(node_url: str, settings: Settings) -> None:
    introduce()
    away = f"https://127.0.0.1:{free_port()}"
    settings.ORCHESTRATOR_LIST = [node_url, away]
    assert refresh.refresh(no_chain) == 1
    first = Orchestrator.objects.get(address=node_url).info_read_at
    assert refresh.refresh(no_chain) == 0
    assert Orchestrator.objects.get(address=node_url).info_read_at == first

    # Nothing was learnt there: again after 15 s, then 30 s, never later than the interval.
    for failures, wait in enumerate((15, 30, 60, 100, 100), start=1):
        settings.DISCOVERY_SECONDS = 100
        row = Orchestrator.objects.get(address=away)
        waits = row.due_at - until(lambda: Orchestrator.objects.annotate(now=Now()).first()).now
        assert row.failures == failures
        assert timedelta(seconds=wait - 5) < waits <= timedelta(seconds=wait)
        Orchestrator.objects.filter(address=away).update(due_at=Now())
        refresh.refresh(no_chain)
    Orchestrator.objects.filter(address=node_url).update(due_at=Now())
    assert refresh.refresh(no_chain) == 1
    newer = Orchestrator.objects.get(address=node_url)
    assert newer.info_read_at is not None
    assert first is not None
    assert newer.info_read_at > first
    assert timedelta(seconds=90) < newer.due_at - newer.info_read_at < timedelta(seconds=100)


def test_two_workers_never_ask_one_orchestrator_at_the_same_time(
    folder: Path, node_url: str, settings: Settings
) -> None:
    with pages(folder) as page:
        settings.ORCHESTRATOR_LIST = [page.url]
        refresh.read_sources(no_chain)
        workers = [threading.Thread(target=in_thread(lambda: refresh.refresh(no_chain))) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert page.asked == ["/discovery"]


def in_thread(work: Callable[[], object]) -> Callable[[], None]:
    """Its connections to the database end with it."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    return run
