"""Processes with keys: a signer opens all it is given, and a web process beside it, searched byte by byte, has none."""

import contextlib
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from accounts.models import Customer
from clearinghouse.embedded import die_with_parent, free_port
from sandbox.chain.client import SandboxChain
from signing import sender_keys
from signing.signer import key_files
from signing.signer.keystore import Keystore
from tests import builders, chain_cast, standin_web3signer
from tests.signer_stage import Client, check_tickets, offer

pytestmark = pytest.mark.django_db(transaction=True)
PROJECT = Path(__file__).resolve().parent.parent
PAGES = ("/accounts/login/", "/accounts/signup/", "/api/v1/docs/", "/staff/", "/nowhere", "/api/v1/balance")


def database_url() -> str:
    given: dict[str, Any] = settings.DATABASES["default"]
    return f"postgresql://{given['USER']}:{given['PASSWORD']}@{given['HOST']}:{given['PORT']}/{given['NAME']}"


@contextmanager
def process(arguments: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        command = [sys.executable, *arguments]
        started = subprocess.Popen(command, cwd=PROJECT, env=env, stdout=file, stderr=file, preexec_fn=die_with_parent)
        try:
            yield started
        finally:
            started.terminate()
            started.wait(20)


def fetched(url: str) -> bytes:
    """What a page answers, headers too, whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return bytes(response.headers) + bytes(response.read())
    except urllib.error.HTTPError as error:
        return bytes(error.headers) + error.read()


def until_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)


def family(pid: int) -> list[int]:
    """A process and all its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def memory(pid: int) -> Iterator[bytes]:
    """Every readable stretch of a process's memory, whole."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as everything:
        for line in maps:
            mapped = re.match(r"([0-9a-f]+)-([0-9a-f]+) r.{3} (?!.*\[v)", line)
            if mapped is None:
                continue
            first, last = (int(end, 16) for end in mapped.groups())
            everything.seek(first)
            parts: list[bytes] = []
            # What has no page behind it cannot be read, and holds nothing.
            with contextlib.suppress(OSError):
                while first < last and (part := everything.read(last - first)):
                    parts.append(part)
                    first += len(part)
            yield b"".join(parts)


def holds(pids: list[int], needles: dict[str, bytes]) -> set[str]:
    found: set[str] = set()
    for pid in pids:
        for stretch in memory(pid):
            found |= {name for name, needle in needles.items() if needle in stretch}
    return found


def common(chain: SandboxChain, sender: str) -> dict[str, str]:
    """What every process is told."""
    return {
        **os.environ,
        "DATABASE_URL": database_url(),
        "ETH_RPC_URL": chain.rpc_url,
        "CONTROLLER_ADDRESS": chain.controller_address,
        "ETH_USD_FEED_ADDRESS": chain.eth_usd_feed_address,
        "SENDER_ADDRESS": sender,
        "STAFF_MFA_REQUIRED": "0",
    }


def an_offer(chain: SandboxChain) -> str:
    round_ = chain.read("RoundsManager", "lastInitializedRound")
    return offer(
        recipient=bytes.fromhex(chain.accounts["orchestrator"].address[2:]),
        creation=(round_, chain.read("RoundsManager", "blockHashForRound", round_)),
        expiration_block=chain.block_number() + 1000,
    )


def test_the_web_process_its_logs_and_its_answers_know_nothing_of_the_key(
    sandbox: SandboxChain, tmp_path: Path, static_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETH_ACCOUNT_KDF", "pbkdf2")
    secret = secrets.token_bytes(32)
    files = key_files.write(secret, tmp_path / "keys")
    chain_cast.fund(sandbox, deposit=chain_cast.ETHER, reserve=chain_cast.ETHER, sender=files.address)
    password = files.password.read_text()
    needles = {
        "bytes": secret,
        "bytes, turned": secret[::-1],
        "digits": secret.hex().encode(),
        "capital digits": secret.hex().upper().encode(),
        "password": password.encode(),
    }
    web_port, signer_port = free_port(), free_port()
    web_url, signer_url = f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{signer_port}"
    signer_env = {
        **common(sandbox, files.address),
        "PGOPTIONS": "-c role=clearinghouse_signer",
        "SIGNER_PORT": str(signer_port),
        "SENDER_KEYSTORE_FILE": str(files.keystore),
        "SENDER_KEYSTORE_PASSWORD_FILE": str(files.password),
    }
    web_env = {
        **common(sandbox, files.address),
        "PGOPTIONS": "-c role=clearinghouse_web",
        "WEB_URL": web_url,
        "SIGNER_URL": signer_url,
    }
    web_logs, signer_logs = tmp_path / "web.log", tmp_path / "signer.log"
    gunicorn = ["-m", "gunicorn", "clearinghouse.wsgi", "--bind", f"127.0.0.1:{web_port}", "--workers", "2"]
    gunicorn += ["--threads", "4", "--worker-class", "gthread", "--log-level", "debug", "--no-control-socket"]
    with (
        process(["-m", "signing.signer"], signer_env, signer_logs) as signer,
        process(gunicorn, web_env, web_logs) as web,
    ):
        until_answers(f"{signer_url}/readyz", signer, signer_logs)
        until_answers(f"{web_url}/accounts/login/", web, web_logs)
        client = a_customer(signer_url)
        answers = []
        for _ in range(5):
            paid = client.pay(orchestrator=an_offer(sandbox), type="live")
            check_tickets(paid.payment, files.address)
            answers += [paid.body, client.request("POST", "/sign-orchestrator-info").body]
            answers += [fetched(web_url + page) for page in PAGES]
        answers.append(client.pay(orchestrator="nonsense", type="live").body)
        # The search is able to find it where it must be.
        assert {"bytes"} <= holds(family(signer.pid), needles)
        assert len(family(web.pid)) == 3
        assert holds(family(web.pid), needles) == set()
    told = b"\n".join([*answers, web_logs.read_bytes(), signer_logs.read_bytes()])
    assert {name for name, needle in needles.items() if needle in told} == set()
    assert b"Sign in" in told


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "standin"])
def test_a_signer_takes_its_keys_from_a_folder_and_from_a_web3signer(
    sandbox: SandboxChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ETH_ACCOUNT_KDF", "pbkdf2")
    here, there = secrets.token_bytes(32), secrets.token_bytes(32)
    files, remote = key_files.write(here, tmp_path / "keys"), Keystore(there)
    for address in (files.address, remote.checksum_address):
        chain_cast.fund(sandbox, deposit=chain_cast.ETHER, reserve=chain_cast.ETHER, sender=address)
    port, log = free_port(), tmp_path / "signer.log"
    with standin_web3signer.running(there) as server:
        env = {
            **common(sandbox, files.address),
            "PGOPTIONS": "-c role=clearinghouse_signer",
            "SIGNER_PORT": str(port),
            "SENDER_KEYSTORE_FILE": str(tmp_path / "keys"),
            "SENDER_KEYSTORE_PASSWORD_FILE": str(tmp_path / "keys"),
            "SENDER_WEB3SIGNER_URL": server.url if url == "standin" else url,
        }
        with process(["-m", "signing.signer"], env, log) as signer:
            if url != "standin":
                assert signer.wait(60) == 1
                assert log.read_text() == "SENDER_WEB3SIGNER_URL does not answer with its public keys.\n"
                return
            until_answers(f"http://127.0.0.1:{port}/readyz", signer, log)
            client = a_customer(f"http://127.0.0.1:{port}")
            check_tickets(client.pay(orchestrator=an_offer(sandbox), type="live").payment, files.address)
            sender_keys.register(remote.checksum_address)
            sender_keys.move(Customer.objects.get(), to=remote.checksum_address)
            deadline = time.monotonic() + 10
            while (paid := client.pay(orchestrator=an_offer(sandbox), type="live")).payment.sender != remote.address:
                assert time.monotonic() < deadline
            check_tickets(paid.payment, remote.checksum_address)


def a_customer(signer_url: str) -> Client:
    owner = builders.customer()
    builders.api_key(owner, "ch_live_memory00_key")
    builders.credit(owner, 10**12, reference="test:memory")
    return Client(signer_url, "ch_live_memory00_key")
