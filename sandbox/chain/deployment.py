"""Puts the ticket protocol on a fresh chain: contracts, registry entries, first round, first orchestrators."""

import os
from dataclasses import asdict, dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from sandbox.chain.accounts import ETHER_WEI, ROLES, dev_account
from sandbox.chain.contracts import contract
from sandbox.chain.encoding import keccak
from sandbox.chain.machine import create_address
from sandbox.chain.node import Chain

# The broker's proxy answers to its old name too: the Minter knows it by that.
REGISTRY_IDS = {
    "TicketBroker": "TicketBroker",
    "JobsManager": "TicketBroker",
    "TicketBrokerTarget": "TicketBroker",
    "RoundsManager": "RoundsManager",
    "RoundsManagerTarget": "RoundsManager",
    "BondingManager": "BondingManager",
    "BondingManagerTarget": "BondingManager",
    "ServiceRegistry": "ServiceRegistry",
    "ServiceRegistryTarget": "ServiceRegistry",
    "Minter": "Minter",
}
STAKES_WEI = {"orchestrator": 5_000 * ETHER_WEI, "bystander": 1_000 * ETHER_WEI, "orchestrator2": 3_000 * ETHER_WEI}


@dataclass(frozen=True, kw_only=True)
class Genesis:
    """What a new chain starts with; a second start of the same chain keeps its own."""

    chain_id: int = 42161
    round_length_blocks: int = 60
    first_round: int = 1_000
    eth_usd_answer: int = 300_000_000_000  # 3,000.00 USD, 8 decimals
    pool_size: int = 0  # 0: the real number of members, which is 2
    settled_depth_blocks: int = 8  # empty blocks on top, so that the finality tags see the contracts at once


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Checksummed addresses; the same on every sandbox chain."""

    controller_address: str
    minter_address: str
    rounds_manager_address: str
    bonding_manager_address: str
    ticket_broker_address: str
    service_registry_address: str
    eth_usd_feed_address: str


def contract_id(name: str) -> bytes:
    """The Controller's key for a contract."""
    return keccak(name.encode())


def existing(chain: Chain) -> Deployment | None:
    stored = chain.store.meta("deployment")
    return None if stored is None else Deployment(**stored)


def deploy(chain: Chain, genesis: Genesis) -> Deployment:
    """All or nothing: one commit, so a process killed half-way leaves no half protocol behind."""
    automine, chain.automine = chain.automine, False
    with chain.store.commit():
        addresses = _create_contracts(chain, genesis)
        _configure(chain, genesis, addresses)
        chain.mine_empty(genesis.settled_depth_blocks)
        deployment = _named(addresses)
        chain.store.set_meta("deployment", asdict(deployment))
    chain.automine = automine
    return deployment


def _create_contracts(chain: Chain, genesis: Genesis) -> dict[str, bytes]:
    deployer = dev_account("deployer")
    controller = create_address(deployer.address, chain.nonce(deployer.address)).hex()
    arguments: dict[str, tuple[Any, ...]] = {
        "Controller": (),
        "Minter": (controller,),
        "RoundsManager": (controller, genesis.round_length_blocks, genesis.first_round),
        "BondingManager": (controller,),
        "TicketBroker": (controller,),
        "ServiceRegistry": (controller,),
        "PriceFeed": (genesis.eth_usd_answer,),
    }
    addresses = {}
    for name, values in arguments.items():
        addresses[name] = create_address(deployer.address, chain.pending_nonce(deployer.address))
        chain.submit_as(deployer, to=None, data=contract(name).creation(*values))
    _mine_successfully(chain)
    return addresses


def _configure(chain: Chain, genesis: Genesis, addresses: dict[str, bytes]) -> None:
    deployer = dev_account("deployer")

    def send(name: str, function: str, *arguments: Any) -> None:
        chain.submit_as(deployer, to=addresses[name], data=contract(name).call(function, *arguments))

    for name, target in REGISTRY_IDS.items():
        send("Controller", "setContractInfo", contract_id(name), addresses[target], bytes(20))
    send("Controller", "unpause")
    send("RoundsManager", "initializeRound")
    for role, stake_wei in STAKES_WEI.items():
        send("BondingManager", "sandboxSetStake", dev_account(role).address, stake_wei)
    for role in ("orchestrator", "bystander"):
        send("BondingManager", "sandboxActivate", dev_account(role).address, genesis.first_round)
    if genesis.pool_size:
        send("BondingManager", "sandboxSetPoolSize", genesis.pool_size)
    _mine_successfully(chain)


def _mine_successfully(chain: Chain) -> None:
    header = chain.mine()
    assert all(mined.succeeded for mined in chain.store.transactions_of(header.number))


def _named(addresses: dict[str, bytes]) -> Deployment:
    checksummed = {name: to_checksum_address(address) for name, address in addresses.items()}
    return Deployment(
        controller_address=checksummed["Controller"],
        minter_address=checksummed["Minter"],
        rounds_manager_address=checksummed["RoundsManager"],
        bonding_manager_address=checksummed["BondingManager"],
        ticket_broker_address=checksummed["TicketBroker"],
        service_registry_address=checksummed["ServiceRegistry"],
        eth_usd_feed_address=checksummed["PriceFeed"],
    )


def chain_file(deployment: Deployment, *, rpc_url: str, chain_id: int) -> dict[str, Any]:
    """The content of chain.json: where the chain is, its contracts and its (worthless) keys by role."""
    accounts = {
        role: {
            "address": dev_account(role).checksum_address,
            "private_key": "0x" + dev_account(role).private_key.hex(),
        }
        for role in ROLES
    }
    return {
        "rpc_url": rpc_url,
        "chain_id": chain_id,
        "pid": os.getpid(),
        **asdict(deployment),
        "accounts": accounts,
    }
