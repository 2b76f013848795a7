"""Several sender keys: a customer stays with one, the newest takes the new ones, and a move ends old sessions."""

import io
import json
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from eth_account import Account
from pytest_django import Settings

from accounts.models import AuditEntry
from clearinghouse import environment
from clearinghouse.environment import SettingError
from signing import sender_keys
from signing.models import SenderKey, SenderPin
from signing.pm.ceilings import SenderFunds
from signing.signer.keyring import open_keys
from signing.signer.keystore import Keystore, KeystoreUnusable, SigningKey, open_keystore
from signing.signer.web3signer import Web3Signer
from tests import builders, chain_cast, standin_web3signer
from tests.signer_stage import ETHER, KEY, Client, HeldChain, Stage, check_tickets, execute, offer, rows, running_signer

pytestmark = pytest.mark.django_db(transaction=True)
FIRST, SECOND, THIRD = Keystore(KEY), Keystore(b"\x5e" * 32), Keystore(b"\x3d" * 32)
FUNDS = SenderFunds(deposit_wei=ETHER, reserve_wei=ETHER, withdraw_round=0)


def text_of(key: SigningKey) -> str:
    return "0x" + key.address.hex()


@contextmanager
def signer_of(*keys: SigningKey, chain: HeldChain | None = None) -> Iterator[Stage]:
    """A signer that holds these keys, all of them funded."""
    if chain is None:
        chain = HeldChain()
        assert chain.current
        chain.current = replace(chain.current, other_funds={text_of(key): FUNDS for key in (FIRST, SECOND, THIRD)})
    with running_signer(chain, key=keys[0], more_keys=keys[1:]) as stage:
        yield stage


def opening(**changes: Any) -> dict[str, Any]:
    return {"orchestrator": offer(price=(9 * 10**11, 1)), "type": "fixed", "ManifestID": "m", **changes}


def sender_of(client: Client) -> str:
    """Who the customer is told to introduce itself as."""
    return str(client.request("POST", "/sign-orchestrator-info").json["address"])


def until(holds: Any) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- Which key signs ---------------------------------------------------------------------------------------------------


def test_without_rows_the_first_key_signs_for_everybody() -> None:
    with signer_of(FIRST, SECOND) as stage:
        client, owner = stage.gateway()
        assert sender_of(client) == FIRST.checksum_address
        check_tickets(client.pay(**opening()).payment, FIRST.checksum_address)
        assert SenderPin.objects.get().customer == owner


def test_new_customers_pay_by_the_newest_key_and_old_ones_stay() -> None:
    with signer_of(FIRST, SECOND) as stage:
        old, _ = stage.gateway()
        assert sender_of(old) == FIRST.checksum_address
        sender_keys.register(FIRST.checksum_address)
        sender_keys.register(SECOND.checksum_address)
        between, _ = stage.gateway()
        assert sender_of(between) == FIRST.checksum_address
        sender_keys.rotate_to(SECOND.checksum_address)
        new, owner = stage.gateway()
        answer = new.pay(**opening())
        check_tickets(answer.payment, SECOND.checksum_address)
        assert answer.payment.sender == SECOND.address
        assert sender_of(new) == SECOND.checksum_address
        assert {sender_of(client) for client in (old, between)} == {FIRST.checksum_address}
        check_tickets(old.pay(**opening()).payment, FIRST.checksum_address)
        assert rows(owner)[0]["tickets"] == len(answer.nonces)
        # Back to the first one, for those who come next.
        sender_keys.rotate_to(FIRST.checksum_address)
        assert sender_of(stage.gateway()[0]) == FIRST.checksum_address
        assert sender_of(new) == SECOND.checksum_address


def test_a_customer_has_one_sender_at_every_signer_however_many_ask_first() -> None:
    """Two signers disagree about their default; only one of them is right."""
    with signer_of(FIRST, SECOND) as here, signer_of(SECOND, FIRST, chain=here.chain) as there:
        for _ in range(5):
            client, owner = here.gateway()
            doors = [client, Client(there.url, client.key)] * 6
            start = threading.Barrier(len(doors))
            told: list[str] = []

            def ask(door: Client, start: threading.Barrier = start, told: list[str] = told) -> None:
                start.wait()
                told.append(sender_of(door))

            askers = [threading.Thread(target=ask, args=(door,)) for door in doors]
            for asker in askers:
                asker.start()
            for asker in askers:
                asker.join()
            assert len(told) == len(doors)
            assert len(set(told)) == 1
            assert SenderPin.objects.get(customer=owner).address == told[0].lower()


def test_a_signer_without_the_customers_key_says_so_for_now() -> None:
    with signer_of(FIRST) as here, signer_of(SECOND, chain=here.chain) as there:
        client, owner = here.gateway()
        assert client.pay(**opening()).status == 200
        answer = Client(there.url, client.key).pay(**opening())
        assert (answer.status, answer.code) == (503, "sender_key_missing")
        assert len(rows(owner)) == 1


def test_a_key_that_was_registered_and_not_activated_takes_nobody() -> None:
    sender_keys.register(FIRST.checksum_address)
    sender_keys.register(SECOND.checksum_address)
    with signer_of(SECOND) as stage:
        client, owner = stage.gateway()
        answer = client.pay(**opening())
        assert (answer.status, answer.code) == (503, "no_sender_key")
        sender_keys.rotate_to(SECOND.checksum_address)
        assert client.pay(**opening()).status == 200
        assert len(rows(owner)) == 1


def test_each_sender_pays_from_its_own_deposit() -> None:
    with signer_of(FIRST, SECOND) as stage:
        clients = [stage.gateway()[0] for _ in range(2)]
        sender_keys.register(FIRST.checksum_address)
        assert clients[0].pay(**opening()).status == 200
        sender_keys.register(SECOND.checksum_address)
        sender_keys.rotate_to(SECOND.checksum_address)
        assert clients[1].pay(**opening()).status == 200
        empty = SenderFunds(deposit_wei=0, reserve_wei=0, withdraw_round=0)
        stage.chain.change(other_funds={text_of(SECOND): empty})
        assert clients[0].pay(**opening()).status == 200
        assert clients[1].pay(**opening()).status == 503
        stage.chain.change(other_funds={})
        refused = clients[1].pay(**opening())
        assert (refused.status, refused.code) == (503, "sender_unread")


def test_nonces_of_two_senders_do_not_meet() -> None:
    shared = offer(price=(9 * 10**11, 1))
    with signer_of(FIRST, SECOND) as stage:
        first, _ = stage.gateway()
        a = first.pay(**opening(orchestrator=shared))
        sender_keys.register(FIRST.checksum_address)
        sender_keys.register(SECOND.checksum_address)
        sender_keys.rotate_to(SECOND.checksum_address)
        second, _ = stage.gateway()
        b = second.pay(**opening(orchestrator=shared))
        assert a.nonces[0] == b.nonces[0] == 1
        assert first.pay(**opening(orchestrator=shared, ManifestID="n")).nonces[0] == a.nonces[-1] + 1


def test_a_local_and_a_remote_key_serve_side_by_side() -> None:
    with (
        standin_web3signer.running(b"\x5e" * 32) as server,
        signer_of(FIRST, *Web3Signer(server.url).keys()) as stage,
    ):
        local, _ = stage.gateway()
        assert sender_of(local) == FIRST.checksum_address
        sender_keys.register(SECOND.checksum_address)
        sender_keys.rotate_to(SECOND.checksum_address)
        remote, _ = stage.gateway()
        check_tickets(remote.pay(**opening()).payment, SECOND.checksum_address)
        server.manner = "silent"
        started = time.monotonic()
        asking = threading.Thread(target=remote.pay, kwargs=opening())
        asking.start()
        assert all(local.pay(**opening()).status == 200 for _ in range(5))
        assert time.monotonic() - started < 0.9, "a key that hangs must not hold up another one"
        asking.join()


# -- A move ------------------------------------------------------------------------------------------------------------


def test_a_moved_customer_starts_again_and_is_charged_once_for_everything() -> None:
    with signer_of(FIRST, SECOND) as here, signer_of(FIRST, SECOND, chain=here.chain) as there:
        client, owner = here.gateway()
        first = client.pay(**opening())
        sender_keys.register(FIRST.checksum_address)
        sender_keys.register(SECOND.checksum_address)
        assert sender_keys.move(owner, to=SECOND.checksum_address)
        assert not sender_keys.move(owner, to=SECOND.checksum_address)
        doors = [client, Client(there.url, client.key)]
        for door in doors:
            until(lambda door=door: sender_of(door) == SECOND.checksum_address)
        paid = len(rows(owner))
        for door in doors:
            ended = door.pay(**opening(state=first.json["state"]))
            assert (ended.status, ended.code) == (400, "sender_changed")
        assert len(rows(owner)) == paid
        again = client.pay(**opening())
        check_tickets(again.payment, SECOND.checksum_address)
        follow = doors[1].pay(**opening(state=again.json["state"]))
        assert follow.status == 200, follow.body
        check_tickets(follow.payment, SECOND.checksum_address)


def test_an_answer_lost_before_the_move_is_still_given() -> None:
    with signer_of(FIRST, SECOND) as stage:
        client, owner = stage.gateway()
        request = opening()
        opened = client.pay(**request)
        follow = opening(state=opened.json["state"])
        lost = client.pay(**follow)
        sender_keys.register(SECOND.checksum_address)
        sender_keys.move(owner, to=SECOND.checksum_address)
        until(lambda: sender_of(client) == SECOND.checksum_address)
        assert client.pay(**follow).body == lost.body
        assert len(rows(owner)) == 2


def test_a_move_is_written_down_and_goes_to_registered_keys_only() -> None:
    owner = builders.customer()
    with pytest.raises(sender_keys.UnknownSender):
        sender_keys.move(owner, to=SECOND.checksum_address)
    assert not SenderPin.objects.exists()
    sender_keys.register(SECOND.checksum_address)
    sender_keys.move(owner, to=SECOND.checksum_address.upper().replace("0X", "0x"))
    entry = AuditEntry.objects.get(action="sender_key.customer_moved")
    assert (entry.customer, entry.after) == (owner, {"sender": text_of(SECOND)})


# -- The command -------------------------------------------------------------------------------------------------------


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


def test_a_key_without_deposit_gets_no_customers(tmp_path: Path, settings: Settings) -> None:
    with chain_cast.quiet_chain(tmp_path) as sandbox:
        chain_cast.point_at(settings, sandbox)
        run("register", SECOND.checksum_address)
        with pytest.raises(CommandError, match="no deposit or no reserve"):
            run("rotate", SECOND.checksum_address)
        chain_cast.fund(sandbox, deposit=1, reserve=1, sender=SECOND.checksum_address)
        assert SECOND.checksum_address in run("rotate", SECOND.checksum_address)
    with pytest.raises(CommandError, match="cannot be read"):
        run("rotate", SECOND.checksum_address)


# -- What a process opens ----------------------------------------------------------------------------------------------


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


def test_a_pin_is_decided_once() -> None:
    owner = builders.customer()
    told = []
    for key in (FIRST, SECOND):
        with connection.cursor() as cursor:
            cursor.execute("SELECT signing_pin_sender(%s, %s)", [owner.pk, [text_of(key)]])
            told.append(cursor.fetchone()[0])
    assert told == [text_of(FIRST)] * 2
