"""A funding that does not go well: killed at any moment, refused, reverted or reorganised, it counts at most once."""

from contextlib import suppress

import pytest

from billing.models import Journal
from sandbox.chain.client import SandboxChain
from signing.chain.ethereum import Chain
from signing.models import TreasuryTransaction
from signing.signer.keystore import Keystore
from signing.treasury import funding
from tests import chain_cast
from tests.chain_cast import ETHER
from tests.funding_stage import Fragile, Killed, ask, chain, funds, key, sent
from tests.indexer_stage import settle

__all__ = ["chain", "key"]

Status = TreasuryTransaction.Status


@pytest.mark.parametrize(
    "moment", ["before signing", "before looking", "before sending", "after sending", "after looking"]
)
def test_a_worker_killed_at_any_moment_funds_once(
    sandbox: SandboxChain, chain: Chain, key: Keystore, moment: str
) -> None:
    row = ask(sandbox)
    fragile = Fragile(sandbox, moment)
    with pytest.raises(Killed):
        funding.execute_pending(fragile, key)
    for _ in range(2):
        funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.CONFIRMED
    assert funds(sandbox) == (2 * ETHER, ETHER)
    assert sent(sandbox) == 1
    settle(sandbox, chain)
    fragile.close()


def test_a_worker_killed_before_it_wrote_the_signature_down_funds_once(
    sandbox: SandboxChain, chain: Chain, key: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ask(sandbox)

    def die(*_: object, **__: object) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(funding, "_store", die)
        with pytest.raises(Killed):
            funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.raw_transaction) == (Status.REQUESTED, None)
    funding.execute_pending(chain, key)
    assert funds(sandbox) == (2 * ETHER, ETHER)


def test_a_contract_that_refuses_is_quoted(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    row = ask(sandbox)
    sandbox.send("deployer", "Controller", "pause")
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.FAILED
    assert "system is paused" in row.error
    assert sent(sandbox) == 0


def test_a_transaction_that_reverts_costs_gas_only(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    row = ask(sandbox)
    fragile = Fragile(sandbox, "before sending")
    with suppress(Killed):
        funding.execute_pending(fragile, key)
    sandbox.send("deployer", "Controller", "pause")
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.FAILED
    assert row.gas_cost_wei
    sandbox.send("deployer", "Controller", "unpause")
    settle(sandbox, chain)
    assert funds(sandbox) == (0, 0)
    assert sorted(Journal.objects.values_list("kind", flat=True)) == ["gas", "opening"]
    fragile.close()


def test_a_reorganised_funding_is_sent_again_and_counts_once(
    sandbox: SandboxChain, chain: Chain, key: Keystore
) -> None:
    row = ask(sandbox)
    funding.execute_pending(chain, key)
    sandbox.reorg(1)
    assert funds(sandbox) == (0, 0)
    for _ in range(2):
        funding.execute_pending(chain, key)
    again = TreasuryTransaction.objects.get(pk=row.pk)
    assert again.status == Status.CONFIRMED
    assert funds(sandbox) == (2 * ETHER, ETHER)
    assert sent(sandbox) == 1
    settle(sandbox, chain)


def test_a_signed_wish_whose_nonce_is_gone_fails_when_that_is_final(
    sandbox: SandboxChain, chain: Chain, key: Keystore
) -> None:
    row = ask(sandbox)
    fragile = Fragile(sandbox, "before sending")
    with suppress(Killed):
        funding.execute_pending(fragile, key)
    fragile.close()
    transfer = {"from": key.checksum_address, "to": sandbox.accounts["stranger"].address, "value": "0x1"}
    sandbox.wait_for(sandbox.rpc("eth_sendTransaction", transfer))
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.SIGNED
    assert "nonce" in row.error
    chain_cast.finalise(sandbox)
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.block_number) == (Status.FAILED, None)
    second = ask(sandbox)
    funding.execute_pending(chain, key)
    second.refresh_from_db()
    assert second.status == Status.CONFIRMED
    settle(sandbox, chain)


def test_a_transaction_too_cheap_for_the_moment_waits(sandbox: SandboxChain, chain: Chain, key: Keystore) -> None:
    row = ask(sandbox)
    fragile = Fragile(sandbox, "before sending")
    with suppress(Killed):
        funding.execute_pending(fragile, key)
    fragile.close()
    fee = chain.header("latest").base_fee_wei
    sandbox.rpc("anvil_setNextBlockBaseFeePerGas", hex(fee * 100))
    sandbox.mine()
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert row.status == Status.SIGNED
    sandbox.rpc("anvil_setNextBlockBaseFeePerGas", hex(fee))
    sandbox.mine()
    funding.execute_pending(chain, key)
    row.refresh_from_db()
    assert (row.status, row.error) == (Status.CONFIRMED, "")
