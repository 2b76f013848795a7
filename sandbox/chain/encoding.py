"""keccak256 and RLP, the two encodings that block and transaction hashes are made of."""

from collections.abc import Sequence

from sha3 import keccak_256

type Item = bytes | list[Item]
type Encodable = bytes | int | Sequence[Encodable]


class MalformedRlp(Exception):
    """The bytes are not one canonical RLP item."""


def keccak(data: bytes) -> bytes:
    digest: bytes = keccak_256(data).digest()
    return digest


def rlp_encode(item: Encodable) -> bytes:
    """Integers are written big-endian without leading zeros, nested sequences become lists."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _head(0x80, len(item)) + item
    payload = b"".join(rlp_encode(part) for part in item)
    return _head(0xC0, len(payload)) + payload


def rlp_decode(data: bytes) -> Item:
    """Raises MalformedRlp."""
    item, end = _decode_at(data, 0)
    if end != len(data):
        raise MalformedRlp("trailing bytes")
    return item


def _head(offset: int, length: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(size)]) + size


def _decode_at(data: bytes, start: int) -> tuple[Item, int]:
    if start >= len(data):
        raise MalformedRlp("input too short")
    first = data[start]
    if first < 0x80:
        return data[start : start + 1], start + 1
    is_list = first >= 0xC0
    begin, end = _payload(data, start, first - (0xC0 if is_list else 0x80))
    if not is_list:
        if end - begin == 1 and data[begin] < 0x80:
            raise MalformedRlp("non-canonical single byte")
        return data[begin:end], end
    items: list[Item] = []
    while begin < end:
        item, begin = _decode_at(data, begin)
        items.append(item)
    if begin != end:
        raise MalformedRlp("element is larger than containing list")
    return items, end


def _payload(data: bytes, start: int, length: int) -> tuple[int, int]:
    begin = start + 1
    if length > 55:
        size = length - 55
        begin += size
        length = int.from_bytes(data[start + 1 : begin], "big")
        if length < 56 or data[start + 1] == 0:
            raise MalformedRlp("non-canonical size")
    if begin + length > len(data):
        raise MalformedRlp("input too short")
    return begin, begin + length
