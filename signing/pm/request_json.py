"""Reads the one JSON object of a request body the way the network's own signer does, but bounded."""

import binascii
import json
from collections.abc import Mapping
from typing import NoReturn

_MAX_INT64 = 2**63 - 1
# Requests hold a dozen values. Decoding takes its time for each value rather than for each byte, members that nobody
# reads included, so of a long body they are counted first.
_LONG_BODY = 16 * 1024
_MOST_VALUES = 8 * 1024
_MOST_DIGITS_COMPUTED = 80
_MOST_DIGITS = 4300


class BadRequest(ValueError):
    """The request cannot be understood (400); `code` is stable, the text may change."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class JsonNumber(str):
    """The text of a JSON number with a fraction, an exponent or very many digits, kept exact."""

    __slots__ = ()


def read_object(body: bytes) -> Mapping[str, object]:
    """The members of the first JSON value in `body`, names in lower case, the last of duplicates, no nulls.

    Bytes after that value are ignored; `null` is an empty object. Raises BadRequest.
    """
    if len(body) > _LONG_BODY and body.count(b",") + body.count(b"{") + body.count(b"[") > _MOST_VALUES:
        raise BadRequest(f"json: more than {_MOST_VALUES} values", "too_many_values")
    try:
        text = body.decode().lstrip(" \t\r\n")
    except UnicodeDecodeError as error:
        raise _malformed(f"invalid character at byte {error.start}") from error
    if not text:
        raise _malformed("EOF")
    try:
        value, _ = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"invalid character or end at offset {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise _malformed("invalid character, number or depth") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _malformed(f"cannot unmarshal {_kind_of(value)} into a payment request")
    return value


def text_member(members: Mapping[str, object], name: str) -> str:
    """A string; empty when absent. Raises BadRequest."""
    value = members.get(name.lower())
    if value is None:
        return ""
    if type(value) is not str:
        raise _mistyped(name, value, "a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadRequest(f"json: {name} holds half a surrogate pair", "invalid_member") from error
    return value


def int64_member(members: Mapping[str, object], name: str) -> int:
    """A whole number written without fraction and exponent; 0 when absent. Raises BadRequest."""
    value = members.get(name.lower(), 0)
    if isinstance(value, bool) or not isinstance(value, int) or not -_MAX_INT64 - 1 <= value <= _MAX_INT64:
        raise _mistyped(name, value, "an int64")
    return value


def object_member(members: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    """An object, None when absent. Raises BadRequest."""
    value = members.get(name.lower())
    if value is not None and not isinstance(value, dict):
        raise _mistyped(name, value, "an object")
    return value


def bytes_member(members: Mapping[str, object], name: str, longest: int) -> bytes:
    """Bytes in padded standard base64, line breaks tolerated; empty when absent. Raises BadRequest."""
    text = text_member(members, name)
    if not text:
        return b""
    if len(text) > longest * 2:
        raise BadRequest(f"{name} is longer than {longest} bytes", "member_too_long")
    try:
        value = binascii.a2b_base64(text.replace("\r", "").replace("\n", ""), strict_mode=True)
    except ValueError as error:
        raise BadRequest(f"illegal base64 data in {name}", "invalid_base64") from error
    if len(value) > longest:
        raise BadRequest(f"{name} is longer than {longest} bytes", "member_too_long")
    return value


def number_text_member(members: Mapping[str, object], name: str) -> str:
    """The text of a number, or a string that should hold one; empty when absent. Raises BadRequest."""
    value = members.get(name.lower(), "")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _mistyped(name, value, "a number")
    return str(value)


def _fold(pairs: list[tuple[str, object]]) -> dict[str, object]:
    folded = {name.lower(): value for name, value in pairs}
    return {name: value for name, value in folded.items() if value is not None} if None in folded.values() else folded


def _whole(digits: str) -> int | JsonNumber:
    """What is far beyond every integer here stays text: the time to compute it grows with its square."""
    if len(digits) <= _MOST_DIGITS_COMPUTED:
        return int(digits)
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of more than {_MOST_DIGITS} digits")
    return JsonNumber(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_fold, parse_int=_whole, parse_float=JsonNumber, parse_constant=_refuse_constant
)


def _malformed(message: str) -> BadRequest:
    return BadRequest(f"json: {message}", "malformed_json")


def _mistyped(name: str, value: object, wanted: str) -> BadRequest:
    return BadRequest(f"json: cannot unmarshal {_kind_of(value)} into {name}, {wanted}", "invalid_member")


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | JsonNumber):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
