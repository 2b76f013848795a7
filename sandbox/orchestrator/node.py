"""The orchestrator itself: it quotes, takes payments, keeps sessions funded and says how it is doing."""

import base64
import binascii
import hmac
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from google.protobuf.message import DecodeError

from sandbox.orchestrator import params
from sandbox.orchestrator.chain import Chain
from sandbox.orchestrator.recipient import Recipient
from sandbox.orchestrator.sessions import Session, Sessions
from sandbox.orchestrator.signatures import checksum, signed_by
from sandbox.orchestrator.terms import LV2V_MODEL, Offer, Price, Terms, offers
from sandbox.orchestrator.till import Till
from sandbox.orchestrator.trickle import Trickle
from signing.pm import livepeer_pb2 as pb
from signing.pm.tickets import keccak256

LIVE_VIDEO_TO_VIDEO = 35  # capability number
_MAX_SEGMENT_MILLISECONDS = 5 * 60 * 1000


class Refused(Exception):
    """The answer is no: an HTTP status, a stable code and a text for people."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Paid:
    """A payment that was taken in full, and the answer that goes back."""

    sender: bytes
    manifest_id: str
    tickets: int
    result: pb.PaymentResult


class Node:
    """All rooms of the orchestrator, wired; no sockets."""

    def __init__(self, *, address: bytes, chain: Chain, service_uri: str, directory: Path, terms: Terms) -> None:
        self.address = address
        self.service_uri = service_uri
        self.terms = terms
        self.chain = chain
        self.offers = offers(terms)
        self.till = Till(directory / "winners.sqlite3", chain, terms)
        self.recipient = Recipient(address=address, terms=terms, keep_winner=self.till.keep)
        self.trickle = Trickle(on_stop=lambda name: self.sessions.close(name, "stopped by the client"))
        self.sessions = Sessions(on_close=self.trickle.close_session)
        self._auth_secret = self.recipient.secret[::-1]
        self._refused: Counter[str] = Counter()

    async def info(self, session: Session, *, token: pb.AuthToken | None = None) -> pb.OrchestratorInfo:
        """An OrchestratorInfo for the session with new ticket parameters; the price stays what it first paid.

        Raises params.InsufficientSenderReserve, ChainUnavailable.
        """
        return await self._info(session.sender, session.session_id, session.offer, token)

    async def _info(
        self, sender: bytes, manifest_id: str, offer: Offer, token: pb.AuthToken | None
    ) -> pb.OrchestratorInfo:
        price = self.sessions.price_of(sender, manifest_id) or offer.price
        chain, sender_info = await self.chain.state(), await self.chain.sender(sender)
        info = pb.OrchestratorInfo(
            transcoder=self.service_uri,
            address=self.address,
            ticket_params=self.recipient.quote(sender, sender_info, chain, price, offer.ticket_ev_wei),
            price_info=pb.PriceInfo(price_per_unit=price.per_unit_wei, pixels_per_unit=price.units),
            auth_token=token or self._auth_token(manifest_id),
        )
        info.capabilities.capacities[LIVE_VIDEO_TO_VIDEO] = 1
        constraints = info.capabilities.constraints.per_capability[LIVE_VIDEO_TO_VIDEO]
        constraints.models[LV2V_MODEL].warm = True
        constraints.models[LV2V_MODEL].capacity = 1
        info.capabilities_prices.add(
            price_per_unit=self.terms.pixel_price_wei,
            pixels_per_unit=1,
            capability=LIVE_VIDEO_TO_VIDEO,
            constraint=LV2V_MODEL,
        )
        return info

    async def take_payment(
        self, headers: Mapping[str, str], *, manifest_id: str = "", runner_session: str | None = None
    ) -> Paid:
        """Verify and book the two payment headers.

        `manifest_id` overrides the one to book on; `runner_session` is the only session they may name.
        Raises Refused: 402 unreadable payment, 403 credentials, 400 tickets. Raises ChainUnavailable.
        """
        try:
            return await self._take_payment(headers, manifest_id, runner_session)
        except Refused as refused:
            self._refused[refused.code] += 1
            raise

    async def _take_payment(self, headers: Mapping[str, str], manifest_id: str, runner_session: str | None) -> Paid:
        payment = self._payment(headers.get("Livepeer-Payment", ""))
        segment = self.credentials(headers, payment.sender)
        token, session_id = segment.auth_token, segment.auth_token.session_id
        manifest_id = manifest_id or segment.manifest_id.decode()
        if runner_session is not None and not session_id == manifest_id == runner_session:
            raise Refused(403, "mismatched_manifest", "mismatched manifest and auth token")
        chain = await self.chain.state()
        if not chain.active:
            raise Refused(400, "recipient_not_active", "the recipient is not active in the current round")
        sender_info = await self.chain.sender(payment.sender)
        receipt = self.recipient.receive(payment, _price(payment.expected_price), sender_info, chain)
        if receipt.accepted:
            price = _price(payment.expected_price)
            self.sessions.credit(payment.sender, manifest_id, price, receipt.accepted, receipt.value_wei)
        if receipt.refusal is not None:
            raise Refused(400, receipt.refusal.code, receipt.refusal.text)
        session = self.sessions.find(session_id)
        offer = session.offer if session else self.offers["live-video-to-video"]
        info = await self._info(payment.sender, manifest_id, offer, token)
        return Paid(
            sender=payment.sender,
            manifest_id=manifest_id,
            tickets=receipt.accepted,
            result=pb.PaymentResult(info=info),
        )

    def _payment(self, header: str) -> pb.Payment:
        try:
            payment = pb.Payment.FromString(base64.b64decode(header, validate=True))
        except (binascii.Error, DecodeError, ValueError) as error:
            raise Refused(402, "unreadable_payment", "could not read the payment") from error
        if not payment.sender:
            raise Refused(402 if not header else 400, "no_payment", "a payment with a sender is required")
        price = payment.expected_price
        if price.price_per_unit < 0 or price.pixels_per_unit <= 0:
            raise Refused(400, "missing_price", "invalid expected price sent with payment")
        return payment

    def session_id_in(self, headers: Mapping[str, str]) -> str:
        """The session the credentials claim; nothing is verified. Raises Refused(403)."""
        return _segment(headers).auth_token.session_id

    def credentials(self, headers: Mapping[str, str], sender: bytes) -> pb.SegData:
        """The credentials, if `sender` signed them and the auth token is ours. Raises Refused(403)."""
        segment = _segment(headers)
        if segment.seq < 0 or not 0 <= segment.duration <= _MAX_SEGMENT_MILLISECONDS:
            raise Refused(403, "bad_duration", "invalid duration")
        flat = segment.manifest_id + segment.seq.to_bytes(32) + segment.hash[-32:].rjust(32, b"\0")
        if segment.profiles != b"invalid":
            flat += segment.profiles
        if not signed_by(sender, keccak256(flat), segment.sig):
            raise Refused(403, "segment_signature", "segment sig check failed")
        token = segment.auth_token
        expected = params.auth_token(self._auth_secret, token.session_id, token.expiration)
        if not hmac.compare_digest(expected, token.token):
            raise Refused(403, "auth_token", "invalid auth token")
        if time.time() > token.expiration:
            raise Refused(403, "auth_token_expired", "expired auth token")
        return segment

    def _auth_token(self, session_id: str) -> pb.AuthToken:
        expiration = int(time.time()) + self.terms.auth_token_seconds
        token = params.auth_token(self._auth_secret, session_id, expiration)
        return pb.AuthToken(token=token, session_id=session_id, expiration=expiration)

    def require_credit(self, sender: bytes, manifest_id: str, needed_wei: Fraction) -> None:
        """Raises Refused(400) unless the account holds `needed_wei`."""
        account = self.sessions.accounts.get((sender, manifest_id))
        if account is None or account.credit_wei < needed_wei:
            raise Refused(400, "insufficient_balance", "Insufficient balance")

    def signed_request(self, request: pb.OrchestratorRequest) -> bool:
        """Whether the asking sender proved to own its address."""
        return signed_by(request.address, keccak256(checksum(request.address).encode()), request.sig)

    def status(self) -> dict[str, object]:
        """Everything a test or a spectator wants to see; wei as exact decimal or fraction text."""
        recipient = self.recipient
        return {
            "recipient": checksum(self.address),
            "service_uri": self.service_uri,
            "tickets_accepted": recipient.accepted,
            "tickets_rejected": sum(recipient.refused.values()),
            "rejected": dict(recipient.refused),
            "payments_rejected": dict(self._refused),
            "accounts": [
                {
                    "sender": checksum(sender),
                    "manifest_id": manifest_id,
                    "tickets": account.tickets,
                    "received_wei": str(account.received_wei),
                    "debited_wei": str(account.debited_wei),
                    "credit_wei": str(account.credit_wei),
                }
                for (sender, manifest_id), account in self.sessions.accounts.items()
            ],
            "received_wei": str(sum((a.received_wei for a in self.sessions.accounts.values()), Fraction(0))),
            "sessions": [
                {
                    "session_id": session.session_id,
                    "app": session.offer.app,
                    "sender": checksum(session.sender),
                    "state": session.state,
                    "closed_because": session.closed_because,
                }
                for session in self.sessions.sessions.values()
                if session.state != "offered"
            ],
            "recipient_rand_hashes": recipient.tickets_by_hash,
            **self.till.status(),
        }


def _segment(headers: Mapping[str, str]) -> pb.SegData:
    try:
        segment = pb.SegData.FromString(base64.b64decode(headers["Livepeer-Segment"], validate=True))
        segment.manifest_id.decode()
    except (KeyError, binascii.Error, DecodeError, ValueError) as error:
        raise Refused(403, "unreadable_segment", "could not read the segment credentials") from error
    return segment


def _price(info: pb.PriceInfo) -> Price:
    return Price(per_unit_wei=info.price_per_unit, units=info.pixels_per_unit)
