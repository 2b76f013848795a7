"""The three places orchestrators are learnt of: the operator's list, a webhook, and the registry on the chain."""

import asyncio
import json
from collections.abc import Callable

from django.conf import settings

from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.chain.roster import read_roster
from signing.discovery import reading
from signing.discovery.addresses import usable
from signing.discovery.reading import Unreadable
from signing.models import OrchestratorSource

MOST_MEMBERS = 1000

type Members = list[list[str]]
"""[owner, address] each; the owner, known to the registry alone, is lower-case 0x text, else empty."""


def configured(chain: Callable[[], Chain]) -> dict[str, Callable[[], Members]]:
    """How to read each source the settings name. Reading raises Unreadable."""
    found: dict[str, Callable[[], Members]] = {}
    if settings.ORCHESTRATOR_LIST:
        found[OrchestratorSource.OPERATOR] = lambda: [["", address] for address in usable(settings.ORCHESTRATOR_LIST)]
    if settings.ORCHESTRATOR_WEBHOOK_URL:
        found[OrchestratorSource.WEBHOOK] = lambda: asyncio.run(_ask_webhook(settings.ORCHESTRATOR_WEBHOOK_URL))
    if settings.ORCHESTRATOR_REGISTRY and settings.ETH_RPC_URLS:
        found[OrchestratorSource.REGISTRY] = lambda: _read_registry(chain())
    return found


def read_webhook(body: bytes) -> Members:
    """A JSON list of objects with an address; their scores are not asked for. Raises Unreadable.

    Addresses without a scheme are HTTPS, as go-livepeer reads them.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable("webhook_nonsense") from None
    if not isinstance(document, list):
        raise Unreadable("webhook_nonsense")
    texts = [entry.get("address") for entry in document[:MOST_MEMBERS] if isinstance(entry, dict)]
    given = [text if "://" in text else f"https://{text}" for text in texts if isinstance(text, str)]
    return [["", address] for address in usable(given)]


async def _ask_webhook(url: str) -> Members:
    """The operator named this URL, so it may be anywhere; it must answer by itself, in time and shortly."""
    try:
        async with asyncio.timeout(reading.HALF_SECONDS):
            status, body = await reading.fetch(url, what="webhook")
    except TimeoutError:
        raise Unreadable("webhook_timeout") from None
    if status != 200:
        raise Unreadable(f"webhook_{status}")
    return read_webhook(body)


def _read_registry(chain: Chain) -> Members:
    """The active set in stake order; members whose address cannot be used stay, for they may be paid elsewhere."""
    try:
        roster = read_roster(chain)
    except ChainUnavailable as error:
        raise Unreadable(error.reason_code) from None
    return [[owner, next(iter(usable([uri])), "")] for owner, uri in roster.orchestrators[:MOST_MEMBERS]]
