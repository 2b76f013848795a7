"""Every recorded request of the network's own signer, answered by the pure rooms alone."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from signing.pm import state
from signing.pm.wire import parse_request
from tests.vectors import load
from tests.vectors.pure_signer import RECORDED_AT_NS, answer


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An answer of ours that differs from the recorded one, and why. The text is only its beginning."""

    status: int
    text: str
    reason: str


OWN_TEXT = "the text of a decoder is not part of the protocol; status and meaning are the same"
OUR_SHORTAGE = "the client did nothing wrong and a 400 would end its session for good"
SAID_OPENLY = "a limit of ours met by the client's ticket params is a refusal with a reason, not a hidden 500"
OWN_SEAL = "only we can have sealed such a state, so it is a defect to report, not to paper over"

ANSWERED_DIFFERENTLY = {
    "orchestrator number": Difference(status=400, text="json: cannot unmarshal number", reason=OWN_TEXT),
    "inPixels float": Difference(status=400, text="json: cannot unmarshal number", reason=OWN_TEXT),
    "inPixels 2^63": Difference(status=400, text="json: cannot unmarshal number", reason=OWN_TEXT),
    "inPixels 1e3": Difference(status=400, text="json: cannot unmarshal number", reason=OWN_TEXT),
    "raw body {not-json": Difference(status=400, text="json: invalid character", reason=OWN_TEXT),
    "raw body []": Difference(status=400, text="json: cannot unmarshal array", reason=OWN_TEXT),
    "raw body 5": Difference(status=400, text="json: cannot unmarshal number", reason=OWN_TEXT),
    "request maxPrice not number": Difference(
        status=400, text="maxPrice.price must be a positive decimal", reason=OWN_TEXT
    ),
    "no reserve": Difference(status=503, text="no sender reserve", reason=OUR_SHORTAGE),
    "withdrawRound = round+1": Difference(status=503, text="unable to validate sender", reason=OUR_SHORTAGE),
    "withdrawRound past": Difference(status=503, text="unable to validate sender", reason=OUR_SHORTAGE),
    "totalEV 10 tickets (rounding pushes above)": Difference(status=400, text="total ticket EV", reason=SAID_OPENLY),
    "totalEV 11 tickets above maxTotalEV": Difference(status=400, text="total ticket EV", reason=SAID_OPENLY),
    "state unparseable balance is ignored (in-memory or zero balance used)": Difference(
        status=400, text="invalid state", reason=OWN_SEAL
    ),
}
# One recording holds no request: the network's signer crashed on it. test_pm_state refuses that state.
RECORDED = [vector for vector in load("signer_http") if vector["status"] > 0]
SAME = [vector for vector in RECORDED if vector["name"] not in ANSWERED_DIFFERENTLY]
DIFFERENT = [vector for vector in RECORDED if vector["name"] in ANSWERED_DIFFERENTLY]


def recorded_state(vector: dict[str, Any]) -> state.PaymentState | None:
    decoded = vector.get("decodedState")
    return state.parse_state(json.dumps(decoded).encode()) if decoded else None


def clock_of(vector: dict[str, Any]) -> int:
    """The recorded time of an answered payment; time-based units depend on it."""
    recorded = recorded_state(vector)
    return recorded.last_update_ns if recorded and recorded.last_update_ns else RECORDED_AT_NS


def message_of(vector: dict[str, Any]) -> str:
    body = json.loads(vector["body"])
    # The network's protobuf library writes one of its blanks as a no-break space, at random.
    return str(body.get("error", {}).get("message", "")).replace("\xa0", " ")


def check_payment(vector: dict[str, Any], now_ns: int) -> None:
    given, body, recorded = answer(vector, now_ns), json.loads(vector["body"]), recorded_state(vector)
    assert (given.status, given.message) == (vector["status"], message_of(vector))
    assert given.payment == body.get("payment", "")
    assert given.seg_creds == body.get("segCreds", "")
    if recorded is None:
        assert given.state is None
    else:
        assert given.state is not None
        assert given.state._replace(state_id=recorded.state_id) == recorded


@pytest.mark.parametrize("vector", SAME, ids=lambda v: v["name"])
def test_a_recorded_request_gets_the_recorded_answer(vector: dict[str, Any]) -> None:
    check_payment(vector, clock_of(vector))


@pytest.mark.parametrize("vector", [v for v in SAME if v["status"] == 480], ids=lambda v: v["name"])
def test_an_answer_that_asks_for_new_params_can_name_where_to_fetch_them(vector: dict[str, Any]) -> None:
    named = vector["responseHeaders"]["Livepeer-Orchestrator-Url"]
    assert [parse_request(vector["requestText"].encode()).orchestrator.transcoder] == named


@pytest.mark.parametrize("vector", DIFFERENT, ids=lambda v: v["name"])
def test_a_recorded_request_gets_another_answer_on_purpose(vector: dict[str, Any]) -> None:
    difference, given = ANSWERED_DIFFERENTLY[vector["name"]], answer(vector, clock_of(vector))
    assert given.status == difference.status
    assert given.message.startswith(difference.text)
    assert (given.status, given.message) != (vector["status"], message_of(vector))


def test_every_named_difference_has_its_recording() -> None:
    assert {vector["name"] for vector in DIFFERENT} == set(ANSWERED_DIFFERENTLY)


PAYMENTS = load("payments")


def time_of_payment(at: int) -> int:
    """When a payment was recorded; one that was not needed came a moment after the one before."""
    recorded = recorded_state(PAYMENTS[at])
    if recorded is None or recorded.last_update_ns is None:
        return time_of_payment(at - 1) + 1_000_000
    return recorded.last_update_ns


@pytest.mark.parametrize("at", range(len(PAYMENTS)), ids=lambda at: PAYMENTS[at]["name"])
def test_a_recorded_chain_of_payments_is_paid_byte_for_byte(at: int) -> None:
    check_payment(PAYMENTS[at], time_of_payment(at))
