"""Payments over HTTP: what is signed, what it costs, and what the books say afterwards."""

from collections.abc import Iterator

import pytest

from tests import signer_stage
from tests.signer_stage import Stage, check_tickets, offer, price_of, rows, running_signer, wallet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with running_signer() as running:
        yield running


def test_an_opening_payment_is_signed_and_charged_at_its_expected_value(stage: Stage) -> None:
    gateway, owner = stage.gateway(dollars_nano=10**10)
    answer = gateway.pay(orchestrator=offer(), type="live", app="my-app")
    assert answer.status == 200, answer.body
    check_tickets(answer.payment, stage.keystore.checksum_address)
    (row,) = rows(owner)
    assert row["cost_wei"] == signer_stage.signed_wei(row) == signer_stage.COST
    assert wallet(owner) == 10**10 - row["charge_nano_usd"] == 10**10 - price_of(signer_stage.COST)
