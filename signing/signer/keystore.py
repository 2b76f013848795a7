"""The sender's keys: the only file that holds any, and they sign messages and transactions, never raw digests."""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from coincurve import PrivateKey, PublicKey
from eth_account import Account
from eth_account.signers.local import LocalAccount

from signing.pm.tickets import keccak256
from signing.pm.wire import checksum_address

# What each signature needs, ready made: the last byte by recovery id, and the prefix of a hash.
_V = (b"\x1b", b"\x1c")
_PERSONAL_32 = b"\x19Ethereum Signed Message:\n32"
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class KeystoreUnusable(Exception):
    """The key cannot be had; the sentence says which file or setting to look at, and nothing of the key."""


class WrongSignature(Exception):
    """What came back is no signature of this message by this key."""


class SigningKey(Protocol):
    """A sender's key, here or elsewhere. `address` is its 20 bytes; one that is not `is_local` may keep you waiting."""

    def __hash__(self) -> int: ...

    @property
    def is_local(self) -> bool: ...

    @property
    def address(self) -> bytes: ...

    @property
    def checksum_address(self) -> str: ...

    def sign_personal(self, message: bytes) -> bytes:
        """The EIP-191 signature: r, s (low) and v (27 or 28), 65 bytes."""
        ...

    def sign_all(self, messages: Sequence[bytes]) -> list[bytes]:
        """The same for each of several messages."""
        ...

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw bytes of a signed chain transaction."""
        ...


class Keystore:
    """A decrypted key. `address` is its 20 bytes, `checksum_address` the EIP-55 spelling."""

    __slots__ = ("_account", "_key", "address", "checksum_address")
    is_local = True

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
        signature: bytes = self._key.sign_recoverable(keccak256(personal(message)), hasher=None)
        return signature[:64] + _V[signature[64]]

    def sign_all(self, messages: Sequence[bytes]) -> list[bytes]:
        """The signature of each message."""
        return [self.sign_personal(message) for message in messages]

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw bytes of a signed chain transaction."""
        return bytes(self._account.sign_transaction(dict(transaction)).raw_transaction)


def personal(message: bytes) -> bytes:
    """What EIP-191 hashes in place of the message."""
    if len(message) == 32:
        return _PERSONAL_32 + message
    return b"\x19Ethereum Signed Message:\n%d" % len(message) + message


def address_of(public_key: bytes) -> bytes:
    """The 20 bytes of an uncompressed public key's address, with or without its leading 04. Raises ValueError."""
    point = public_key if len(public_key) == 65 else b"\x04" + public_key
    return keccak256(PublicKey(point).format(compressed=False)[1:])[12:]


def checked_signature(signature: bytes, *, of: bytes, by: bytes) -> bytes:
    """A signature over keccak256(of) in the one form the chain takes: low s, v of 27 or 28. Raises WrongSignature.

    `by` is the address that must have made it.
    """
    if len(signature) != 65:
        raise WrongSignature
    s, recovery = int.from_bytes(signature[32:64]), signature[64] % 27
    if s > _ORDER // 2:
        s, recovery = _ORDER - s, recovery ^ 1
    try:
        compact = signature[:32] + s.to_bytes(32)
        signer = PublicKey.from_signature_and_message(compact + bytes((recovery,)), keccak256(of), hasher=None)
    except Exception:
        raise WrongSignature from None
    if address_of(signer.format(compressed=False)) != by:
        raise WrongSignature
    return compact + bytes((recovery + 27,))


def open_keystore(keystore_file: Path | None, password_file: Path | None, *, expected_address: str) -> Keystore:
    """Decrypt a Web3 Secret Storage file. Raises KeystoreUnusable.

    `expected_address` is the address the key must have; empty means any.
    """
    if keystore_file is None or password_file is None:
        raise KeystoreUnusable("A keystore file and a password file must be set, such as SENDER_KEYSTORE_FILE.")
    keystore = Keystore(decrypted(keystore_file, password_file))
    if expected_address and expected_address.lower() != keystore.checksum_address.lower():
        raise KeystoreUnusable(
            f"{keystore_file} holds the key of {keystore.checksum_address}, not of {expected_address}."
        )
    return keystore


def new_secret() -> bytes:
    """32 random bytes that are a key."""
    while not 0 < int.from_bytes(secret := secrets.token_bytes(32)) < _ORDER:
        pass  # once in 2^128
    return secret


def encrypted(secret: bytes, password: str) -> str:
    """The JSON text of a Web3 Secret Storage file. Raises ValueError when the bytes are no key."""
    PrivateKey(secret)
    return json.dumps(Account.encrypt(secret, password))


def decrypted(keystore_file: Path, password_file: Path) -> bytes:
    """The key in a Web3 Secret Storage file. Raises KeystoreUnusable."""
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
