"""A signer to ask over HTTP: the real application, database and signatures, with a chain the test holds still."""

import asyncio
import base64
import http.client
import itertools
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from django.conf import settings
from django.db import connection
from django.test import override_settings
from eth_account import Account
from eth_account.messages import encode_defunct

from accounts import api_keys
from accounts.models import ApiKey, Customer
from signing.pm import livepeer_pb2 as pb
from signing.pm.tickets import MAX_UINT256, Ticket
from signing.signer.application import build
from signing.signer.keystore import Keystore, SigningKey
from signing.signer.server import config
from tests import builders
from tests.held_chain import KEY, L1_BLOCK, RATE, RECIPIENT, ROUND, ROUND_HASH, HeldChain

MARKUP_BPS = 1_500
ORCHESTRATOR = b"\x0d" * 20
FACE_VALUE = 10**15
WIN_PROB = MAX_UINT256 // 1000
COST = 10**12  # of one ticket, rounded up to wei
_READY_SECONDS = 1.0


def price_of(cost_wei: int) -> int:
    """Nano-dollars charged for an expected value, as the books round it."""
    return -(-cost_wei * RATE * (10_000 + MARKUP_BPS) // 10**22)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        error = self.json["error"]
        assert self.headers["content-type"] == "application/json"
        assert isinstance(error["message"], str)
        return str(error["code"])

    @property
    def state(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(base64.b64decode(self.json["state"]["State"]))
        return decoded

    @property
    def payment(self) -> pb.Payment:
        return pb.Payment.FromString(base64.b64decode(self.json["payment"]))

    @property
    def nonces(self) -> list[int]:
        return [each.sender_nonce for each in self.payment.ticket_sender_params]


@dataclass(frozen=True)
class Client:
    """One gateway: a signer's address and an API key, a connection a request."""

    url: str
    key: str | None

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        return self.ask(method, path, body, headers)()

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Callable[[], Answer]:
        """Sends a request; what is returned waits for its answer."""
        parts = urlsplit(self.url)
        line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=15)
        authorization = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

        def answer() -> Answer:
            with closing(line):
                response = line.getresponse()
                lower = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, lower, response.read())

        try:
            line.request(method, path, body=body, headers={**authorization, **(headers or {})})
        except BaseException:
            line.close()
            raise
        return answer

    def pay(self, **members: Any) -> Answer:
        return self.request("POST", "/generate-live-payment", json.dumps(members).encode())

    def pay_all(self, requests: list[dict[str, Any]]) -> list[Answer]:
        """All at once."""
        start = threading.Barrier(len(requests))

        def one(members: dict[str, Any]) -> Answer:
            start.wait()
            return self.pay(**members)

        with ThreadPoolExecutor(len(requests)) as several:
            return list(several.map(one, requests))


def offer(**changes: Any) -> str:
    """A fresh OrchestratorInfo in base64; `without` names fields to leave out."""
    without = changes.pop("without", ())
    given = {
        "rand_hash": os.urandom(32),
        "recipient": RECIPIENT,
        "face_value": FACE_VALUE,
        "win_prob": WIN_PROB,
        "price": (3, 1),
        "expires": int(time.time()) + 1800,
        "expiration_block": L1_BLOCK + 40,
        "creation": (ROUND, ROUND_HASH),
        **changes,
    }
    info = pb.OrchestratorInfo(transcoder="https://orch.example:8935", address=ORCHESTRATOR)
    info.price_info.price_per_unit, info.price_info.pixels_per_unit = given["price"]
    params = info.ticket_params
    params.recipient = given["recipient"]
    params.face_value = given["face_value"].to_bytes(32)
    params.win_prob = given["win_prob"].to_bytes(32)
    params.recipient_rand_hash = given["rand_hash"]
    params.seed = b"\x07"
    params.expiration_block = given["expiration_block"].to_bytes(8)
    round_, hash_ = given["creation"]
    if round_:
        params.expiration_params.creation_round = round_
        params.expiration_params.creation_round_block_hash = hash_
    info.auth_token.token = b"token"
    info.auth_token.session_id = "session"
    info.auth_token.expiration = given["expires"]
    for name in without:
        info.ClearField(name)
    return base64.b64encode(info.SerializeToString()).decode()


@dataclass
class Stage:
    """A running signer and what it stands on."""

    url: str
    chain: HeldChain
    keystore: SigningKey = field(default_factory=lambda: Keystore(KEY))

    def gateway(self, *, dollars_nano: int = 10**10, text: str | None = None) -> tuple[Client, Customer]:
        """A customer with that much credit, and a client that has its key."""
        owner = builders.customer()
        secret = text or f"ch_live_{os.urandom(4).hex()}_{os.urandom(16).hex()}"
        builders.api_key(owner, secret)
        if dollars_nano:
            builders.credit(owner, dollars_nano, reference=f"test:{os.urandom(8).hex()}")
        return Client(self.url, secret), owner


class _Prompt(uvicorn.Server):
    """Hundreds of stories end a signer; where nobody is connected any more it ends at once, not 0.2 s later.

    Connections and requests that are open end as uvicorn ends them.
    """

    async def main_loop(self) -> None:
        for tick in itertools.count():
            if await self.on_tick(tick // 5):  # uvicorn's own comes ten times a second
                return
            await asyncio.sleep(0.02)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await self.lifespan.shutdown()


@contextmanager
def running_signer(
    chain: HeldChain | None = None,
    *,
    key: SigningKey | None = None,
    more_keys: Sequence[SigningKey] = (),
    database_port: int | None = None,
    **changed_settings: Any,
) -> Iterator[Stage]:
    """The signer on a free port, connected to the test's database with the signer's own role."""
    chain, key = chain or HeldChain(), key or Keystore(KEY)
    database: dict[str, Any] = settings.DATABASES["default"]
    as_signer = {**database, "OPTIONS": {**database["OPTIONS"], "options": "-c role=clearinghouse_signer"}}
    as_signer["PORT"] = database_port or as_signer["PORT"]
    with override_settings(**changed_settings):
        application = build(keystore=key, more_keys=more_keys, chain=chain, database=as_signer)
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Prompt(config(application))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    stage = Stage(f"http://127.0.0.1:{listener.getsockname()[1]}", chain, key)
    try:
        started = time.monotonic()
        while not server.started or Client(stage.url, None).request("GET", "/readyz").status != 200:
            if server.started and time.monotonic() > started + _READY_SECONDS:
                break  # a signer on this stage need not be able to sign
            assert time.monotonic() < started + 10, "the signer did not start"
            time.sleep(0.01)
        yield stage
    finally:
        server.should_exit = True
        thread.join(timeout=15)
        listener.close()
        assert not thread.is_alive()


# -- What the books say ------------------------------------------------------------------------------------------------


def wallet(owner: Customer) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(available_nano_usd) FROM billing_wallet WHERE customer_id = %s", [owner.pk])
        return int(cursor.fetchone()[0] or 0)


def rows(owner: Customer) -> list[dict[str, Any]]:
    """Each payment with its usage, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT u.*, p.recipient_rand_hash, p.first_nonce, p.tickets, p.face_value_wei, p.win_prob,"
            " p.creation_round, p.creation_round_block_hash, p.session_id"
            " FROM billing_usage u JOIN signing_payment p ON p.customer_id = u.customer_id AND p.usage_id = u.id"
            " WHERE u.customer_id = %s ORDER BY u.id",
            [owner.pk],
        )
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        cursor.execute("SELECT count(*) FROM billing_usage WHERE customer_id = %s", [owner.pk])
        assert cursor.fetchone() == (len(found),)
    return found


def check_tickets(payment: pb.Payment, sender: str) -> None:
    """Every ticket of a payment is signed by the sender, over the hash the contract recomputes."""
    params, creation = payment.ticket_params, payment.expiration_params
    for each in payment.ticket_sender_params:
        ticket = Ticket(
            recipient=params.recipient,
            sender=payment.sender,
            face_value=int.from_bytes(params.face_value),
            win_prob=int.from_bytes(params.win_prob),
            sender_nonce=each.sender_nonce,
            recipient_rand_hash=params.recipient_rand_hash,
            creation_round=creation.creation_round,
            creation_round_block_hash=creation.creation_round_block_hash,
        )
        signer = Account.recover_message(encode_defunct(primitive=ticket.hash()), signature=each.sig)
        assert signer == sender
        assert each.sig[64] in (27, 28)


def signed_wei(row: Mapping[str, Any]) -> int:
    """ceil(n * EV) of a payment's row."""
    worth: Fraction = Fraction(int(row["face_value_wei"]) * int(row["win_prob"]), MAX_UINT256) * row["tickets"]
    return math.ceil(worth)


def revoke(key: str) -> None:
    changed = ApiKey.objects.filter(secret_sha256=api_keys.digest(key)).update(revoked_at=datetime.now(UTC))
    assert changed == 1


def execute(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
