"""Makes the sender's and the treasury's keystores of a demo once, and gives the treasury its first ETH.

`python -m sandbox.keys DIR RPC_URL FAUCET_KEY` prints {"sender": address, "treasury": address}.
"""

import json
import os
import secrets
import sys
from pathlib import Path

from eth_account import Account
from web3 import HTTPProvider, Web3

# The keystores guard play money: few rounds, so that a demo starts quickly.
_ROUNDS = 10_000
TREASURY_START_WEI = 20 * 10**18


def keystore(directory: Path, name: str) -> str:
    """The address of the keystore `name`, which is made with a password file beside it when it is missing."""
    path, password_path = directory / f"{name}.json", directory / f"{name}.password"
    if not path.exists():
        password = secrets.token_urlsafe(24)
        account = Account.create()
        _write_private(password_path, password)
        _write_private(path, json.dumps(Account.encrypt(account.key, password, kdf="pbkdf2", iterations=_ROUNDS)))
    return Web3.to_checksum_address("0x" + json.loads(path.read_text())["address"].removeprefix("0x"))


def fill(rpc_url: str, faucet_key: str, address: str) -> None:
    """Sends the treasury its first ETH when it has none and never had any."""
    web3 = Web3(HTTPProvider(rpc_url))
    to = Web3.to_checksum_address(address)
    if web3.eth.get_balance(to) or web3.eth.get_transaction_count(to):
        return
    faucet = Account.from_key(faucet_key)
    signed = faucet.sign_transaction(
        {
            "to": to,
            "value": TREASURY_START_WEI,
            "gas": 21_000,
            "maxFeePerGas": web3.eth.gas_price * 2 + 10**9,
            "maxPriorityFeePerGas": 10**8,
            "nonce": web3.eth.get_transaction_count(faucet.address),
            "chainId": web3.eth.chain_id,
            "type": 2,
        }
    )
    web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction), timeout=30)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def main(directory: str, rpc_url: str, faucet_key: str) -> None:
    addresses = {name: keystore(Path(directory), name) for name in ("sender", "treasury")}
    fill(rpc_url, faucet_key, addresses["treasury"])
    print(json.dumps(addresses))


if __name__ == "__main__":
    main(*sys.argv[1:])
