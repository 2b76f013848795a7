"""Payments on their way to the commit: rows of the type signing_asked_payment, in PostgreSQL's binary form.

Text would be written and read three times over; this is packed once, and the server takes the values as they are.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg.adapt import Dumper
from psycopg.pq import Format


class AskedPayment(NamedTuple):
    """One row. The order is the type's: numbers, numbers that may be missing, bytes, texts.

    Amounts that may pass 64 bits are decimal text. `tickets` 0 asks only for what the rows say, and then names no
    more than whose payment it is and where it belongs.
    """

    customer: int
    api_key: int
    tickets: int = 0
    at: int = 0
    first_nonce: int = 0
    price_per_unit: int = 0
    pixels_per_unit: int = 0
    rate: int = 0
    markup_bps: int = 0
    creation_round: int = 0
    presented: int | None = None
    expected: int | None = None
    expected_at: int | None = None
    session: bytes = bytes(16)
    rand_hash: bytes = b""
    digest: bytes = b""
    creation_round_block_hash: bytes = b""
    answer: bytes = b""
    sender: str = ""
    orchestrator: str = ""
    orchestrator_url: str = ""
    recipient: str = ""
    app: str = ""
    kind: str = ""
    manifest_id: str = ""
    label: str = ""
    balance: str = ""
    expected_balance: str | None = None
    billed_units: str = ""
    fee_wei: str = ""
    cost_wei: str = ""
    face_value_wei: str = ""
    win_prob: str = ""
    client_ip: str | None = None
    user_agent: str = ""
    gateway_request_id: str = ""
    attribution_source: str = ""


class AskedPayments(bytes):
    """An array of the type, for a parameter that is cast to it."""


class AskedPaymentsDumper(Dumper):
    """Hands the bytes on as they are; the statement's cast says of which type they are."""

    format = Format.BINARY

    def dump(self, obj: AskedPayments) -> bytes:
        return obj


def pack(rows: Sequence[AskedPayment], *, type_id: int) -> AskedPayments:
    """The rows as one array. `type_id` is the number that the row's type has in this database."""
    parts = [_ARRAY.pack(1, 0, type_id, len(rows), 1)]
    for row in map(_pack_row, rows):
        parts += (len(row).to_bytes(4), row)
    return AskedPayments(b"".join(parts))


# Each value stands behind its type's number and its length; the length -1 is NULL.
_BIGINT, _BYTEA, _TEXT, _UUID = (number.to_bytes(4) for number in (20, 17, 25, 2950))
_NULL = b"\xff\xff\xff\xff"
_NUMBERS = AskedPayment._fields.index("presented")
_SESSION = AskedPayment._fields.index("session")
_TEXTS = AskedPayment._fields.index("sender")
_A_NUMBER = int.from_bytes(_BIGINT + (8).to_bytes(4))
_PACKED_NUMBERS = struct.Struct(">i" + "Qq" * _NUMBERS)
_PACKED_NUMBER = struct.Struct(">Qq")
_ARRAY = struct.Struct(">iiIii")


def _pack_row(row: tuple[Any, ...]) -> bytes:
    numbers = [_A_NUMBER] * (2 * _NUMBERS)
    numbers[1::2] = row[:_NUMBERS]
    parts = [_PACKED_NUMBERS.pack(len(row), *numbers)]
    for number in row[_NUMBERS:_SESSION]:
        parts.append(_BIGINT + _NULL if number is None else _PACKED_NUMBER.pack(_A_NUMBER, number))
    kind = _UUID
    for raw in row[_SESSION:_TEXTS]:
        parts += (kind, len(raw).to_bytes(4), raw)
        kind = _BYTEA
    for text in row[_TEXTS:]:
        if text is None:
            parts += (_TEXT, _NULL)
        else:
            raw = text.encode()
            parts += (_TEXT, len(raw).to_bytes(4), raw)
    return b"".join(parts)
