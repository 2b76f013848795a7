"""All keys of one signer process: keystores on this machine, and those a Web3Signer holds."""

from collections.abc import Sequence
from pathlib import Path

from signing.signer.keystore import KeystoreUnusable, SigningKey, open_keystore
from signing.signer.web3signer import Web3Signer


def open_keys(
    keystore_files: Sequence[Path],
    password_files: Sequence[Path],
    *,
    web3signer_url: str,
    expected_address: str,
) -> list[SigningKey]:
    """The key of `expected_address` first; it may be empty where there is one key. Raises KeystoreUnusable."""
    keys = _local(keystore_files, password_files, expected_address, is_all=not web3signer_url)
    if web3signer_url:
        keys += Web3Signer(web3signer_url).keys()
    keys = list({key.address: key for key in reversed(keys)}.values())[::-1]
    if len(keys) == 1 and not expected_address:
        return keys
    if not expected_address:
        raise KeystoreUnusable(f"SENDER_ADDRESS must say which of the {len(keys)} sender keys is the first.")
    first = [key for key in keys if key.checksum_address.lower() == expected_address.lower()]
    if not first:
        raise KeystoreUnusable(f"None of the {len(keys)} sender keys is that of {expected_address}.")
    return [*first, *(key for key in keys if key is not first[0])]


def _local(
    keystore_files: Sequence[Path], password_files: Sequence[Path], expected_address: str, *, is_all: bool
) -> list[SigningKey]:
    if is_all and len(keystore_files) <= 1 and len(password_files) <= 1:
        only = (next(iter(keystore_files), None), next(iter(password_files), None))
        return [open_keystore(*only, expected_address=expected_address)]
    return [
        open_keystore(keystore_file, password_file, expected_address="")
        for keystore_file, password_file in _pairs(keystore_files, password_files)
    ]


def _pairs(keystore_files: Sequence[Path], password_files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each keystore with its password file: in order, one for all, or the one of the same name."""
    if len(password_files) == 1:
        return [(keystore_file, password_files[0]) for keystore_file in keystore_files]
    by_name = {path.stem: path for path in password_files}
    if all(path.stem in by_name for path in keystore_files):
        return [(path, by_name[path.stem]) for path in keystore_files]
    if len(password_files) != len(keystore_files):
        raise KeystoreUnusable(
            f"{len(keystore_files)} keystore files need one password file or as many, not {len(password_files)}."
        )
    return list(zip(keystore_files, password_files, strict=True))
