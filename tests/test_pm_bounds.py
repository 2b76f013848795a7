"""What a request and an offer may hold at most: time, memory and rows are not a stranger's to fill."""

import pytest

from signing.pm import livepeer_pb2
from signing.pm.capabilities import read_capabilities
from signing.pm.request_json import JsonNumber, read_object
from signing.pm.wire import (
    BadRequest,
    parse_request,
)
from tests.wire_stage import b64, body, offer, refusal


@pytest.mark.parametrize("piece", ["{},", '{"a":', "[],", "[", "1,", "1e1,", '"a",', '{"a":1},'])
def test_a_body_of_more_values_than_any_client_sends_is_refused_before_it_is_decoded(piece: str) -> None:
    def filled(size: int) -> bytes:
        return body(nobody_reads_this=[])[:-2] + (piece * (size // len(piece))).encode() + b"0]}"

    assert refusal(filled(200_000)) == "too_many_values"
    if piece.endswith(","):
        assert parse_request(filled(10_000)).in_pixels == 0


def test_members_nobody_reads_may_be_long() -> None:
    for value in ("x" * 200_000, ["x" * 100] * 1_000, {str(each): {"a": [1, 1.5]} for each in range(900)}):
        assert parse_request(body(anything=value, inPixels=5)).in_pixels == 5


def test_a_number_of_many_digits_is_never_computed() -> None:
    for digits in (b"9" * 100, b"-" + b"9" * 4000):
        members = read_object(body()[:-1] + b',"anything":' + digits + b"}")
        assert (type(members["anything"]), members["anything"]) == (JsonNumber, digits.decode())
    long = body(maxPrice={"price": 0, "currency": "wei", "unit": "x"}).replace(b'"price": 0', b'"price": ' + b"9" * 200)
    assert parse_request(long).max_price == {"price": "9" * 200, "currency": "wei", "unit": "x"}
    assert refusal(body(inPixels=0).replace(b'"inPixels": 0', b'"inPixels": ' + b"9" * 200)) == "invalid_member"


def test_a_request_names_64_models_at_most() -> None:
    def naming(kinds: int, models: int) -> bytes:
        given_ = livepeer_pb2.Capabilities()
        for kind in range(kinds):
            constraints = given_.constraints.per_capability[kind]
            for model in range(models):
                constraints.models[str(model)].SetInParent()
        return body(capabilities=b64(given_.SerializeToString()))

    assert len(parse_request(naming(4, 16)).models) == 64
    assert parse_request(naming(64, 0)).models == ()
    for kinds, models in ((5, 16), (1, 65), (65, 1), (65, 0)):
        assert refusal(naming(kinds, models)) == "too_many_models"


def test_what_an_answer_gives_back_is_bounded_before_it_is_kept_with_its_session() -> None:
    token = livepeer_pb2.AuthToken(token=b"t" * 4000, session_id="s" * 80)
    price = livepeer_pb2.PriceInfo(price_per_unit=1, pixels_per_unit=1, constraint="m" * 1000)
    given_ = livepeer_pb2.Capabilities(version="v" * 4000)
    known = parse_request(
        body(
            orchestrator=b64(offer(auth_token=token, price_info=price).SerializeToString()),
            capabilities=b64(given_.SerializeToString()),
        )
    )
    assert known.orchestrator.auth_token
    assert known.orchestrator.auth_token.raw == token.SerializeToString()
    assert known.orchestrator.price_info == price.SerializeToString()
    assert known.capabilities == read_capabilities(given_.SerializeToString()).normalised
    for message, code in (
        (livepeer_pb2.OrchestratorInfo(auth_token=livepeer_pb2.AuthToken(token=b"t" * 4097)), "auth_token_too_long"),
        (
            livepeer_pb2.OrchestratorInfo(auth_token=livepeer_pb2.AuthToken(session_id="s" * 4097)),
            "auth_token_too_long",
        ),
        (
            livepeer_pb2.OrchestratorInfo(price_info=livepeer_pb2.PriceInfo(constraint="m" * 1025)),
            "price_info_too_long",
        ),
    ):
        assert refusal(body(orchestrator=b64(offer().SerializeToString() + message.SerializeToString()))) == code
    for field, code in ((b"\x32", "auth_token_too_long"), (b"\x1a", "price_info_too_long")):
        # A field 99 of 8192 bytes.
        nobody_knows = b"\x9a\x06\x80\x40" + bytes(8192)
        added = field + b"\x84\x40" + nobody_knows
        assert refusal(body(orchestrator=b64(offer().SerializeToString() + added))) == code


@pytest.mark.parametrize(
    "given_",
    [
        livepeer_pb2.Capabilities(version="v" * 4097),
        livepeer_pb2.Capabilities(bitstring=[2**64 - 1] * 16),
        livepeer_pb2.Capabilities(capacities=dict.fromkeys(range(2000), 1)),
        livepeer_pb2.Capabilities(mandatories=[1] * 5000),
    ],
    ids=["text", "kinds", "capacities", "mandatories"],
)
def test_capabilities_that_would_fill_the_credentials_are_refused(given_: livepeer_pb2.Capabilities) -> None:
    assert refusal(body(capabilities=b64(given_.SerializeToString()))) == "capabilities_too_long"


def test_capabilities_cannot_be_blown_up() -> None:
    crowd = livepeer_pb2.Capabilities(bitstring=[2**64 - 1] * 17)
    with pytest.raises(BadRequest):
        read_capabilities(crowd.SerializeToString())
