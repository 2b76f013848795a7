"""The worker's round: reads the sources and orchestrators that are due, and writes down what they said."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from signing.chain.ethereum import Chain
from signing.discovery import offers, reading, sources
from signing.discovery.reading import Introduction, Reading, Unreadable
from signing.models import Orchestrator, OrchestratorSource, SenderIntroduction

log = logging.getLogger(__name__)

MOST_AT_ONCE = 64
RETRY = timedelta(seconds=15)
_LARGEST_DOUBLING = 10
_LONGEST_TROUBLE = 120


def refresh(chain: Callable[[], Chain]) -> int:
    """How many orchestrators answered; those that are not due are left alone.

    A row is claimed before its question is asked, so two workers never ask the same one at a time.
    """
    read_sources(chain)
    claimed = _claim()
    if not claimed:
        return 0
    readings = asyncio.run(
        reading.read_all(
            list(claimed), introduction=_introduction(), allow_private=settings.DISCOVERY_PRIVATE_ADDRESSES
        )
    )
    for each in readings:
        _write(each, failures=claimed[each.address])
    return sum(each.info is not None or each.runners is not None for each in readings)


def read_sources(chain: Callable[[], Chain]) -> None:
    """Asks each source that is due, and makes the rows of orchestrators those that any source names."""
    configured = sources.configured(chain)
    OrchestratorSource.objects.bulk_create(
        [OrchestratorSource(name=name) for name in configured], ignore_conflicts=True
    )
    dropped, _ = OrchestratorSource.objects.exclude(name__in=configured).delete()
    changed = bool(dropped)
    for name, read in configured.items():
        # The operator's own list costs nothing to read and may be new since the last start.
        waiting = OrchestratorSource.objects.filter(name=name)
        waiting = waiting if name == OrchestratorSource.OPERATOR else waiting.filter(due_at__lte=Now())
        if waiting.update(due_at=Now() + _interval()):
            changed |= _read_source(name, read)
    if changed:
        _follow_sources()


def _read_source(name: str, read: Callable[[], sources.Members]) -> bool:
    """Whether its members are others than before."""
    row = OrchestratorSource.objects.filter(name=name)
    try:
        members = read()
    except Unreadable as error:
        row.exclude(trouble=error.code).update(trouble=error.code)
        row.update(due_at=Now() + min(RETRY, _interval()))
        log.warning("orchestrators of the %s are as before: %s", name, error.code)
        return False
    row.update(read_at=Now(), trouble="")
    return bool(row.exclude(members=members).update(members=members))


def _follow_sources() -> None:
    with transaction.atomic():
        members = OrchestratorSource.objects.select_for_update().values_list("members", flat=True)
        named = {address for found in members for _, address in found if address}
        Orchestrator.objects.exclude(address__in=named).delete()
        Orchestrator.objects.bulk_create([Orchestrator(address=each) for each in named], ignore_conflicts=True)


def _claim() -> dict[str, int]:
    """Addresses that are due and now ours to ask, with how often in a row they failed."""
    due = Orchestrator.objects.filter(due_at__lte=Now()).order_by("due_at", "address")
    found = list(due.values_list("address", "failures")[:MOST_AT_ONCE])
    return {
        address: failures
        for address, failures in found
        if Orchestrator.objects.filter(address=address, due_at__lte=Now()).update(due_at=Now() + _interval())
    }


def _write(result: Reading, *, failures: int) -> None:
    """Each half that was read replaces the last; one that was not stays as it was and grows old."""
    values: dict[str, Any] = {"trouble": result.trouble[:_LONGEST_TROUBLE], "failures": 0}
    if result.info is not None:
        values |= {"info": offers.info_to_row(result.info), "info_read_at": Now()}
    if result.runners is not None:
        values |= {"runners": [offers.runner_to_row(each) for each in result.runners], "runners_read_at": Now()}
    if result.trouble:
        doubled = RETRY * 2 ** min(failures, _LARGEST_DOUBLING)
        values |= {"failures": min(failures, 1000) + 1, "due_at": Now() + min(doubled, _interval())}
    Orchestrator.objects.filter(address=result.address).update(**values)


def _interval() -> timedelta:
    return timedelta(seconds=settings.DISCOVERY_SECONDS)


def _introduction() -> Introduction | None:
    """In the name of the sender of the settings, or of the newest; None until a signer has started."""
    rows = SenderIntroduction.objects.order_by("-made_at")
    row = rows.filter(address__iexact=settings.SENDER_ADDRESS).first() or rows.first()
    if row is None:
        return None
    return Introduction(sender=bytes.fromhex(row.address[2:]), signature=bytes(row.signature))
