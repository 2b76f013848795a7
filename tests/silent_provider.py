"""A payment provider that tells us nothing by itself, and the tie-out with it, for stories of what is found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from billing import ledger
from billing.models import TieOut
from billing.reconciliation import mirror, poller, tie_out
from billing.stripe_gateway.client import client as at_provider
from sandbox.psp.client import Psp
from tests.provider_stage import booked_well, fresh_provider, handle_all


@pytest.fixture
def psp(settings: Any, tmp_path: Path) -> Iterator[Psp]:
    """Silent: no event of it reaches us, the poller has to find everything."""
    with fresh_provider(settings, tmp_path) as running:
        yield running


def found_by_poll() -> dict[str, int]:
    """One poll, what it brought handled, and what that explains."""
    found = poller.poll()
    handle_all()
    found["explained"] = mirror.explain()
    return found


def tied_out() -> list[TieOut]:
    rows = tie_out.run()
    assert rows
    for row in rows:
        assert row.agrees, (row.currency, row.difference_nano_usd, row.net_cents, row.provider_cents, row.unexplained)
    booked_well()
    return rows


def cents_on(number: int, party: str = "") -> int:
    cents, rest = divmod(ledger.balance(number, "USD", party), 10**7)
    assert rest == 0
    return cents


def paid_out(psp: Psp, amount_cents: int, currency: str = "usd") -> str:
    """The id of a payout that the provider's owner made there by hand."""
    return at_provider().v1.payouts.create({"amount": amount_cents, "currency": currency}).id


def settled() -> int:
    return len(at_provider().v1.balance_transactions.list({}).data)
