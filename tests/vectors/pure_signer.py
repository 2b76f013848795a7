"""A signer without a server: the pure rooms in the order a payment passes them, for recorded requests."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from coincurve import PrivateKey, PublicKey

from signing.pm import ceilings, quotes, state, tickets, wire
from signing.pm.state import PaymentState, base64_text
from signing.pm.tickets import MAX_UINT256
from tests.vectors import unhex

STATE_KEY = b"the key of this test's state seals"
RECORDED_AT_NS = 1_795_291_995 * 10**9
HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    message: str = ""
    payment: str = ""
    seg_creds: str = ""
    state: PaymentState | None = None


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def answer(vector: dict[str, Any], now_ns: int = RECORDED_AT_NS) -> Answer:
    """What the product answers to a recorded request at that time, as far as pure rooms decide it."""
    try:
        return _sign(vector, now_ns)
    except Refused as refusal:
        return Answer(status=refusal.status, message=str(refusal))
    except (
        wire.BadRequest,
        ceilings.InvalidMaxPrice,
        quotes.UnknownJobType,
        quotes.NoBillableUnits,
    ) as error:
        return Answer(status=400, message=str(error))
    except (state.InvalidSig, state.InvalidState, state.StateMismatch, quotes.TooManyTickets) as error:
        return Answer(status=400, message=str(error))
    except ceilings.TicketParamsExpired:
        return Answer(status=480, message="refresh session for remote signer")
    except ceilings.TicketParamsRefused as error:
        return Answer(status=503 if error.reason.is_ours else 400, message=str(error))
    except ceilings.PriceAboveCeiling as error:
        return Answer(status=481, message=str(error))
    except quotes.NoTickets as error:
        return Answer(status=482, message=str(error))


def _sign(vector: dict[str, Any], now_ns: int) -> Answer:
    config = vector["config"]
    key = PrivateKey(unhex(config["key"]))
    request = wire.parse_request(_resealed(vector["requestText"].encode(), key))
    offer = request.orchestrator
    session = _session(request)
    if offer.auth_token is None:
        raise Refused(400, "remote signer could not check whether to refresh session: missing auth token")
    if offer.auth_token.needs_refresh(now_ns):
        raise Refused(480, "refresh session for remote signer")
    _check_first_ticket(offer.ticket_params, config)

    seconds = _seconds_since(session.last_update_ns, now_ns)
    units = quotes.billable_units(request.kind, seconds, request.in_pixels)
    request_ceiling = ceilings.parse_max_price(request.max_price, request.kind)
    initial = session.initial_price() if request.state else None
    configured = Fraction(config["maxPricePerUnit"]) if config["maxPricePerUnit"] else None
    ceilings.check_price(
        offer.price(),
        [
            (ceilings.CONFIGURED_CEILING, configured),
            (ceilings.REQUEST_CEILING, request_ceiling),
            (ceilings.INITIAL_CEILING, initial),
        ],
    )
    quotes.check_elapsed(request.kind, seconds)
    quote = quotes.quote_units(
        units,
        session.initial_price_per_unit,
        session.initial_pixels_per_unit,
        session.balance_wei,
        tickets.expected_value(offer.ticket_params.face_value, offer.ticket_params.win_prob),
    )
    ceilings.check_price_growth(
        offer.price(), Fraction(session.initial_price_per_unit, session.initial_pixels_per_unit)
    )
    _check_params(offer.ticket_params, config, count=quote.tickets)
    return _answer_with(request, session, quote, key, config, now_ns)


def _answer_with(
    request: wire.PaymentRequest,
    session: PaymentState,
    quote: quotes.Quote,
    key: PrivateKey,
    config: dict[str, Any],
    now_ns: int,
) -> Answer:
    params = request.orchestrator.ticket_params
    pm_session = state.pm_session_id(params.recipient_rand_hash)
    last_nonce = session.sender_nonce if session.pm_session_id == pm_session else 0
    first = tickets.Ticket(
        recipient=params.recipient,
        sender=address_of(key.public_key),
        face_value=params.face_value,
        win_prob=params.win_prob,
        sender_nonce=last_nonce + 1,
        recipient_rand_hash=params.recipient_rand_hash,
        creation_round=(params.creation_round if params.has_creation_round else int(config["lastInitializedRound"])),
        creation_round_block_hash=(
            params.creation_round_block_hash
            if params.has_creation_round
            else unhex(config["lastInitializedL1BlockHash"])
        ),
    )
    auth_token = request.orchestrator.auth_token
    assert auth_token is not None
    manifest_id = request.manifest_id or "00000000"
    payment = wire.encode_payment(
        params=params,
        sender=first.sender,
        creation_round=first.creation_round,
        creation_round_block_hash=first.creation_round_block_hash,
        first_nonce=first.sender_nonce,
        signatures=[sign_personal(key, hash_) for hash_ in tickets.ticket_hashes(first, quote.tickets)],
        price_info=request.orchestrator.price_info,
    )
    seg_creds = wire.encode_seg_creds(
        manifest_id=manifest_id,
        signature=sign_personal(key, wire.seg_creds_digest(manifest_id)),
        auth_token=auth_token.raw,
        capabilities=request.capabilities,
    )
    return Answer(
        status=200,
        payment=base64_text(payment),
        seg_creds=base64_text(seg_creds),
        state=session._replace(
            pm_session_id=pm_session,
            last_update_ns=now_ns,
            sender_nonce=last_nonce + quote.tickets,
            balance_wei=quote.balance_after_wei,
        ),
    )


def _session(request: wire.PaymentRequest) -> PaymentState:
    offer = request.orchestrator
    if request.state is None:
        return PaymentState(
            state_id="00000000",
            pm_session_id="",
            last_update_ns=None,
            orchestrator_address=state.address_text(offer.address),
            app=request.app,
            auth_expiry=0,
            sender_nonce=0,
            balance_wei=Fraction(0),
            initial_price_per_unit=offer.price_per_unit,
            initial_pixels_per_unit=offer.pixels_per_unit,
            kind=request.kind,
            sequence_number=0,
            auth_id="",
        )
    session = state.open_state(request.state, [STATE_KEY])
    state.check_continues(session, orchestrator_address=offer.address, app=request.app, kind=request.kind)
    if not request.manifest_id:
        raise Refused(400, "missing manifestID")
    return session._replace(kind=request.kind, sequence_number=session.sequence_number + 1)


def _check_first_ticket(params: wire.TicketParams, config: dict[str, Any]) -> None:
    try:
        _check_params(params, config, count=1)
    except ceilings.TicketParamsRefused as error:
        if error.reason.is_ours:
            raise
        cause = f"remote signer could not check whether to refresh session: {error}"
        raise Refused(400, cause) from error


def _check_params(params: wire.TicketParams, config: dict[str, Any], *, count: int) -> None:
    ceilings.check_ticket_params(
        face_value=params.face_value,
        win_prob=params.win_prob,
        expiration_block=params.expiration_block,
        tickets=count,
        funds=funds_of(config),
        limits=limits_of(config),
        last_seen_l1_block=int(config["lastSeenL1Block"]),
        last_initialized_round=int(config["lastInitializedRound"]),
    )


def funds_of(config: dict[str, Any]) -> ceilings.SenderFunds:
    return ceilings.SenderFunds(
        deposit_wei=int(config["deposit"]),
        reserve_wei=int(config["reserve"]),
        withdraw_round=int(config["withdrawRound"]),
    )


def limits_of(config: dict[str, Any]) -> ceilings.TicketLimits:
    return ceilings.TicketLimits(
        max_ticket_ev_wei=Fraction(config["maxTicketEV"]),
        max_total_ev_wei=Fraction(config["maxTotalEV"]),
        deposit_multiplier=config["depositMultiplier"],
        max_face_value_wei=MAX_UINT256,
    )


def _seconds_since(last_update_ns: int | None, now_ns: int) -> Fraction | None:
    return None if last_update_ns is None else Fraction(now_ns - last_update_ns, 10**9)


def sign_personal(key: PrivateKey, message: bytes) -> bytes:
    signature = key.sign_recoverable(personal_hash(message), hasher=None)
    return signature[:64] + bytes([signature[64] + 27])


def personal_hash(message: bytes) -> bytes:
    return tickets.keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)


def address_of(public_key: PublicKey) -> bytes:
    return tickets.keccak256(public_key.format(compressed=False)[1:])[12:]


def is_signed_by(address: bytes, message: bytes, signature: bytes) -> bool:
    if len(signature) != 65 or signature[64] not in (27, 28):
        return False
    if int.from_bytes(signature[32:64]) > HALF_ORDER:
        return False
    recoverable = signature[:64] + bytes([signature[64] - 27])
    try:
        signer = PublicKey.from_signature_and_message(recoverable, personal_hash(message), hasher=None)
    except Exception:
        return False
    return address_of(signer) == address


def _resealed(body: bytes, key: PrivateKey) -> bytes:
    """The recorded states carry a signature of the sender; give those that are genuine our own seal."""
    try:
        members = json.loads(body)
    except ValueError:
        return body
    if not isinstance(members, dict) or not members.get("state"):
        return body
    recorded = {name.lower(): base64.b64decode(value or "") for name, value in members["state"].items()}
    raw, signature = recorded.get("state", b""), recorded.get("sig", b"")
    if not is_signed_by(address_of(key.public_key), raw, signature):
        return body
    seal = hmac.digest(STATE_KEY, raw, hashlib.sha256)
    sealed = {"state": raw, "sig": seal}
    members["state"] = {name: base64.b64encode(sealed[name.lower()]).decode() for name in members["state"]}
    return json.dumps(members).encode()
