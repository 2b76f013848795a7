"""The payment route's bytes: what a request may look like, and what the two headers hold."""

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepeer_gateway import lp_rpc_pb2 as network

from signing.pm import livepeer_pb2
from signing.pm.capabilities import read_capabilities
from signing.pm.orchestrator_info import parse_orchestrator_info, window
from signing.pm.wire import (
    MAX_BODY_BYTES,
    BadRequest,
    PaymentRequest,
    RequestTooLarge,
    checksum_address,
    encode_payment,
    encode_seg_creds,
    orchestrator_info_digest,
    parse_request,
    seg_creds_digest,
)
from tests.vectors import load, unhex
from tests.vectors.pure_signer import is_signed_by
from tests.wire_stage import b64, body, offer, refusal, with_offer

MISC = load("misc")
PAID = [vector for vector in load("payments") if vector["status"] == 200]


def test_a_request_is_read_member_by_member() -> None:
    request = parse_request(
        body(
            ManifestID="m-1",
            app="x/y",
            inPixels=7,
            type="live",
            state={"State": b64(b"{}"), "Sig": b64(b"s")},
            maxPrice={"price": 1.5, "currency": "wei", "unit": "seconds"},
            capability="unknown members are ignored",
        )
    )
    assert (request.manifest_id, request.app, request.in_pixels, request.kind) == ("m-1", "x/y", 7, "live")
    assert request.state is not None
    assert (request.state.state, request.state.sig) == (b"{}", b"s")
    assert request.max_price == {"price": "1.5", "currency": "wei", "unit": "seconds"}
    assert request.capabilities is None
    info = request.orchestrator
    assert (info.price_per_unit, info.pixels_per_unit, info.address) == (3, 2, b"a" * 20)
    assert (info.ticket_params.face_value, info.ticket_params.seed) == (16, 48)
    assert not info.ticket_params.has_creation_round
    assert info.auth_token is not None
    assert (info.auth_token.session_id, info.auth_token.expiration) == ("s", 4_102_444_800)


@pytest.mark.parametrize("state", [None, {}, {"State": None, "Sig": None}, {"State": "", "Sig": ""}])
def test_an_empty_state_is_a_new_session(state: object) -> None:
    assert parse_request(body(state=state)).state is None


@pytest.mark.parametrize("state", [{"State": b64(b"x")}, {"sig": b64(b"x")}])
def test_half_a_state_is_a_state(state: object) -> None:
    assert parse_request(body(state=state)).state is not None


def test_nulls_are_absent_and_the_last_of_two_names_wins() -> None:
    request = parse_request(
        b'{"APP":"first","app":"second","manifestid":null,"type":null,"inPixels":null,"maxPrice":null,'
        b'"capabilities":null,' + body()[1:] + b" trailing bytes {"
    )
    assert (request.app, request.manifest_id, request.kind, request.in_pixels) == ("second", "", "", 0)
    assert request.max_price is None
    assert request.capabilities is None


def test_line_breaks_inside_base64_are_tolerated() -> None:
    text = b64(offer().SerializeToString())
    assert parse_request(body(orchestrator=text[:10] + "\r\n" + text[10:])) == parse_request(body())


@pytest.mark.parametrize("text", ["*", "YQ", "YQ=", "YQ==YQ==", "Y Q==", "_-==", "\u00e9"], ids=lambda text: repr(text))
def test_any_other_base64_is_refused(text: str) -> None:
    assert refusal(body(orchestrator=text)) == "invalid_base64"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "malformed_json"),
        (b" \n", "malformed_json"),
        (b"{not-json", "malformed_json"),
        (b'{"app":"a', "malformed_json"),
        (b'{"inPixels":NaN}', "malformed_json"),
        (b'{"app":"\x01"}', "malformed_json"),
        (b'{"app":"\xff"}', "malformed_json"),
        (b"[" * 16_000, "malformed_json"),
        (b"[" * 100_000, "too_many_values"),
        (b'{"inPixels":' + b"9" * 5000 + b"}", "malformed_json"),
        (b"[]", "malformed_json"),
        (b"5", "malformed_json"),
        (b"null", "missing_orchestrator"),
        (b"{}", "missing_orchestrator"),
        (b'{"orchestrator":""} trailing', "missing_orchestrator"),
        (b'{"orchestrator":5}', "invalid_member"),
        (b'{"orchestrator":1.5}', "invalid_member"),
        (b'{"orchestrator":"bm90LXByb3Rv"}', "invalid_orchestrator"),
    ],
    ids=lambda value: value[:30].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_a_body_that_cannot_be_understood_is_refused_with_its_code(raw: bytes, code: str) -> None:
    assert refusal(raw) == code


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"inPixels": 1.5}, "invalid_member"),
        ({"inPixels": "1"}, "invalid_member"),
        ({"inPixels": True}, "invalid_member"),
        ({"inPixels": 2**63}, "invalid_member"),
        ({"app": 5}, "invalid_member"),
        ({"app": "\ud800"}, "invalid_member"),
        ({"app": "x" * 257}, "app_too_long"),
        ({"type": []}, "invalid_member"),
        ({"type": "x" * 65}, "invalid_job_type"),
        ({"state": "x"}, "invalid_member"),
        ({"state": {"State": 5}}, "invalid_member"),
        ({"state": {"State": "*"}}, "invalid_base64"),
        ({"state": {"State": b64(bytes(20_000))}}, "member_too_long"),
        ({"maxPrice": 5}, "invalid_member"),
        ({"maxPrice": {"price": True}}, "invalid_member"),
        ({"maxPrice": {"currency": 5}}, "invalid_member"),
        ({"capabilities": b64(b"\xff")}, "invalid_capabilities"),
        ({"ManifestID": "a b"}, "invalid_manifest_id"),
        ({"ManifestID": "a/b"}, "invalid_manifest_id"),
        ({"ManifestID": "a\n"}, "invalid_manifest_id"),
        ({"ManifestID": "x" * 129}, "invalid_manifest_id"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_member_of_the_wrong_kind_or_size_is_refused_with_its_code(members: dict[str, Any], code: str) -> None:
    assert refusal(body(**members)) == code


def test_the_longest_manifest_id_and_app_are_accepted() -> None:
    request = parse_request(body(ManifestID="aZ9_.:-" + "x" * 121, app="é" * 256))
    assert (len(request.manifest_id), len(request.app)) == (128, 256)


def test_a_body_beyond_the_limit_is_not_even_read() -> None:
    with pytest.raises(RequestTooLarge):
        parse_request(b"{" + b" " * MAX_BODY_BYTES)


def test_an_offer_needs_a_price_and_ticket_params() -> None:
    for price in (None, livepeer_pb2.PriceInfo(price_per_unit=1), livepeer_pb2.PriceInfo(pixels_per_unit=1)):
        assert refusal(with_offer(offer(price_info=price))) == "missing_price"
    assert refusal(with_offer(offer(ticket_params=None))) == "missing_ticket_params"


def test_half_a_surrogate_pair_is_no_text_wherever_it_stands() -> None:
    for text in ("\ud83d", "é\udc00", "\ude00\ud83d"):
        assert refusal(body(app=text)) == "invalid_member"
    assert parse_request(body(app="\U0001f600")).app == "\U0001f600"


@pytest.mark.parametrize("field", ["face_value", "win_prob", "seed", "expiration_block"])
def test_a_number_of_more_than_256_bits_is_refused(field: str) -> None:
    fits, too_large = livepeer_pb2.TicketParams(), livepeer_pb2.TicketParams()
    setattr(fits, field, bytes(8) + b"\xff" * 32)
    setattr(too_large, field, b"\1" + bytes(32))
    assert parse_request(with_offer(offer(ticket_params=fits)))
    assert refusal(with_offer(offer(ticket_params=too_large))) == "invalid_ticket_params"


def test_a_negative_creation_round_is_refused() -> None:
    past = livepeer_pb2.TicketExpirationParams(creation_round=-1, creation_round_block_hash=b"h" * 32)
    params = livepeer_pb2.TicketParams(expiration_params=past)
    assert refusal(with_offer(offer(ticket_params=params))) == "invalid_ticket_params"


@pytest.mark.parametrize("vector", MISC["ticketParamsDecode"], ids=lambda v: v["raw"][:12])
def test_addresses_and_hashes_are_the_last_bytes_padded_in_front(vector: dict[str, Any]) -> None:
    raw = unhex(vector["raw"])
    assert window(raw, 20) == unhex(vector["recipient"])
    assert window(raw, 32) == unhex(vector["recipientRandHash"])
    assert int.from_bytes(raw) == int(vector["faceValue"])


def test_a_service_url_that_could_break_a_header_is_dropped() -> None:
    for url in ("https://a\r\nSet-Cookie: x", "https://é", "x" * 2049, "https://a b"):
        info = parse_orchestrator_info(offer(transcoder=url).SerializeToString())
        assert info.transcoder == ""


def test_an_auth_token_wants_a_refresh_three_minutes_before_its_end() -> None:
    token = parse_request(body()).orchestrator.auth_token
    assert token is not None
    bound_ns = (4_102_444_800 - 180) * 10**9
    assert not token.needs_refresh(bound_ns)
    assert token.needs_refresh(bound_ns + 1)


def test_two_spellings_of_one_request_have_one_digest() -> None:
    members = {"app": "a/b", "type": "live", "state": {"State": "e30=", "Sig": "cw=="}}
    one = parse_request(body(**members))
    reversed_members = dict(reversed(list(json.loads(body(**members)).items())))
    other = json.dumps(reversed_members, indent=3).replace('"app"', '"APP"').replace("a/b", "a\\/b")
    assert parse_request(other.encode()).digest == one.digest
    assert parse_request(body(**members, gatewayRequestId="another")).digest == one.digest


def test_every_member_counts_for_the_digest() -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"app": "a"},
        {"type": "a"},
        {"ManifestID": "a"},
        {"inPixels": 1},
        {"state": {"State": "YQ=="}},
        {"state": {"Sig": "YQ=="}},
        {"maxPrice": {}},
        {"maxPrice": {"price": 1}},
        {"maxPrice": {"currency": "1"}},
        {"capabilities": b64(livepeer_pb2.Capabilities(version="a").SerializeToString())},
        {"orchestrator": b64(offer(transcoder="a").SerializeToString())},
    ]
    assert len({parse_request(body(**members)).digest for members in variants}) == len(variants)


@given(st.binary(max_size=300))
def test_no_body_breaks_the_reader(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_request(raw)


@given(data=st.data())
def test_no_damaged_offer_breaks_the_reader(data: st.DataObject) -> None:
    raw = bytearray(unhex(offer().SerializeToString().hex()))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = parse_request(body(orchestrator=b64(bytes(raw))))
    except BadRequest:
        return
    assert isinstance(request, PaymentRequest)


@pytest.mark.parametrize("vector", PAID, ids=lambda v: v["name"])
def test_a_recorded_payment_is_encoded_byte_for_byte(vector: dict[str, Any]) -> None:
    request, recorded = parse_request(vector["requestText"].encode()), vector["decodedPayment"]
    answer = json.loads(vector["body"])
    payment = encode_payment(
        params=request.orchestrator.ticket_params,
        sender=unhex(recorded["sender"]),
        creation_round=recorded["expirationParams"]["creationRound"],
        creation_round_block_hash=unhex(recorded["expirationParams"]["creationRoundBlockHash"]),
        first_nonce=recorded["ticketSenderParams"][0]["senderNonce"],
        signatures=[unhex(ticket["sig"]) for ticket in recorded["ticketSenderParams"]],
        price_info=request.orchestrator.price_info,
    )
    auth_token = request.orchestrator.auth_token
    assert auth_token is not None
    seg_creds = encode_seg_creds(
        manifest_id=request.manifest_id,
        signature=unhex(vector["decodedSegCreds"]["sig"]),
        auth_token=auth_token.raw,
        capabilities=request.capabilities,
    )
    assert payment == b64decode(answer["payment"])
    assert seg_creds == b64decode(answer["segCreds"])
    assert seg_creds_digest(request.manifest_id) == unhex(vector["decodedSegCreds"]["keccakFlattened"])


def test_what_the_orchestrator_added_to_price_and_token_reaches_it_again() -> None:
    unknown = b"\xfa\x3e\x03abc"
    message = offer()
    message.price_info.MergeFromString(unknown)
    message.price_info.constraint = "model"
    message.auth_token.MergeFromString(unknown)
    info = parse_request(with_offer(message)).orchestrator
    assert info.auth_token is not None
    payment = encode_payment(
        params=info.ticket_params,
        sender=bytes(20),
        creation_round=0,
        creation_round_block_hash=bytes(32),
        first_nonce=1,
        signatures=[bytes(65)],
        price_info=info.price_info,
    )
    seg_creds = encode_seg_creds(
        manifest_id="m", signature=bytes(65), auth_token=info.auth_token.raw, capabilities=None
    )
    assert message.price_info.SerializeToString() in payment
    assert message.auth_token.SerializeToString() in seg_creds
    assert unknown in info.price_info


def test_the_networks_own_client_reads_the_headers_in_the_same_process() -> None:
    request = parse_request(with_offer(offer(transcoder="https://x")))
    info = request.orchestrator
    message = encode_payment(
        params=info.ticket_params,
        sender=b"s" * 20,
        creation_round=9,
        creation_round_block_hash=b"b" * 32,
        first_nonce=5,
        signatures=[b"1" * 65, b"2" * 65],
        price_info=info.price_info,
    )
    payment = network.Payment.FromString(message)
    assert [ticket.sender_nonce for ticket in payment.ticket_sender_params] == [5, 6]
    assert payment.ticket_params.face_value == b"\x10"
    assert not payment.ticket_params.HasField("expiration_params")
    assert payment.expiration_params.creation_round == 9
    assert payment.expected_price.pricePerUnit == 3


def test_capabilities_are_passed_on_as_the_network_does() -> None:
    given_ = livepeer_pb2.Capabilities(bitstring=[1 << 35, 2], mandatories=[7], version="v")
    models = given_.constraints.per_capability[35].models
    models["m"].warm = True
    models["m"].capacity = 2
    models["m"].capacity_in_use = 1
    models["m"].runner_version = "r"
    kept = livepeer_pb2.Capabilities.FromString(read_capabilities(given_.SerializeToString()).normalised)
    model = kept.constraints.per_capability[35].models["m"]
    assert (model.warm, model.capacity, model.runner_version, model.capacity_in_use) == (True, 2, "r", 0)
    assert dict(kept.capacities) == {35: 1, 65: 1}
    assert (list(kept.bitstring), list(kept.mandatories), kept.version) == ([1 << 35, 2], [7], "v")
    assert read_capabilities(given_.SerializeToString()).models == ((35, "m"),)


def test_given_capacities_are_kept_and_constraints_are_always_present() -> None:
    given_ = livepeer_pb2.Capabilities(bitstring=[3], capacities={9: 4})
    kept = livepeer_pb2.Capabilities.FromString(read_capabilities(given_.SerializeToString()).normalised)
    assert dict(kept.capacities) == {9: 4}
    assert kept.HasField("constraints")


@pytest.mark.parametrize("vector", MISC["orchInfoSigs"], ids=lambda v: v["address"][:10])
def test_the_sender_introduces_itself_with_its_checksummed_address(vector: dict[str, Any]) -> None:
    address = unhex(vector["address"])
    assert checksum_address(address) == vector["address"]
    assert orchestrator_info_digest(address) == unhex(vector["keccakMessage"])
    assert is_signed_by(address, orchestrator_info_digest(address), unhex(vector["signature"]))
