"""The messages behind the payment and segment credential headers of an answer, put together by hand.

The bytes are those of the library, which is four times slower at it: fields in the order of their numbers, and what is
empty or zero left out.
"""

from collections.abc import Sequence

from signing.pm.orchestrator_info import TicketParams
from signing.pm.tickets import keccak256

HASH_OF_NOTHING = keccak256(b"")


def encode_payment(
    *,
    params: TicketParams,
    sender: bytes,
    creation_round: int,
    creation_round_block_hash: bytes,
    first_nonce: int,
    signatures: Sequence[bytes],
    price_info: bytes,
) -> bytes:
    """The message whose base64 is the Livepeer-Payment header: tickets with rising nonces, and the offered price."""
    face_value, win_prob = _minimal_bytes(params.face_value), _minimal_bytes(params.win_prob)
    seed, expiration_block = _minimal_bytes(params.seed), _minimal_bytes(params.expiration_block)
    ticket_params = b"".join((
        _FIELD_1[len(params.recipient)], params.recipient,
        _FIELD_2[len(face_value)], face_value,
        _FIELD_3[len(win_prob)], win_prob,
        _FIELD_4[len(params.recipient_rand_hash)], params.recipient_rand_hash,
        _FIELD_5[len(seed)], seed,
        _FIELD_6[len(expiration_block)], expiration_block,
    ))  # fmt: skip
    expiration_params = b"".join((
        b"\x08" + _varint(creation_round) if creation_round else b"",
        _FIELD_2[len(creation_round_block_hash)], creation_round_block_hash,
    ))  # fmt: skip
    return b"".join((
        b"\x0a", _varint(len(ticket_params)), ticket_params,
        _FIELD_2[len(sender)], sender,
        b"\x1a", _varint(len(expiration_params)), expiration_params,
        *[_signed(nonce, signature) for nonce, signature in enumerate(signatures, first_nonce)],
        b"\x2a", _varint(len(price_info)), price_info,
    ))  # fmt: skip


def encode_seg_creds(*, manifest_id: str, signature: bytes, auth_token: bytes, capabilities: bytes | None) -> bytes:
    """The message whose base64 is the Livepeer-Segment header of a live payment.

    `auth_token` and `capabilities` are whole messages.
    """
    name = manifest_id.encode()
    return b"".join((
        b"\x0a" + _varint(len(name)) if name else b"", name,
        _EMPTY_SEGMENT,
        _FIELD_5[len(signature)], signature,
        b"" if capabilities is None else b"\x3a" + _varint(len(capabilities)) + capabilities,
        b"\x42", _varint(len(auth_token)), auth_token,
    ))  # fmt: skip


def _signed(nonce: int, signature: bytes) -> bytes:
    """One of the repeated field 4: a nonce and its ticket's signature."""
    number = b"\x08" + _varint(nonce) if nonce else b""
    field = _FIELD_2[len(signature)]
    return b"".join((b"\x22", _varint(len(number) + len(field) + len(signature)), number, field, signature))


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _SMALL[number]
    return _SMALL[number & 0x7F | 0x80] + _varint(number >> 7)


def _heads(field: int) -> Sequence[bytes]:
    """What stands before a field of up to 127 bytes, by its length; an empty one is left out."""
    return (b"", *(bytes((field << 3 | 2, length)) for length in range(1, 0x80)))


def _minimal_bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)


_SMALL = tuple(bytes((number,)) for number in range(0x100))
_FIELD_1, _FIELD_2, _FIELD_3, _FIELD_4, _FIELD_5, _FIELD_6 = map(_heads, range(1, 7))
_EMPTY_SEGMENT = _FIELD_3[32] + HASH_OF_NOTHING + _FIELD_4[7] + b"invalid"
