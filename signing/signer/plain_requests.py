"""Payment requests that leave no questions, read from their bytes; pure."""

import re
from typing import NamedTuple

_START = b"POST /generate-live-payment HTTP/1.1\r\n"
_END = b"\r\n\r\n"
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_UNCLEAN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,6})\r\n", re.IGNORECASE)
_MOST_DIGITS = 6
# Whoever sends a body byte by byte has the head before it read as often.
_LONGEST_HEAD = 4 * 1024
_FOR_THE_PARSER = {b"transfer-encoding", b"expect", b"upgrade", b"trailer"}

type Headers = list[tuple[bytes, bytes]]


class Head(NamedTuple):
    """What stands before a body: headers with names in lower case.

    `before` and `after` are its bytes around the digits of the content length: as a rule these alone differ in what
    a client sends with one key.
    """

    before: bytes
    after: bytes
    headers: Headers


class PlainRequest(NamedTuple):
    """A payment request of which `missing` bytes of body are still to come."""

    head: Head
    body: bytes
    missing: int


def plain_request(data: bytes, last: Head | None = None) -> PlainRequest | None:
    """Reads the bytes of one payment request. None for everything else: the general parser decides about that.

    A head like `last`, which was read before, is not read again.
    """
    request = _with_head(last, data) if last else None
    if request is None:
        head = _read_head(data)
        request = _with_head(head, data) if head else None
    return request if request and request.missing >= 0 else None


def _with_head(head: Head, data: bytes) -> PlainRequest | None:
    """The request, if its bytes begin with this head, whatever length it tells."""
    before, after, _ = head
    start = len(before)
    end = data.find(b"\r\n", start, start + _MOST_DIGITS + 2)
    digits = data[start:end]
    if end < 0 or not digits.isdigit() or not data.startswith(after, end) or not data.startswith(before):
        return None
    body = data[end + len(after) :]
    return PlainRequest(head, body, int(digits) - len(body))


def _read_head(data: bytes) -> Head | None:
    size = data.find(_END, 0, _LONGEST_HEAD)
    text = data[: max(size, 0)]
    if not text.startswith(_START) or _UNCLEAN.search(text):
        return None
    headers: Headers = []
    for line in text.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if not colon or not _NAME.fullmatch(name) or name in _FOR_THE_PARSER:
            return None
        if name == b"connection" and value.lower() != b"keep-alive":
            return None
        headers.append((name, value))
    text += _END
    length = _LENGTH.search(text)
    if length is None or [name for name, _ in headers].count(b"content-length") != 1:
        return None
    return Head(text[: length.start(1)], text[length.end(1) :], headers)
