"""A key's two files, readable by their owner alone: the keystore and the password that opens it."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from signing.signer import keystore
from signing.signer.keystore import KeystoreUnusable


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFiles:
    """Where a key went."""

    address: str
    keystore: Path
    password: Path


def write(secret: bytes, folder: Path) -> KeyFiles:
    """FOLDER/<address>.json and <address>.password. Raises KeystoreUnusable, and never replaces a file."""
    password = secrets.token_urlsafe(32)
    try:
        text = keystore.encrypted(secret, password)
        address = keystore.Keystore(secret).checksum_address
    except ValueError:
        raise KeystoreUnusable("These bytes are no key: 32 bytes, above 0 and below the order of secp256k1.") from None
    files = KeyFiles(
        address=address,
        keystore=folder / f"{address.lower()}.json",
        password=folder / f"{address.lower()}.password",
    )
    if files.keystore.exists():
        raise KeystoreUnusable(f"{files.keystore} exists already; nothing was changed.")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The password first: a keystore without one could not be opened by anybody.
        _write(files.password, password)
        _write(files.keystore, text)
    except FileExistsError as error:
        raise KeystoreUnusable(f"{error.filename} exists already; nothing was changed.") from None
    except OSError as error:
        raise KeystoreUnusable(f"{error.filename} cannot be written.") from None
    # What was written opens, or it is told now.
    keystore.open_keystore(files.keystore, files.password, expected_address=address)
    return files


def parse_secret(text: str) -> bytes:
    """A key in hexadecimal digits, with or without 0x. Raises KeystoreUnusable, which does not quote it."""
    try:
        secret = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise KeystoreUnusable("The key must be 64 hexadecimal digits, with or without 0x.")
    return secret


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
