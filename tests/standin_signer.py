"""A signer without books: it prices and signs like the real one, for tests of the world around it."""

import base64
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct

from signing.pm import livepeer_pb2 as pb
from signing.pm import quotes
from signing.pm.tickets import Ticket, expected_value, keccak256
from tests.json_doors import JsonDoors, opened

_NOTHING = keccak256(b"")


@dataclass(kw_only=True)
class Payer:
    """A sender key and what it signs."""

    key: str

    @property
    def address_text(self) -> str:
        text: str = Account.from_key(self.key).address
        return text

    @property
    def address(self) -> bytes:
        return bytes.fromhex(self.address_text[2:])

    def sign(self, message: bytes) -> bytes:
        signed = Account.sign_message(encode_defunct(primitive=message), self.key)
        return bytes(signed.signature)

    def orchestrator_request(self) -> pb.OrchestratorRequest:
        return pb.OrchestratorRequest(address=self.address, sig=self.sign(keccak256(self.address_text.encode())))

    def payment(self, info: pb.OrchestratorInfo, nonces: Sequence[int]) -> pb.Payment:
        """A correct payment with one ticket per nonce; tests forge it afterwards."""
        params = pb.TicketParams.FromString(info.ticket_params.SerializeToString())
        params.ClearField("expiration_params")
        payment = pb.Payment(
            ticket_params=params,
            sender=self.address,
            expiration_params=info.ticket_params.expiration_params,
            expected_price=info.price_info,
        )
        for nonce in nonces:
            signature = self.sign(ticket_of(payment, nonce).hash())
            payment.ticket_sender_params.add(sender_nonce=nonce, sig=signature)
        return payment

    def segment(self, info: pb.OrchestratorInfo, manifest_id: str) -> pb.SegData:
        name = manifest_id.encode()
        return pb.SegData(
            manifest_id=name,
            hash=_NOTHING,
            profiles=b"invalid",
            sig=self.sign(keccak256(name + bytes(32) + _NOTHING)),
            auth_token=info.auth_token,
        )

    def headers(self, info: pb.OrchestratorInfo, manifest_id: str, nonces: Sequence[int]) -> dict[str, str]:
        return payment_headers(self.payment(info, nonces), self.segment(info, manifest_id))


def ticket_of(payment: pb.Payment, nonce: int) -> Ticket:
    params, creation = payment.ticket_params, payment.expiration_params
    return Ticket(
        recipient=params.recipient,
        sender=payment.sender,
        face_value=int.from_bytes(params.face_value),
        win_prob=int.from_bytes(params.win_prob),
        sender_nonce=nonce,
        recipient_rand_hash=params.recipient_rand_hash,
        creation_round=creation.creation_round,
        creation_round_block_hash=creation.creation_round_block_hash,
    )


def payment_headers(payment: pb.Payment, segment: pb.SegData) -> dict[str, str]:
    return {
        "Livepeer-Payment": base64.b64encode(payment.SerializeToString()).decode(),
        "Livepeer-Segment": base64.b64encode(segment.SerializeToString()).decode(),
    }


@dataclass
class StandinSigner:
    """Answers the two routes gateways need. `refuse_with` makes every payment fail with that status;
    `refresh_each` asks every session once, at its first follow-up, for fresh ticket parameters (480)."""

    payer: Payer
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    refuse_with: int = 0
    who_says: str = ""  # another address than its own
    refresh_each: bool = False
    tickets: int = 0
    refreshed: set[str] = field(default_factory=set)
    _sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def who(self) -> dict[str, str]:
        signature = self.payer.orchestrator_request().sig
        return {"address": self.who_says or self.payer.address_text, "signature": "0x" + signature.hex()}

    def pay(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.requests.append(request)
            info = pb.OrchestratorInfo.FromString(base64.b64decode(request["orchestrator"]))
            name = (request.get("state") or {}).get("State")
            if self.refuse_with:
                return self.refuse_with, {}
            if name and self.refresh_each and name not in self.refreshed:
                self.refreshed.add(name)
                return 480, {}
            return self._pay(request, info, name or base64.b64encode(b"%d" % len(self.requests)).decode())

    def _pay(self, request: dict[str, Any], info: pb.OrchestratorInfo, name: str) -> tuple[int, dict[str, Any]]:
        now = time.time_ns()
        session = self._sessions.setdefault(name, {"balance": Fraction(0), "paid": None, "nonces": {}})
        params = info.ticket_params
        ev = expected_value(int.from_bytes(params.face_value), int.from_bytes(params.win_prob))
        kind, paid, price = request.get("type", ""), session["paid"], info.price_info
        seconds = None if paid is None else Fraction(now - paid, 10**9)
        try:
            quotes.check_elapsed(kind, seconds)
            units = quotes.billable_units(kind, seconds, request.get("inPixels", 0))
            quoted = quotes.quote_units(units, price.price_per_unit, price.pixels_per_unit, session["balance"], ev)
        except quotes.NoTickets:
            return 482, {}
        first = session["nonces"].get(params.recipient_rand_hash, 0) + 1
        last = first + quoted.tickets - 1
        session |= {"balance": quoted.balance_after_wei, "paid": now}
        session["nonces"][params.recipient_rand_hash] = last
        self.tickets += quoted.tickets
        manifest_id = request.get("ManifestID") or "invented"
        headers = self.payer.headers(info, manifest_id, range(first, last + 1))
        return 200, {
            "payment": headers["Livepeer-Payment"],
            "segCreds": headers["Livepeer-Segment"],
            "state": {"State": name, "Sig": name},
        }


@contextmanager
def standin_signer(payer: Payer) -> Iterator[StandinSigner]:
    signer = StandinSigner(payer)

    class Doors(JsonDoors):
        def do_POST(self) -> None:
            body = self.body()
            if self.path == "/sign-orchestrator-info":
                status, answer = 200, dict[str, Any](signer.who())
            else:
                status, answer = signer.pay(json.loads(body))
            if status != 200:
                answer = {"error": {"message": f"refused with {status}"}}
            self.answer(status, json.dumps(answer).encode())

    with opened(Doors) as signer.url:
        yield signer
