"""Payments on their way to the commit: rows of the type signing_asked_payment, in PostgreSQL's binary form.

Text would be written and read three times over; this is packed once, and the server takes the values as they are.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from psycopg.adapt import Dumper
from psycopg.pq import Format

_BIGINT, _BYTEA, _TEXT, _UUID = 20, 17, 25, 2950
_NULL = -1

type Row = Mapping[str, Any]

# In the order of the type's attributes. The numbers of the first line are never NULL.
_NUMBERS = (
    *("customer", "api_key", "tickets", "at", "first_nonce", "price_per_unit"),
    *("pixels_per_unit", "rate", "markup_bps", "creation_round"),
)
_OTHERS: tuple[tuple[str, int], ...] = (
    *((name, _BIGINT) for name in ("presented", "expected", "expected_at")),
    ("session", _UUID),
    *((name, _BYTEA) for name in ("rand_hash", "digest", "creation_round_block_hash", "answer")),
    *((name, _TEXT) for name in ("sender", "orchestrator", "orchestrator_url", "recipient", "app", "kind")),
    *((name, _TEXT) for name in ("manifest_id", "label", "balance", "expected_balance")),
    *((name, _TEXT) for name in ("billed_units", "fee_wei", "cost_wei", "face_value_wei", "win_prob")),
    *((name, _TEXT) for name in ("client_ip", "user_agent", "gateway_request_id", "attribution_source")),
)
_PACKED_NUMBERS = struct.Struct(">i" + "8sq" * len(_NUMBERS))
_NUMBER_HEAD = struct.pack(">Ii", _BIGINT, 8)
_HEAD = struct.Struct(">Ii")
_ARRAY = struct.Struct(">iiIii")
_COLUMNS = len(_NUMBERS) + len(_OTHERS)


class AskedPayments(bytes):
    """An array of the type, for a parameter that is cast to it."""


class AskedPaymentsDumper(Dumper):
    """Hands the bytes on as they are; the statement's cast says of which type they are."""

    format = Format.BINARY

    def dump(self, obj: AskedPayments) -> bytes:
        return obj


def pack(rows: Iterable[Row], *, type_id: int) -> AskedPayments:
    """The rows as one array. `type_id` is the type's number in this database; what a row does not name is NULL or 0."""
    packed = [_pack_row(row) for row in rows]
    parts = [_ARRAY.pack(1, 0, type_id, len(packed), 1)]
    for row in packed:
        parts += (len(row).to_bytes(4), row)
    return AskedPayments(b"".join(parts))


def _pack_row(row: Row) -> bytes:
    numbers: list[Any] = []
    for name in _NUMBERS:
        numbers += (_NUMBER_HEAD, row.get(name, 0))
    parts = [_PACKED_NUMBERS.pack(_COLUMNS, *numbers)]
    for name, of_type in _OTHERS:
        value = row.get(name)
        if value is None:
            parts.append(_HEAD.pack(of_type, _NULL))
        else:
            raw = value if of_type == _BYTEA else _ENCODERS[of_type](value)
            parts += (_HEAD.pack(of_type, len(raw)), raw)
    return b"".join(parts)


_ENCODERS: dict[int, Callable[[Any], bytes]] = {
    _BIGINT: lambda value: int(value).to_bytes(8, signed=True),
    _TEXT: lambda value: str(value).encode(),
    _UUID: lambda value: UUID(value).bytes,
}
