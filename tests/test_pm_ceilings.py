"""Ceilings: what a request, a session or the operator will not pay, and what the sender will not sign."""

from fractions import Fraction
from typing import Any

import pytest

from signing.pm.ceilings import (
    CONFIGURED_CEILING,
    INITIAL_CEILING,
    REQUEST_CEILING,
    InvalidMaxPrice,
    PriceAboveCeiling,
    Refusal,
    SenderFunds,
    TicketLimits,
    TicketParamsExpired,
    TicketParamsRefused,
    check_price,
    check_price_growth,
    check_ticket_params,
    largest_face_value,
    parse_max_price,
)
from tests.vectors import load
from tests.vectors.pure_signer import funds_of, limits_of

MAX = 2**256 - 1
REFUSALS = {
    "ticketParams expiration block is 0": Refusal.NO_EXPIRATION,
    "ticket faceValue too low": Refusal.FACE_VALUE_TOO_LOW,
    "ticket EV": Refusal.TICKET_EV_TOO_HIGH,
    "total ticket EV": Refusal.TOTAL_EV_TOO_HIGH,
    "unable to validate sender": Refusal.UNLOCKING,
    "no sender reserve": Refusal.NO_RESERVE,
    "no sender deposit": Refusal.NO_DEPOSIT,
    "ticket faceValue ": Refusal.DEPOSIT_TOO_LOW,
}


def limits(**changes: Any) -> TicketLimits:
    """A ticket may be worth 100 wei and a batch 1,000; a face value of 1,000 needs all of the deposit."""
    given: dict[str, Any] = {
        "max_ticket_ev_wei": Fraction(100),
        "max_total_ev_wei": Fraction(1000),
        "deposit_multiplier": 1,
        "max_face_value_wei": 1000,
    }
    return TicketLimits(**(given | changes))


def check(**changes: Any) -> None:
    """Ten tickets worth 100 wei each, within every limit unless changed."""
    terms: dict[str, Any] = {
        "face_value": 1000,
        "win_prob": MAX // 10,
        "expiration_block": 102,
        "tickets": 10,
        "funds": SenderFunds(deposit_wei=1000, reserve_wei=1, withdraw_round=0),
        "limits": limits(),
        "last_seen_l1_block": 100,
        "last_initialized_round": 5,
    }
    check_ticket_params(**(terms | changes))


def refusal(**changes: Any) -> Refusal:
    with pytest.raises(TicketParamsRefused) as refused:
        check(**changes)
    return refused.value.reason


def funds(deposit_wei: int = 1000, reserve_wei: int = 1, withdraw_round: int = 0) -> SenderFunds:
    return SenderFunds(deposit_wei=deposit_wei, reserve_wei=reserve_wei, withdraw_round=withdraw_round)


@pytest.mark.parametrize("vector", load("sender_validation"))
def test_recorded_ticket_params_meet_the_recorded_verdict(vector: dict[str, Any]) -> None:
    config, params = vector["config"], vector["ticketParams"]
    verdict, reason = "", None
    try:
        check_ticket_params(
            face_value=int(params["faceValue"]),
            win_prob=int(params["winProb"]),
            expiration_block=int(params["expirationBlock"]),
            tickets=vector["numTickets"],
            funds=funds_of(config),
            limits=limits_of(config),
            last_seen_l1_block=int(config["lastSeenL1Block"]),
            last_initialized_round=int(config["lastInitializedRound"]),
        )
    except TicketParamsExpired as expired:
        verdict = str(expired)
    except TicketParamsRefused as refused:
        verdict, reason = str(refused), refused.reason
    assert verdict == vector["error"]
    assert reason is next((kind for text, kind in REFUSALS.items() if verdict.startswith(text)), None)


def test_every_limit_includes_its_bound() -> None:
    check()


def test_a_ticket_worth_nothing_passes_whatever_the_funds() -> None:
    broke = funds(deposit_wei=0, reserve_wei=0, withdraw_round=1)
    check(face_value=0, funds=broke)
    check(win_prob=0, funds=broke)


def test_params_expire_one_block_before_their_last() -> None:
    check(expiration_block=102)
    for block in (101, 100, 1):
        with pytest.raises(TicketParamsExpired):
            check(expiration_block=block)


def test_params_without_an_expiration_are_refused_even_for_a_sure_win() -> None:
    assert refusal(expiration_block=0, win_prob=MAX) is Refusal.NO_EXPIRATION


def test_a_ticket_that_always_wins_is_refused() -> None:
    assert refusal(win_prob=MAX) is Refusal.FACE_VALUE_TOO_LOW


def test_one_ticket_may_pass_where_two_together_do_not() -> None:
    tight = limits(max_total_ev_wei=Fraction(150))
    check(tickets=1, limits=tight)
    assert refusal(tickets=2, limits=tight) is Refusal.TOTAL_EV_TOO_HIGH


@pytest.mark.parametrize(("withdraw_round", "passes"), [(0, True), (2, False), (4, False), (6, False), (7, True)])
def test_funds_about_to_unlock_back_nothing(withdraw_round: int, passes: bool) -> None:
    if passes:
        check(funds=funds(withdraw_round=withdraw_round))
    else:
        assert refusal(funds=funds(withdraw_round=withdraw_round)) is Refusal.UNLOCKING


def test_the_face_value_must_fit_in_the_deposit_several_times() -> None:
    twice = limits(deposit_multiplier=2)
    check(limits=twice, funds=funds(deposit_wei=2001))
    assert refusal(limits=twice, funds=funds(deposit_wei=1999)) is Refusal.DEPOSIT_TOO_LOW
    assert refusal(limits=twice, funds=funds(deposit_wei=1), face_value=1) is Refusal.DEPOSIT_TOO_LOW


def test_no_face_value_is_above_the_largest_however_large_the_deposit_is() -> None:
    rich, odds = funds(deposit_wei=10**30), MAX // 100
    check(face_value=1000, win_prob=odds, funds=rich)
    assert refusal(face_value=1001, win_prob=odds, funds=rich) is Refusal.FACE_VALUE_TOO_HIGH
    assert refusal(face_value=1001, win_prob=odds) is Refusal.DEPOSIT_TOO_LOW  # a shortage of ours comes first
    assert largest_face_value(2001, deposit_multiplier=2, max_face_value_wei=1000) == 1000
    assert largest_face_value(1999, deposit_multiplier=2, max_face_value_wei=1000) == 999


def test_a_refusal_tells_our_shortage_from_the_clients_params() -> None:
    assert {reason for reason in Refusal if reason.is_ours} == {
        Refusal.UNLOCKING,
        Refusal.NO_RESERVE,
        Refusal.NO_DEPOSIT,
        Refusal.DEPOSIT_TOO_LOW,
    }


def test_the_lowest_ceiling_decides_and_the_first_of_two_equal() -> None:
    one, two = Fraction(1), Fraction(2)
    check_price(two, [(CONFIGURED_CEILING, None), (REQUEST_CEILING, None)])
    check_price(two, [(CONFIGURED_CEILING, two), (REQUEST_CEILING, None), (INITIAL_CEILING, two)])
    with pytest.raises(PriceAboveCeiling) as above:
        check_price(two, [(CONFIGURED_CEILING, two), (REQUEST_CEILING, one), (INITIAL_CEILING, one)])
    assert str(above.value) == "orchestrator price 2.000 exceeds request maxPrice ceiling 1.000"
    assert above.value.source == REQUEST_CEILING


def test_a_price_may_double_but_not_more() -> None:
    check_price_growth(Fraction(2), Fraction(1))
    with pytest.raises(PriceAboveCeiling, match=r"Orchestrator price: 5/2, Orchestrator initial price: 1$"):
        check_price_growth(Fraction(5, 2), Fraction(1))


def test_a_negative_price_never_passes_the_last_guard() -> None:
    with pytest.raises(PriceAboveCeiling, match="more than doubled"):
        check_price_growth(Fraction(-5), Fraction(-5))


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("101.2", Fraction(506, 5)),
        (7, Fraction(7)),
        ("1.012e+21", Fraction(1012 * 10**18)),
        ("1E-3", Fraction(1, 1000)),
        ("0.1", Fraction(1, 10)),
    ],
)
def test_a_maximum_price_is_exact(price: object, expected: Fraction) -> None:
    assert parse_max_price({"price": price, "currency": " WEI ", "unit": "Seconds"}, "live") == expected


@pytest.mark.parametrize("vector", load("misc")["maxPriceParse"], ids=lambda v: repr(v["input"]))
def test_a_maximum_price_is_a_json_number_above_zero(vector: dict[str, Any]) -> None:
    raw = {"price": vector["input"], "currency": "wei", "unit": "fixed"}
    if vector["jsonStringDecodeError"] or vector["ratSetString"] == "0":
        with pytest.raises(InvalidMaxPrice, match=r"^maxPrice.price must be a positive decimal$"):
            parse_max_price(raw, "fixed")
    else:
        assert parse_max_price(raw, "fixed") == Fraction(vector["ratSetString"])


@pytest.mark.parametrize("price", ["wat", "-1", "", None, True, 1.5, "1e999999999", "1e-401", "9" * 101, 0, -1])
def test_any_other_maximum_price_is_refused_at_once(price: object) -> None:
    with pytest.raises(InvalidMaxPrice, match=r"^maxPrice.price must be a positive decimal$"):
        parse_max_price({"price": price, "currency": "wei", "unit": "fixed"}, "fixed")


@pytest.mark.parametrize(
    ("kind", "raw", "message"),
    [
        ("fixed", {}, "maxPrice.price must be a positive decimal"),
        ("fixed", {"price": 1}, "maxPrice.currency must be wei"),
        ("fixed", {"price": 1, "currency": "usd", "unit": "fixed"}, "maxPrice.currency must be wei"),
        ("", {"price": 1, "currency": "wei"}, "maxPrice requires payment type live, lv2v, or fixed"),
        (
            "live",
            {"price": 1, "currency": "wei", "unit": "fixed"},
            "maxPrice.unit must be seconds for payment type live",
        ),
        (
            "lv2v",
            {"price": 1, "currency": "wei"},
            "maxPrice.unit must be 720p-pixel-seconds for payment type lv2v",
        ),
        ("fixed", "1", "maxPrice must be an object"),
    ],
)
def test_a_maximum_price_names_wei_and_the_jobs_unit(kind: str, raw: object, message: str) -> None:
    with pytest.raises(InvalidMaxPrice) as refused:
        parse_max_price(raw, kind)
    assert str(refused.value) == message


def test_no_maximum_price_is_no_ceiling() -> None:
    assert parse_max_price(None, "") is None
