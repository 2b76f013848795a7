"""Where orchestrators come from: a webhook, and the registry on the chain."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from clearinghouse.embedded import free_port
from sandbox.chain.client import SandboxChain
from sandbox.orchestrator.client import RunningOrchestrator, running_orchestrator
from signing import tasks
from signing.chain.ethereum import Chain
from signing.discovery import reading, refresh
from signing.models import Orchestrator, OrchestratorSource, SenderIntroduction
from signing.pm.wire import orchestrator_info_digest
from tests import chain_cast
from tests.discovery_stage import _sources, no_chain, pages

__all__ = ["_sources"]
pytestmark = pytest.mark.django_db(transaction=True)


def addresses() -> set[str]:
    return set(Orchestrator.objects.values_list("address", flat=True))


def test_a_webhook_names_orchestrators_until_it_names_others(settings: Settings) -> None:
    with pages() as webhook:
        settings.ORCHESTRATOR_WEBHOOK_URL = webhook.url + "/orchestrators"
        settings.ORCHESTRATOR_LIST = ["https://a.example:1"]
        webhook.body = b'[{"address":"https://b.example:2"},{"address":"a.example:1","score":1}]'
        refresh.read_sources(no_chain)
        assert webhook.asked == ["/orchestrators"]
        assert addresses() == {"https://a.example:1", "https://b.example:2"}
        refresh.read_sources(no_chain)
        assert len(webhook.asked) == 1
        for status, body in ((500, b"[]"), (200, b"{}"), (302, b"[]"), (200, b" " * (reading.MOST_BYTES + 1))):
            webhook.status, webhook.body = status, body
            OrchestratorSource.objects.update(due_at=Now())
            refresh.read_sources(no_chain)
            assert addresses() == {"https://a.example:1", "https://b.example:2"}
            assert OrchestratorSource.objects.get(name="webhook").trouble
        webhook.status, webhook.body = 200, b'[{"address":"https://c.example:3"}]'
        OrchestratorSource.objects.update(due_at=Now())
        refresh.read_sources(no_chain)
        assert addresses() == {"https://a.example:1", "https://c.example:3"}
        assert OrchestratorSource.objects.get(name="webhook").trouble == ""
        settings.ORCHESTRATOR_WEBHOOK_URL, settings.ORCHESTRATOR_LIST = "", ["https://d.example:4"]
        refresh.read_sources(no_chain)
        assert addresses() == {"https://d.example:4"}


@pytest.fixture
def orchestrator(sandbox: SandboxChain, tmp_path: Path) -> Iterator[RunningOrchestrator]:
    chain_cast.fund(sandbox, deposit=chain_cast.ETHER, reserve=chain_cast.ETHER)
    with running_orchestrator(
        tmp_path / "orchestrator",
        rpc_url=sandbox.rpc_url,
        controller=sandbox.controller_address,
        key=sandbox.accounts["orchestrator"].private_key,
    ) as running:
        yield running


def test_the_chain_s_active_orchestrators_are_found_at_the_addresses_they_registered(
    sandbox: SandboxChain, orchestrator: RunningOrchestrator, settings: Settings
) -> None:
    sandbox.send("orchestrator", "ServiceRegistry", "setServiceURI", orchestrator.url)
    sandbox.send("bystander", "ServiceRegistry", "setServiceURI", "http://no-use.example/path")
    chain_cast.point_at(settings, sandbox)
    key = chain_cast.key_of(sandbox, "sender")
    signature = key.sign_personal(orchestrator_info_digest(key.address))
    SenderIntroduction.objects.create(address="0x" + key.address.hex(), signature=signature)
    tasks._chain.cache_clear()
    assert tasks.discover_orchestrators() == 1
    tasks._chain.cache_clear()
    row, source = Orchestrator.objects.get(), OrchestratorSource.objects.get()
    owner, bystander = (sandbox.accounts[role].address.lower() for role in ("orchestrator", "bystander"))
    assert source.members == [[owner, orchestrator.url], [bystander, ""]]
    assert (row.address, row.trouble) == (orchestrator.url, "")
    assert row.info
    assert row.info["recipient"] == owner
    assert row.runners
    assert len(row.runners) == 3

    settings.ETH_RPC_URLS = [f"http://127.0.0.1:{free_port()}"]
    OrchestratorSource.objects.update(due_at=Now())
    refresh.read_sources(lambda: Chain(settings.ETH_RPC_URLS, controller=settings.CONTROLLER_ADDRESS))
    assert OrchestratorSource.objects.get().trouble == "rpc_unreachable"
    assert addresses() == {orchestrator.url}
    settings.ORCHESTRATOR_REGISTRY = False
    refresh.read_sources(no_chain)
    assert addresses() == set()
