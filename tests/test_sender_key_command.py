"""The command for sender keys: made, imported, registered and retired, customers moved; nothing secret is ever said."""

import io
import json
import stat
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from eth_account import Account
from pytest_django import Settings

from sandbox.chain.client import SandboxChain
from signing import sender_keys
from signing.models import SenderKey, SenderPin
from signing.signer.keystore import open_keystore
from tests import builders, chain_cast
from tests.held_chain import KEY
from tests.sender_cast import FIRST, SECOND, THIRD, text_of
from tests.signer_stage import execute

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str, stdin: str = "") -> str:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO(stdin))
        patch.setenv("ETH_ACCOUNT_KDF", "pbkdf2")
        call_command("sender_key", *arguments, stdout=out)
    return out.getvalue()


def line(output: str, name: str) -> str:
    return next(text.partition(": ")[2] for text in output.splitlines() if text.startswith(name + ": "))


def test_a_created_key_opens_with_its_files_and_nobody_else_reads_them(tmp_path: Path) -> None:
    told = run("create", str(tmp_path / "keys"), "--label", "first")
    keystore_file, password_file = Path(line(told, "keystore")), Path(line(told, "password"))
    key = open_keystore(keystore_file, password_file, expected_address=line(told, "address"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in (keystore_file, password_file)} == {0o600}
    assert stat.S_IMODE(keystore_file.parent.stat().st_mode) == 0o700
    assert password_file.read_text() not in told
    row = SenderKey.objects.get()
    assert (row.address, row.label, row.active) == (text_of(key), "first", True)
    second = run("create", str(tmp_path / "keys"))
    assert "takes no customers yet" in second
    assert [row.takes_new for row in sender_keys.listed()] == [False, True]


@pytest.mark.parametrize("spelling", ["{}", "0x{}", "{}\n", "  0x{}\r\n"])
def test_a_key_is_imported_from_stdin(tmp_path: Path, spelling: str) -> None:
    told = run("import", str(tmp_path), stdin=spelling.format(KEY.hex()))
    key = open_keystore(Path(line(told, "keystore")), Path(line(told, "password")), expected_address="")
    assert key.address == FIRST.address
    assert line(told, "address") == FIRST.checksum_address
    assert KEY.hex() not in told


def test_a_key_is_imported_from_another_keystore(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(json.dumps(Account.encrypt(KEY, "sesame", kdf="pbkdf2", iterations=10)))
    (tmp_path / "sesame").write_text("sesame\n")
    told = run(
        "import",
        str(tmp_path / "new"),
        "--keystore",
        str(tmp_path / "old"),
        "--password-file",
        str(tmp_path / "sesame"),
    )
    assert line(told, "address") == FIRST.checksum_address
    assert Path(line(told, "password")).read_text() != "sesame"
    with pytest.raises(CommandError, match="password-file"):
        run("import", str(tmp_path / "new"), "--keystore", str(tmp_path / "old"))


@pytest.mark.parametrize("given", ["", "xyz", KEY.hex()[:-2], KEY.hex() + "00", "00" * 32, "ff" * 32])
def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path, given: str) -> None:
    with pytest.raises(CommandError) as refused:
        run("import", str(tmp_path), stdin=given)
    assert not given or given not in str(refused.value)
    assert refused.value.__cause__ is None
    assert not list(tmp_path.iterdir())
    assert not SenderKey.objects.exists()


def test_an_import_never_replaces_a_file(tmp_path: Path) -> None:
    told = run("import", str(tmp_path), stdin=KEY.hex())
    kept = {path: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(CommandError, match="exists already"):
        run("import", str(tmp_path), stdin=KEY.hex())
    assert {path: path.read_text() for path in tmp_path.iterdir()} == kept
    Path(line(told, "keystore")).unlink()
    with pytest.raises(CommandError, match="exists already"):
        run("import", str(tmp_path), stdin=KEY.hex())


def test_the_configured_sender_has_a_row_as_soon_as_there_is_another(tmp_path: Path, settings: Settings) -> None:
    settings.SENDER_ADDRESS = FIRST.checksum_address
    told = run("register", SECOND.checksum_address, "--label", "behind the HSM")
    assert "rotate" in told
    assert [(row.key.address, row.takes_new) for row in sender_keys.listed()] == [
        (text_of(SECOND), False),
        (text_of(FIRST), True),
    ]
    assert sender_keys.ours() == [text_of(FIRST), text_of(SECOND)]
    run("register", SECOND.checksum_address)
    assert SenderKey.objects.count() == 2
    listed = run("list").splitlines()
    assert listed[0].startswith(SECOND.checksum_address)
    assert "new customers" in listed[1]


def test_customers_are_moved_one_by_one_or_all_together() -> None:
    for key in (FIRST, SECOND):
        run("register", key.checksum_address)
    owners = [builders.customer() for _ in range(3)]
    for owner in owners:
        execute("INSERT INTO signing_senderpin (customer_id, address) VALUES (%s, %s)", owner.pk, text_of(FIRST))
    told = run("move", "--customer", str(owners[0].pk), "--to", SECOND.checksum_address)
    assert "moved: 1" in told
    assert "sender_changed" in told
    assert "moved: 0" in run("move", "--customer", str(owners[0].pk), "--to", SECOND.checksum_address)
    assert "moved: 2" in run("move", "--from", FIRST.checksum_address, "--to", SECOND.checksum_address)
    assert set(SenderPin.objects.values_list("address", flat=True)) == {text_of(SECOND)}
    with pytest.raises(CommandError, match="no customer"):
        run("move", "--customer", "999999", "--to", SECOND.checksum_address)
    with pytest.raises(CommandError, match="no registered"):
        run("move", "--customer", str(owners[0].pk), "--to", THIRD.checksum_address)


def test_the_last_key_for_new_customers_cannot_be_retired() -> None:
    run("register", FIRST.checksum_address)
    with pytest.raises(CommandError, match="only active"):
        run("retire", FIRST.checksum_address)
    run("register", SECOND.checksum_address)
    run("rotate", SECOND.checksum_address, "--unchecked")
    run("retire", FIRST.checksum_address)
    assert [row.takes_new for row in sender_keys.listed()] == [True, False]
    for step in ("retire", "rotate"):
        with pytest.raises(CommandError):
            run(step, THIRD.checksum_address, *(["--unchecked"] if step == "rotate" else []))


def test_a_key_without_deposit_gets_no_customers(sandbox: SandboxChain, settings: Settings) -> None:
    chain_cast.point_at(settings, sandbox)
    run("register", SECOND.checksum_address)
    with pytest.raises(CommandError, match="no deposit or no reserve"):
        run("rotate", SECOND.checksum_address)
    chain_cast.fund(sandbox, deposit=1, reserve=1, sender=SECOND.checksum_address)
    assert SECOND.checksum_address in run("rotate", SECOND.checksum_address)
    settings.ETH_RPC_URLS = ["http://127.0.0.1:9"]
    with pytest.raises(CommandError, match="cannot be read"):
        run("rotate", SECOND.checksum_address)
