"""The sender's key: the only file that holds it, and it signs messages and transactions, never raw digests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from eth_account import Account
from eth_account.signers.local import LocalAccount

from signing.pm.tickets import keccak256
from signing.pm.wire import checksum_address


class KeystoreUnusable(Exception):
    """The key cannot be had; the sentence says which file or setting to look at, and nothing of the key."""


class Keystore:
    """A decrypted key. `address` is its 20 bytes, `checksum_address` the EIP-55 spelling."""

    __slots__ = ("_account", "_key", "address", "checksum_address")

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self._account: LocalAccount = Account.from_key(secret)
        self.address = keccak256(self._key.public_key.format(compressed=False)[1:])[12:]
        self.checksum_address = checksum_address(self.address)

    def __repr__(self) -> str:
        return f"Keystore({self.checksum_address})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a key stays in its process")

    def sign_personal(self, message: bytes) -> bytes:
        """The EIP-191 signature: r, s (low) and v (27 or 28), 65 bytes, the same every time."""
        digest = keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)
        signature: bytes = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes((signature[64] + 27,))

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw bytes of a signed chain transaction."""
        return bytes(self._account.sign_transaction(dict(transaction)).raw_transaction)


def open_keystore(keystore_file: Path | None, password_file: Path | None, *, expected_address: str) -> Keystore:
    """Decrypt a Web3 Secret Storage file. Raises KeystoreUnusable.

    `expected_address` is the address the key must have; empty means any.
    """
    if keystore_file is None or password_file is None:
        raise KeystoreUnusable("A keystore file and a password file must be set, such as SENDER_KEYSTORE_FILE.")
    keystore = Keystore(_decrypt(keystore_file, password_file))
    if expected_address and expected_address.lower() != keystore.checksum_address.lower():
        raise KeystoreUnusable(
            f"{keystore_file} holds the key of {keystore.checksum_address}, not of {expected_address}."
        )
    return keystore


def _decrypt(keystore_file: Path, password_file: Path) -> bytes:
    # Errors are raised without their cause: it could carry the password or the key in its arguments.
    try:
        wallet = json.loads(keystore_file.read_bytes())
        password = password_file.read_text().rstrip("\r\n")
    except (OSError, ValueError):
        raise KeystoreUnusable(f"{keystore_file} or its password file cannot be read.") from None
    try:
        return bytes(Account.decrypt(wallet, password))
    except Exception:
        raise KeystoreUnusable(f"{keystore_file} does not open with its password file.") from None
