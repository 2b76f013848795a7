"""Payments on their way to the commit: rows of the type signing_asked_payment, in PostgreSQL's binary form.

Text would be written and read three times over; this is packed once, and the server takes the values as they are.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple


class AskedPayment(NamedTuple):
    """One row as it goes to the commit, and what this process has to know of it besides."""

    customer: int
    recipient: str
    packed: bytes


def pack(rows: Sequence[AskedPayment], *, type_id: int) -> bytes:
    """The rows as one array. `type_id` is the number that the row's type has in this database."""
    parts = [_ARRAY.pack(1, 0, type_id, len(rows), 1)]
    for row in rows:
        parts += (len(row.packed).to_bytes(4), row.packed)
    return b"".join(parts)


def asked_payment(
    *,
    customer: int,
    api_key: int,
    session: bytes,
    rand_hash: bytes,
    digest: bytes,
    sender: str,
    presented: int | None = None,
    tickets: int = 0,
    at: int = 0,
    first_nonce: int = 0,
    price_per_unit: int = 0,
    pixels_per_unit: int = 0,
    rate: int = 0,
    markup_bps: int = 0,
    creation_round: int = 0,
    creation_round_block_hash: bytes = b"",
    expected: int | None = None,
    expected_at: int | None = None,
    expected_balance: str | None = None,
    answer: bytes = b"",
    orchestrator: str = "",
    orchestrator_url: str = "",
    recipient: str = "",
    app: str = "",
    kind: str = "",
    manifest_id: str = "",
    label: str = "",
    balance: str = "",
    billed_units: str = "",
    fee_wei: str = "",
    cost_wei: str = "",
    face_value_wei: str = "",
    win_prob: str = "",
    client_ip: str | None = None,
    user_agent: str = "",
    gateway_request_id: str = "",
    attribution_source: str = "",
) -> AskedPayment:
    """A row; below its members stand in the type's order: numbers, those that may be missing, bytes, texts.

    Amounts that may pass 64 bits are decimal text. `tickets` 0 asks only for what the rows say, and then names no
    more than whose payment it is and where it belongs.
    """
    numbers = _NUMBERS.pack(
        _MEMBERS, _INT, customer, _INT, api_key, _INT, tickets, _INT, at, _INT, first_nonce, _INT, price_per_unit,
        _INT, pixels_per_unit, _INT, rate, _INT, markup_bps, _INT, creation_round,
    )  # fmt: skip
    texts = (
        sender, orchestrator, orchestrator_url, recipient, app, kind, manifest_id, label, balance, expected_balance,
        billed_units, fee_wei, cost_wei, face_value_wei, win_prob,
        client_ip, user_agent, gateway_request_id, attribution_source,
    )  # fmt: skip
    packed = b"".join((
        numbers,
        _NULL_NUMBER if presented is None else _NUMBER.pack(_INT, presented),
        _NULL_NUMBER if expected is None else _NUMBER.pack(_INT, expected),
        _NULL_NUMBER if expected_at is None else _NUMBER.pack(_INT, expected_at),
        _UUID, session,
        _BYTEA, len(rand_hash).to_bytes(4), rand_hash,
        _BYTEA, len(digest).to_bytes(4), digest,
        _BYTEA, len(creation_round_block_hash).to_bytes(4), creation_round_block_hash,
        _BYTEA, len(answer).to_bytes(4), answer,
        _packed_texts(texts),
    ))  # fmt: skip
    return AskedPayment(customer, recipient, packed)


def _packed_texts(texts: Sequence[str | None]) -> bytes:
    """Each behind its head. They are put together as text whose characters stand for bytes: that is encoded once."""
    if not "".join(filter(None, texts)).isascii():
        texts = [text and text.encode().decode("latin-1") for text in texts]
    return "".join([_NULL_TEXT if text is None else _HEADS[len(text)] + text for text in texts]).encode("latin-1")


class _Heads(dict[int, str]):
    """What stands before a text of so many bytes, made when it is wanted first."""

    def __missing__(self, length: int) -> str:
        head = self[length] = (_TEXT + length.to_bytes(4)).decode("latin-1")
        return head


# Each value stands behind its type's number and its length; the length -1 is NULL.
_BIGINT, _BYTEA, _TEXT = (number.to_bytes(4) for number in (20, 17, 25))
_UUID = (2950).to_bytes(4) + (16).to_bytes(4)
_INT = int.from_bytes(_BIGINT + (8).to_bytes(4))
_NULL = b"\xff\xff\xff\xff"
_NULL_NUMBER, _NULL_TEXT = _BIGINT + _NULL, (_TEXT + _NULL).decode("latin-1")
_HEADS = _Heads()
_MEMBERS = 37
_NUMBERS = struct.Struct(">i" + "Qq" * 10)
_NUMBER = struct.Struct(">Qq")
_ARRAY = struct.Struct(">iiIii")
