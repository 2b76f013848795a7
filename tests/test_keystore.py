"""The key's room: it opens what it should, signs what the network checks, and tells nobody anything."""

import json
import pickle
import traceback
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from signing.pm.tickets import keccak256
from signing.signer.keystore import Keystore, KeystoreUnusable, open_keystore
from tests.vectors import load, unhex

KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
PASSWORD = "open sesame"
HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    wallet, password = tmp_path / "keystore.json", tmp_path / "password"
    wallet.write_text(json.dumps(Account.encrypt(KEY, PASSWORD, kdf="pbkdf2", iterations=10)))
    password.write_text(PASSWORD + "\n")
    return wallet, password


def test_a_keystore_opens_with_its_password_file(files: tuple[Path, Path]) -> None:
    keystore = open_keystore(*files, expected_address=ADDRESS.lower())
    assert keystore.checksum_address == ADDRESS
    assert keystore.address == bytes.fromhex(ADDRESS[2:])
    assert open_keystore(*files, expected_address="").checksum_address == ADDRESS


def test_another_key_than_expected_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(KeystoreUnusable, match=ADDRESS):
        open_keystore(*files, expected_address="0x" + "11" * 20)


@pytest.mark.parametrize("broken", ["no files", "wrong password", "no JSON", "no keystore", "gone"])
def test_a_keystore_that_does_not_open_is_told_in_one_sentence_without_secrets(
    files: tuple[Path, Path], broken: str
) -> None:
    wallet, password = files
    if broken == "wrong password":
        password.write_text("close sesame")
    elif broken == "no JSON":
        wallet.write_text(KEY.hex())
    elif broken == "no keystore":
        wallet.write_text(json.dumps({"key": KEY.hex()}))
    elif broken == "gone":
        wallet.unlink()
    given = (None, None) if broken == "no files" else files
    with pytest.raises(KeystoreUnusable) as caught:
        open_keystore(*given, expected_address="")
    told = "".join(traceback.format_exception(caught.value))
    assert KEY.hex() not in told
    assert "sesame" not in told
    assert "\n" not in str(caught.value)


def test_a_keystore_shows_its_address_and_nothing_else() -> None:
    keystore = Keystore(KEY)
    assert repr(keystore) == str(keystore) == f"Keystore({ADDRESS})"
    with pytest.raises(TypeError):
        pickle.dumps(keystore)
    assert not hasattr(keystore, "__dict__")


def test_messages_are_signed_as_the_network_signs_them() -> None:
    for vector in load("misc")["orchInfoSigs"]:
        recorded = Keystore(unhex(vector["key"]))
        signature = recorded.sign_personal(keccak256(vector["message"].encode()))
        assert (recorded.checksum_address, "0x" + signature.hex()) == (vector["address"], vector["signature"])
    keystore = Keystore(KEY)
    for message in (b"", b"x" * 31, b"\x00" * 32, b"a longer message" * 100):
        signature = keystore.sign_personal(message)
        assert signature == bytes(Account.sign_message(encode_defunct(primitive=message), KEY).signature)
        assert (len(signature), signature[64] in (27, 28)) == (65, True)
        assert int.from_bytes(signature[32:64]) <= HALF_ORDER


def test_a_transaction_is_signed_by_the_same_key() -> None:
    raw = Keystore(KEY).sign_transaction(
        {
            "to": "0x" + "22" * 20,
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 10,
            "maxPriorityFeePerGas": 1,
            "nonce": 0,
            "chainId": 42161,
        }
    )
    assert Account.recover_transaction(raw) == ADDRESS
