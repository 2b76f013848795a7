"""What a session keeps of its last answer: what was signed and the state's seal. The state itself its row tells."""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signing.pm import livepeer_pb2
from signing.pm.orchestrator_info import OrchestratorInfo, TicketParams
from signing.pm.quotes import parse_rational
from signing.pm.state import PaymentState, base64_text, pm_session_id, seal
from signing.signer.sessions import auth_id

_LENGTH_BYTES = 4
_SEAL_BYTES = 32


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer that was given before, or lost: the payment and segment credential messages, and the sealed state."""

    payment: bytes
    seg_creds: bytes
    state: Mapping[str, str]

    def text(self) -> bytes:
        """The body it was answered with, byte for byte."""
        return answer_text(self.payment, self.seg_creds, self.state).encode()

    def pays(self, offer: OrchestratorInfo, *, l1_block: int) -> bool:
        """Whether the payment still pays this later offer of the same orchestrator.

        With other ticket parameters the lost ones must live; with the same ones nothing but the auth token may differ.
        """
        paid = livepeer_pb2.Payment.FromString(self.payment)
        params, stored = offer.ticket_params, paid.ticket_params
        expiration_block = int.from_bytes(stored.expiration_block)
        if expiration_block - l1_block <= 1 or stored.recipient != params.recipient:
            return False
        if stored.recipient_rand_hash != params.recipient_rand_hash:
            return True
        return params == TicketParams(
            recipient=stored.recipient,
            face_value=int.from_bytes(stored.face_value),
            win_prob=int.from_bytes(stored.win_prob),
            recipient_rand_hash=stored.recipient_rand_hash,
            seed=int.from_bytes(stored.seed),
            expiration_block=expiration_block,
            creation_round=params.creation_round,
            creation_round_block_hash=params.creation_round_block_hash,
        ) and paid.expected_price == livepeer_pb2.PriceInfo.FromString(offer.price_info)


def answer_text(payment: bytes, seg_creds: bytes, state: Mapping[str, str]) -> str:
    """The JSON answer of a payment."""
    return (
        f'{{"payment":"{base64_text(payment)}","segCreds":"{base64_text(seg_creds)}",'
        f'"state":{{"State":"{state["State"]}","Sig":"{state["Sig"]}"}}}}'
    )


def kept(payment: bytes, seg_creds: bytes, state: Mapping[str, str]) -> bytes:
    """What lies in the row: the length of the payment message, the message, the state's seal, the credentials."""
    return b"".join((len(payment).to_bytes(_LENGTH_BYTES), payment, b64decode(state["Sig"]), seg_creds))


def told(row: Mapping[str, Any], customer_id: int, keys: Sequence[bytes]) -> StoredAnswer | None:
    """The answer that a commit tells with its session's row; None where it tells none.

    The state gets the seal it had. Where none of `keys` gives it that one, the row says something else than it said:
    the row is the truth, and what it says now is sealed. Rows of former signers hold the text that was answered.
    """
    if row.get("stored") is not None:
        raw = bytes.fromhex(row["stored"])
        payment_end = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES])
        seal_end = payment_end + _SEAL_BYTES
        state, given = _state(row, customer_id), base64_text(raw[payment_end:seal_end])
        seals = [seal(state, [key], row["balance"]) for key in keys]
        sealed = next((each for each in seals if each["Sig"] == given), seals[0])
        return StoredAnswer(raw[_LENGTH_BYTES:payment_end], raw[seal_end:], sealed)
    if row.get("answer") is None:
        return None
    answer = json.loads(row["answer"])
    return StoredAnswer(b64decode(answer["payment"]), b64decode(answer["segCreds"]), answer["state"])


def _state(row: Mapping[str, Any], customer_id: int) -> PaymentState:
    """The state that the row's last payment was answered with."""
    return PaymentState(
        state_id=row["session"],
        pm_session_id=pm_session_id(bytes.fromhex(row["rand_hash"])),
        last_update_ns=row["at"] * 1000,
        orchestrator_address=row["orchestrator"],
        app=row["app"],
        auth_expiry=0,
        sender_nonce=row["nonce"],
        balance_wei=parse_rational(row["balance"]),
        initial_price_per_unit=row["price_per_unit"],
        initial_pixels_per_unit=row["pixels_per_unit"],
        kind=row["kind"],
        sequence_number=row["sequence"],
        auth_id=auth_id(customer_id),
    )
