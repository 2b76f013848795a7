"""A head that was read before is read as if it were new, and nothing that differs from it passes for it."""

from collections.abc import Iterator

import pytest

from signing.signer.plain_requests import Head, PlainRequest, plain_request

KNOWN = (
    b"POST /generate-live-payment HTTP/1.1\r\nHost: signer\r\nContent-Length: %d\r\n"
    b"Authorization: Bearer one\r\nX-Pad: a\r\n\r\n%b"
)
BODY = b'{"orchestrator": "POST"}'


def head_of(data: bytes) -> Head:
    request = plain_request(data)
    assert request
    return request.head


def meaning(request: PlainRequest | None) -> object:
    if request is None:
        return None
    others = [line for line in request.head.headers if line[0] != b"content-length"]
    return others, request.body, request.missing


def mutations(data: bytes, until: int) -> Iterator[bytes]:
    for place in range(until):
        before, after = data[:place], data[place:]
        yield before
        yield before + after[1:]
        for byte in b"\x00\r\n :09aZ\xb2":
            yield before + bytes([byte]) + after[1:]
            yield before + bytes([byte]) + after
        yield before + b"\r\n" + after
        yield before + b"\r\nContent-Length: 24" + after


@pytest.mark.parametrize("known", [KNOWN, KNOWN.replace(b"Content-Length: ", b"content-length:\t ")])
def test_whatever_differs_from_the_last_head_is_read_as_if_nothing_was_known(known: bytes) -> None:
    data = known % (len(BODY), BODY)
    last = head_of(data)
    for changed in mutations(data, len(data) - len(BODY)):
        assert meaning(plain_request(changed, last)) == meaning(plain_request(changed)), changed


@pytest.mark.parametrize("length", [0, 9, 10, 99, 100, 999_999])
def test_the_last_head_is_known_again_whatever_length_it_tells(length: int) -> None:
    last = head_of(KNOWN % (len(BODY), BODY))
    body = b"x" * length
    for come in {0, length // 2, length}:
        data = KNOWN % (length, body[:come])
        request = plain_request(data, last)
        assert request
        assert request.head is last
        assert (request.body, request.missing) == (body[:come], length - come)
        assert meaning(request) == meaning(plain_request(data))


@pytest.mark.parametrize("length", [b"", b"-1", b"+1", b"1_0", b" 1", b"1 ", b"0x1", b"1000000", b"\xb2", b"1\r\n 2"])
def test_a_length_that_is_not_plain_is_left_to_the_parser(length: bytes) -> None:
    known = KNOWN % (1, b"x")
    data = known.replace(b"Content-Length: 1", b"Content-Length: " + length)
    request = plain_request(data, head_of(known))
    assert meaning(request) == meaning(plain_request(data))
    assert request is None or length.strip() == b"1"


def test_more_than_one_request_is_left_to_the_parser() -> None:
    known = KNOWN % (len(BODY), BODY)
    assert plain_request(known + known, head_of(known)) is None


def test_a_long_head_is_left_to_the_parser() -> None:
    for size, is_plain in ((3_000, True), (5_000, False), (300_000, False)):
        data = KNOWN.replace(b"X-Pad: a", b"X-Pad: " + b"a" * size) % (len(BODY), BODY)
        assert (plain_request(data) is not None) == is_plain
