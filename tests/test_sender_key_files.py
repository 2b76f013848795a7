"""What keys a process opens: a folder, a list or a server of them; what cannot be told apart stops the start."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from clearinghouse import environment
from clearinghouse.environment import SettingError
from signing.signer.keyring import open_keys
from signing.signer.keystore import Keystore, KeystoreUnusable, SigningKey
from tests import standin_web3signer
from tests.held_chain import KEY
from tests.sender_cast import FIRST, SECOND, THIRD, text_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three keystores that open quickly, each with a password of its own."""
    for secret in (KEY, b"\x5e" * 32, b"\x3d" * 32):
        name, password = text_of(Keystore(secret)), f"sesame {secret[0]}"
        wallet = Account.encrypt(secret, password, kdf="pbkdf2", iterations=10)
        (tmp_path / f"{name}.json").write_text(json.dumps(wallet))
        (tmp_path / f"{name}.password").write_text(password)
    return tmp_path


def opened(monkeypatch: pytest.MonkeyPatch, files: str, passwords: str, expected: str) -> list[SigningKey]:
    monkeypatch.setenv("SENDER_KEYSTORE_FILE", files)
    monkeypatch.setenv("SENDER_KEYSTORE_PASSWORD_FILE", passwords)
    return open_keys(
        environment.files("SENDER_KEYSTORE_FILE", "*.json"),
        environment.files("SENDER_KEYSTORE_PASSWORD_FILE", "*.password"),
        web3signer_url="",
        expected_address=expected,
    )


def test_a_folder_or_a_list_of_keystores_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = opened(monkeypatch, str(folder), str(folder), SECOND.checksum_address)
    assert both[0].address == SECOND.address
    assert {key.address for key in both} == {FIRST.address, SECOND.address, THIRD.address}
    names = [text_of(key) for key in (THIRD, FIRST)]
    files = ",".join(f"{folder}/{name}.json" for name in names)
    passwords = ", ".join(f"{folder}/{name}.password" for name in names)
    listed = opened(monkeypatch, files, passwords, THIRD.checksum_address)
    assert [key.address for key in listed] == [THIRD.address, FIRST.address]
    only = opened(monkeypatch, f"{folder}/{names[1]}.json", f"{folder}/{names[1]}.password", "")
    assert [key.address for key in only] == [FIRST.address]


def test_keys_that_cannot_be_told_apart_stop_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeystoreUnusable, match="SENDER_ADDRESS must say which"):
        opened(monkeypatch, str(folder), str(folder), "")
    with pytest.raises(KeystoreUnusable, match="None of the 3 sender keys"):
        opened(monkeypatch, str(folder), str(folder), "0x" + "11" * 20)
    for name in ("a", "b"):
        (folder / name).write_text("password")
    with pytest.raises(KeystoreUnusable, match="one password file or as many"):
        opened(monkeypatch, str(folder), f"{folder}/a,{folder}/b", FIRST.checksum_address)
    (folder / "empty").mkdir()
    with pytest.raises(SettingError, match="a folder without"):
        opened(monkeypatch, str(folder / "empty"), str(folder), "")


def test_a_key_that_is_here_and_behind_the_web3signer_is_used_from_here(folder: Path) -> None:
    with standin_web3signer.running(KEY) as server:
        name = text_of(FIRST)
        here, *others = open_keys(
            [folder / f"{name}.json"], [folder / f"{name}.password"], web3signer_url=server.url, expected_address=name
        )
        assert (here.is_local, others) == (True, [])
        (remote,) = open_keys([], [], web3signer_url=server.url, expected_address="")
        assert (remote.is_local, remote.address) == (False, FIRST.address)
