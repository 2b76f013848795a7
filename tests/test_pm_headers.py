"""The headers that are put together by hand: always the bytes the protobuf library would have written."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from signing.pm import livepeer_pb2 as pb
from signing.pm.capabilities import read_capabilities
from signing.pm.headers import HASH_OF_NOTHING, encode_payment, encode_seg_creds
from signing.pm.orchestrator_info import TicketParams

UINT256 = st.one_of(st.integers(0, 300), st.integers(0, 2**256 - 1))
INT64 = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
UNKNOWN = st.sampled_from([b"", b"\xfa\x3e\x03abc", b"\xf8\x3e\x01"])


def minimal(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)


@st.composite
def price_infos(draw: st.DrawFn) -> bytes:
    price = pb.PriceInfo(
        price_per_unit=draw(st.integers(1, 2**63 - 1)),
        pixels_per_unit=draw(INT64),
        capability=draw(st.integers(0, 2**32 - 1)),
        constraint=draw(st.text(max_size=300)),
    )
    price.MergeFromString(draw(UNKNOWN))
    return price.SerializeToString()


@st.composite
def auth_tokens(draw: st.DrawFn) -> bytes:
    token = pb.AuthToken(
        token=draw(st.binary(max_size=300)), session_id=draw(st.text(max_size=40)), expiration=draw(INT64)
    )
    token.MergeFromString(draw(UNKNOWN))
    return token.SerializeToString()


@st.composite
def capabilities(draw: st.DrawFn) -> bytes:
    message = pb.Capabilities(bitstring=draw(st.lists(st.integers(0, 2**64 - 1), max_size=2)), version="0.8.1")
    for number, models in draw(
        st.dictionaries(st.integers(0, 40), st.lists(st.text(max_size=20), max_size=3), max_size=4)
    ).items():
        for model in models:
            message.constraints.per_capability[number].models[model].warm = True
    return read_capabilities(message.SerializeToString()).normalised


@given(
    params=st.builds(
        TicketParams,
        recipient=st.binary(min_size=20, max_size=20),
        face_value=UINT256,
        win_prob=UINT256,
        recipient_rand_hash=st.binary(min_size=32, max_size=32),
        seed=UINT256,
        expiration_block=UINT256,
        creation_round=st.just(0),
        creation_round_block_hash=st.just(bytes(32)),
    ),
    round_=INT64,
    first_nonce=st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 200)),
    signatures=st.lists(st.binary(min_size=65, max_size=65), max_size=100),
    price_info=price_infos(),
)
def test_a_payment_has_the_librarys_bytes(
    params: TicketParams, round_: int, first_nonce: int, signatures: list[bytes], price_info: bytes
) -> None:
    given: dict[str, Any] = {"sender": b"s" * 20, "creation_round": round_, "creation_round_block_hash": b"\0" * 32}
    expected = pb.Payment(
        ticket_params=pb.TicketParams(
            recipient=params.recipient,
            face_value=minimal(params.face_value),
            win_prob=minimal(params.win_prob),
            recipient_rand_hash=params.recipient_rand_hash,
            seed=minimal(params.seed),
            expiration_block=minimal(params.expiration_block),
        ),
        sender=b"s" * 20,
        expiration_params=pb.TicketExpirationParams(creation_round=round_, creation_round_block_hash=bytes(32)),
        ticket_sender_params=[
            pb.TicketSenderParams(sender_nonce=nonce, sig=signature)
            for nonce, signature in enumerate(signatures, first_nonce)
        ],
        expected_price=pb.PriceInfo.FromString(price_info),
    ).SerializeToString()
    message = encode_payment(
        params=params, first_nonce=first_nonce, signatures=signatures, price_info=price_info, **given
    )
    assert message == expected


@given(
    manifest_id=st.text("abcXYZ019_.:-", max_size=128),
    token=auth_tokens(),
    named=st.one_of(st.none(), capabilities()),
)
def test_segment_credentials_have_the_librarys_bytes(manifest_id: str, token: bytes, named: bytes | None) -> None:
    expected = pb.SegData(
        manifest_id=manifest_id.encode(),
        hash=HASH_OF_NOTHING,
        profiles=b"invalid",
        sig=b"g" * 65,
        auth_token=pb.AuthToken.FromString(token),
        capabilities=None if named is None else pb.Capabilities.FromString(named),
    ).SerializeToString(deterministic=True)
    message = encode_seg_creds(manifest_id=manifest_id, signature=b"g" * 65, auth_token=token, capabilities=named)
    assert message == expected
