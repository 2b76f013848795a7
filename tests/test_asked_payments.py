"""The rows of payments on their way to the commit: PostgreSQL's binary form, member by member."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from signing.signer.asked_payments import asked_payment, pack

NUMBERS = ["customer", "api_key", "tickets", "at", "first_nonce", "price_per_unit", "pixels_per_unit", "rate"]
NUMBERS += ["markup_bps", "creation_round"]
MAYBE_NUMBERS = ["presented", "expected", "expected_at"]
BYTES = ["rand_hash", "digest", "creation_round_block_hash", "answer"]
TEXTS = ["sender", "orchestrator", "orchestrator_url", "recipient", "app", "kind", "manifest_id", "label", "balance"]
TEXTS += ["expected_balance", "billed_units", "fee_wei", "cost_wei", "face_value_wei", "win_prob"]
TEXTS += ["client_ip", "user_agent", "gateway_request_id", "attribution_source"]
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.one_of(st.text("abc09", max_size=300), st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
ROWS = st.fixed_dictionaries(
    dict.fromkeys(NUMBERS, INT64)
    | {name: st.one_of(st.none(), INT64) for name in MAYBE_NUMBERS}
    | {"session": st.binary(min_size=16, max_size=16)}
    | {name: st.binary(max_size=300) for name in BYTES}
    | dict.fromkeys(TEXTS, TEXT)
    | {name: st.one_of(st.none(), TEXT) for name in ("expected_balance", "client_ip")}
)


def value(type_id: int, raw: bytes | None) -> bytes:
    return type_id.to_bytes(4) + (b"\xff" * 4 if raw is None else len(raw).to_bytes(4) + raw)


@given(row=ROWS)
def test_a_row_is_packed_member_by_member(row: dict[str, Any]) -> None:
    numbers = [row[name] for name in NUMBERS + MAYBE_NUMBERS]
    texts = [row[name] for name in TEXTS]
    expected = (37).to_bytes(4) + b"".join(
        [
            *(value(20, number if number is None else number.to_bytes(8, signed=True)) for number in numbers),
            value(2950, row["session"]),
            *(value(17, row[name]) for name in BYTES),
            *(value(25, text if text is None else text.encode()) for text in texts),
        ]
    )
    asked = asked_payment(**row)
    assert (asked.customer, asked.recipient, asked.packed) == (row["customer"], row["recipient"], expected)
    packed = pack([asked, asked], type_id=7)
    assert packed == b"".join(number.to_bytes(4) for number in (1, 0, 7, 2, 1)) + 2 * (
        len(expected).to_bytes(4) + expected
    )
