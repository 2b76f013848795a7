"""The payment route's bytes: a request body in, what is signed of it, and the messages that go out (`headers`)."""

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from signing.pm.capabilities import read_capabilities
from signing.pm.headers import HASH_OF_NOTHING, encode_payment, encode_seg_creds
from signing.pm.orchestrator_info import (
    AuthToken,
    OrchestratorInfo,
    TicketParams,
    parse_orchestrator_info,
    window,
)
from signing.pm.request_json import (
    BadRequest,
    bytes_member,
    int64_member,
    number_text_member,
    object_member,
    read_object,
    text_member,
)
from signing.pm.state import SealedState
from signing.pm.tickets import keccak256

__all__ = [
    "MAX_BODY_BYTES",
    "AuthToken",
    "BadRequest",
    "OrchestratorInfo",
    "PaymentRequest",
    "RequestTooLarge",
    "SealedState",
    "TicketParams",
    "checksum_address",
    "encode_payment",
    "encode_seg_creds",
    "orchestrator_info_digest",
    "parse_orchestrator_info",
    "parse_request",
    "seg_creds_digest",
    "window",
]

MAX_BODY_BYTES = 256 * 1024

_LONGEST_ORCHESTRATOR_INFO = 64 * 1024
_LONGEST_CAPABILITIES = 16 * 1024
_LONGEST_STATE = 16 * 1024
_LONGEST_SIG = 128
_LONGEST_APP = 256
_LONGEST_KIND = 64
_LONGEST_REQUEST_ID = 128
_LONGEST_SOURCE = 64
_MANIFEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class RequestTooLarge(ValueError):
    """The body is longer than any honest request (413)."""


class PaymentRequest(NamedTuple):
    """A payment request, understood but not yet believed.

    `state` is None for a new session, `manifest_id` and `app` are empty when absent, `kind` is the raw
    job type. `max_price` has the members `parse_max_price` reads. `capabilities` are normalised bytes.
    `digest` is equal for two bodies of the same meaning; what a gateway calls the work, `gateway_request_id` and
    `attribution_source`, is no part of that.
    """

    orchestrator: OrchestratorInfo
    state: SealedState | None
    manifest_id: str
    app: str
    in_pixels: int
    kind: str
    max_price: Mapping[str, str] | None
    capabilities: bytes | None
    models: tuple[tuple[int, str], ...]
    digest: bytes
    gateway_request_id: str = ""
    attribution_source: str = ""


def parse_request(body: bytes) -> PaymentRequest:
    """Read a request body and its offer. Raises BadRequest or RequestTooLarge.

    Left to the caller, in this order: the state's seal and match, a manifest id for a continued session,
    the auth token, ticket limits, the job type and the price ceilings.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RequestTooLarge(f"the body exceeds {MAX_BODY_BYTES} bytes")
    members = read_object(body)
    offer = bytes_member(members, "orchestrator", _LONGEST_ORCHESTRATOR_INFO)
    state = _state(members)
    manifest_id = text_member(members, "ManifestID")
    app = text_member(members, "app")
    in_pixels = int64_member(members, "inPixels")
    kind = text_member(members, "type")
    max_price = _max_price(members)
    capabilities = bytes_member(members, "capabilities", _LONGEST_CAPABILITIES)
    if not offer:
        raise BadRequest("missing orchestrator", "missing_orchestrator")
    _check_labels(manifest_id, app, kind)
    orchestrator = parse_orchestrator_info(offer)
    normalised, models = read_capabilities(capabilities) if capabilities else (None, ())
    return PaymentRequest(
        orchestrator,
        state,
        manifest_id,
        app,
        in_pixels,
        kind,
        max_price,
        normalised,
        models,
        _digest(offer, state, manifest_id, app, in_pixels, kind, max_price, capabilities),
        _note(members, "gatewayrequestid", _LONGEST_REQUEST_ID),
        _note(members, "attributionsource", _LONGEST_SOURCE),
    )


def seg_creds_digest(manifest_id: str) -> bytes:
    """The 32 bytes the sender signs for segment credentials: a live payment's segment is empty."""
    return keccak256(manifest_id.encode() + bytes(32) + HASH_OF_NOTHING)


def orchestrator_info_digest(address: bytes) -> bytes:
    """The 32 bytes the sender signs to introduce itself to orchestrators."""
    return keccak256(checksum_address(address).encode())


def checksum_address(address: bytes) -> str:
    """The mixed-case spelling of EIP-55."""
    digits = address.hex()
    mask = keccak256(digits.encode()).hex()
    pairs = zip(digits, mask, strict=False)
    return "0x" + "".join(digit.upper() if nibble >= "8" else digit for digit, nibble in pairs)


def _state(members: Mapping[str, object]) -> SealedState | None:
    state = object_member(members, "state")
    if not state:
        return None
    raw = bytes_member(state, "State", _LONGEST_STATE)
    sig = bytes_member(state, "Sig", _LONGEST_SIG)
    return SealedState(state=raw, sig=sig) if raw or sig else None


def _max_price(members: Mapping[str, object]) -> dict[str, str] | None:
    given = object_member(members, "maxPrice")
    if given is None:
        return None
    return {
        "price": number_text_member(given, "price"),
        "currency": text_member(given, "currency"),
        "unit": text_member(given, "unit"),
    }


def _note(members: Mapping[str, object], name: str, longest: int) -> str:
    """A text for reports only, cut; whatever is none is passed over as any member nobody knows."""
    value = members.get(name)
    if not isinstance(value, str):
        return ""
    note = value[:longest]
    return note if note.isprintable() else "".join(character for character in note if character.isprintable())


def _check_labels(manifest_id: str, app: str, kind: str) -> None:
    # The manifest id opens a signed message, so it may hold nothing that could imitate a ticket.
    if manifest_id and not _MANIFEST_ID.fullmatch(manifest_id):
        raise BadRequest("ManifestID must be 1 to 128 of A-Z a-z 0-9 _ . : -", "invalid_manifest_id")
    if len(app) > _LONGEST_APP:
        raise BadRequest(f"app is longer than {_LONGEST_APP} characters", "app_too_long")
    if len(kind) > _LONGEST_KIND:
        raise BadRequest("invalid job type", "invalid_job_type")


def _digest(
    offer: bytes,
    state: SealedState | None,
    manifest_id: str,
    app: str,
    in_pixels: int,
    kind: str,
    max_price: Mapping[str, str] | None,
    capabilities: bytes,
) -> bytes:
    """SHA-256 over the members' texts, then the long ones with their lengths, so that no two requests run together."""
    sealed, sig = (state.state, state.sig) if state else (b"", b"")
    price = tuple(sorted(max_price.items())) if max_price else None
    texts = repr((manifest_id, app, in_pixels, kind, price, len(offer), len(capabilities), len(sealed), len(sig)))
    return hashlib.sha256(b"".join((texts.encode(), offer, capabilities, sealed, sig))).digest()
