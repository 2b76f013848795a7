"""The dev accounts of the sandbox chain. Anybody can derive these keys: they are WORTHLESS anywhere else."""

from dataclasses import dataclass
from functools import cache

from coincurve import PrivateKey
from eth_utils.address import to_checksum_address

from sandbox.chain.encoding import keccak

ETHER_WEI = 10**18
STARTING_BALANCE_WEI = 1_000_000 * ETHER_WEI

ROLES = (
    "deployer",  # owns the Controller and the price feed
    "keeper",  # initialises rounds, refreshes the price feed
    "faucet",  # hands out ETH
    "orchestrator",  # registered and active from the start
    "orchestrator2",  # registered, not active
    "bystander",  # the second member of the active pool, never does anything
    "redeemer",  # pays the gas of redemptions
    "sender",  # a pooled account to sign tickets with
    "treasury",  # a cold wallet that funds the sender
    "stranger",  # nobody in particular
)


@dataclass(frozen=True, kw_only=True)
class DevAccount:
    role: str
    private_key: bytes
    address: bytes

    @property
    def checksum_address(self) -> str:
        return to_checksum_address(self.address)


@cache
def dev_account(role: str) -> DevAccount:
    """The account of one of `ROLES`, the same on every sandbox chain."""
    assert role in ROLES, role
    private_key = keccak(b"worthless sandbox chain key: " + role.encode())
    public_key: bytes = PrivateKey(private_key).public_key.format(compressed=False)
    return DevAccount(role=role, private_key=private_key, address=keccak(public_key[1:])[12:])


@cache
def dev_accounts_by_address() -> dict[bytes, DevAccount]:
    return {dev_account(role).address: dev_account(role) for role in ROLES}
