"""The signer as a process of its own on a real chain, as an operator starts it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from eth_account import Account

from clearinghouse.embedded import die_with_parent, free_port
from sandbox.chain.client import SandboxChain
from signing.signer.keystore import Keystore
from tests import chain_cast
from tests.signer_stage import Client, offer

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class World:
    """A funded sender on a chain, and the environment of a signer that signs for it."""

    chain: SandboxChain
    sender: Keystore
    environment: dict[str, str]

    def offer(self, **changes: Any) -> str:
        round_ = self.chain.read("RoundsManager", "lastInitializedRound")
        return offer(
            recipient=bytes.fromhex(self.chain.accounts["orchestrator"].address[2:]),
            creation=(round_, self.chain.read("RoundsManager", "blockHashForRound", round_)),
            expiration_block=self.chain.block_number() + 1000,
            **changes,
        )


@contextmanager
def running_world(folder: Path) -> Iterator[World]:
    """A chain whose sender is funded; its folders lie under `folder`."""
    with chain_cast.quiet_chain(folder / "chain") as chain:
        chain_cast.fund(chain, deposit=chain_cast.ETHER, reserve=chain_cast.ETHER)
        key = bytes.fromhex(chain.accounts["sender"].private_key[2:])
        wallet_file, password_file = folder / "keystore.json", folder / "password"
        wallet_file.write_text(json.dumps(Account.encrypt(key, "secret", kdf="pbkdf2", iterations=10)))
        password_file.write_text("secret")
        yield World(
            chain,
            chain_cast.key_of(chain, "sender"),
            {
                "ETH_RPC_URL": chain.rpc_url,
                "CONTROLLER_ADDRESS": chain.controller_address,
                "ETH_USD_FEED_ADDRESS": chain.eth_usd_feed_address,
                "SENDER_ADDRESS": chain.accounts["sender"].address,
                "SENDER_KEYSTORE_FILE": str(wallet_file),
                "SENDER_KEYSTORE_PASSWORD_FILE": str(password_file),
                "CHAIN_MAX_AGE_SECONDS": "3",
                "CHAIN_REFRESH_SECONDS": "1",
            },
        )


def environment(world: World, **changes: str) -> dict[str, str]:
    given: dict[str, Any] = settings.DATABASES["default"]
    url = f"postgresql://{given['USER']}:{given['PASSWORD']}@{given['HOST']}:{given['PORT']}/{given['NAME']}"
    own = {"DATABASE_URL": url, "PGOPTIONS": "-c role=clearinghouse_signer", "SIGNER_PORT": str(free_port())}
    return {**os.environ, **world.environment, **own, **changes}


def start(env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "signing.signer"],
        cwd=PROJECT,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )


def wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        try:
            if Client(url, None).request("GET", "/readyz").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)


@contextmanager
def signer_process(world: World, **changes: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    env = environment(world, **changes)
    process, url = start(env), f"http://127.0.0.1:{env['SIGNER_PORT']}"
    try:
        wait_until_ready(process, url)
        yield process, url
    finally:
        process.kill()
        process.communicate()
