"""Quotes: units, fees, ticket counts and the two texts of an exact number."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.pm.quotes import (
    MAX_TICKETS,
    NoBillableUnits,
    NotARational,
    NoTickets,
    Quote,
    TooManyTickets,
    UnknownJobType,
    billable_units,
    check_elapsed,
    fee_wei,
    fixed_text,
    parse_rational,
    quote_units,
    rational_text,
)
from tests.vectors import load

MISC = load("misc")

rationals = st.fractions(max_denominator=10**9).map(lambda value: value * 10**12)


def figures(priced: Quote) -> list[int | Fraction]:
    return [priced.units, priced.fee_wei, priced.tickets, priced.cost_wei, priced.balance_after_wei]


def quoted(**changes: Any) -> Quote:
    """A 'live' follow-up of 12 s at 3 wei a second, with tickets worth 35 wei and 5 wei in hand."""
    work: dict[str, Any] = {"kind": "live", "seconds": Fraction(12), "in_pixels": 0}
    terms: dict[str, Any] = {
        "price_per_unit": 3,
        "pixels_per_unit": 1,
        "balance_wei": Fraction(5),
        "expected_value_wei": Fraction(35),
    }
    given = work | terms | changes
    check_elapsed(given["kind"], given["seconds"])
    units = billable_units(*(given[name] for name in work))
    return quote_units(units, **{name: given[name] for name in terms})


def ticket_count(balance: Fraction, fee: Fraction, value: Fraction) -> int:
    """How many tickets the work takes: none where nothing is signed, and as many as are too many where they are."""
    try:
        return quote_units(1, *fee.as_integer_ratio(), balance, value).tickets
    except NoTickets:
        return 0
    except TooManyTickets as refused:
        return refused.tickets


@pytest.mark.parametrize("vector", load("balances"), ids=lambda v: v["existingBalance"][:30])
def test_a_recorded_balance_takes_the_recorded_number_of_tickets(vector: dict[str, Any]) -> None:
    balance, value = parse_rational(vector["existingBalance"]), parse_rational(vector["ev"])
    fee = fee_wei(vector["units"], vector["pricePerUnit"], vector["pixelsPerUnit"])
    tickets = ticket_count(balance, fee, value)
    assert rational_text(fee) == vector["fee"]
    assert tickets == vector["numTickets"]
    assert rational_text(tickets * value) == vector["newCredit"]
    assert rational_text(balance + tickets * value - fee) == vector["newBalance"]


@pytest.mark.parametrize("vector", MISC["billable"], ids=lambda v: str(v["secs"]))
def test_recorded_seconds_are_the_recorded_units(vector: dict[str, Any]) -> None:
    seconds = Fraction(str(vector["secs"]))
    assert billable_units("lv2v", seconds, 0) == vector["pixels"]
    assert billable_units("live", seconds, 0) == vector["liveUnits"]


@pytest.mark.parametrize("seconds", [None, Fraction(0), Fraction(-1)])
def test_an_opening_payment_covers_a_minute_of_video_or_ten_seconds(seconds: Fraction | None) -> None:
    assert billable_units("lv2v", seconds, 0) == 1_658_880_000
    assert billable_units("live", seconds, 0) == 10
    assert billable_units("fixed", seconds, 12345) == 1
    assert billable_units("", seconds, 12345) == 12345


def test_pixels_are_truncated_and_seconds_rounded_up() -> None:
    assert billable_units("lv2v", Fraction(4_999_999_999, 10**9), 0) == 138_239_999
    assert billable_units("live", Fraction(4_000_000_001, 10**9), 0) == 5


@pytest.mark.parametrize("kind", ["bogus", "LV2V", "byoc", " "])
def test_an_unknown_job_type_is_refused(kind: str) -> None:
    with pytest.raises(UnknownJobType, match=r"^invalid job type$"):
        billable_units(kind, None, 1)


@pytest.mark.parametrize("in_pixels", [0, -7])
def test_untyped_work_needs_pixels(in_pixels: int) -> None:
    with pytest.raises(NoBillableUnits, match=r"^missing billable unit or job type$"):
        billable_units("", None, in_pixels)


def test_too_short_a_stretch_of_video_has_no_pixel() -> None:
    with pytest.raises(NoBillableUnits):
        billable_units("lv2v", Fraction(1, 10**9), 0)


def test_the_networks_example_of_two_payments_holds() -> None:
    first = quoted(seconds=None, balance_wei=Fraction(0))
    assert figures(first) == [10, 30, 1, 35, 5]
    second = quoted(balance_wei=first.balance_after_wei)
    assert figures(second) == [12, 36, 1, 35, 4]


def test_a_follow_up_without_elapsed_time_is_no_second_opening() -> None:
    for kind in ("live", "lv2v"):
        with pytest.raises(NoTickets):
            quoted(kind=kind, seconds=Fraction(0), balance_wei=Fraction(-1000))


def test_a_covered_fee_takes_no_ticket() -> None:
    with pytest.raises(NoTickets, match=r"^no tickets$"):
        quoted(balance_wei=Fraction(36))


def test_worthless_tickets_are_not_signed() -> None:
    with pytest.raises(NoTickets):
        quoted(expected_value_wei=Fraction(0))


def test_one_payment_carries_at_most_a_hundred_tickets() -> None:
    terms = {"kind": "", "balance_wei": Fraction(0), "price_per_unit": 1, "expected_value_wei": Fraction(1)}
    assert quoted(in_pixels=MAX_TICKETS, **terms).tickets == MAX_TICKETS
    with pytest.raises(TooManyTickets, match=r"^numTickets 101 exceeds maximum of 100$"):
        quoted(in_pixels=MAX_TICKETS + 1, **terms)


def test_the_cost_is_what_is_signed_rounded_up_once() -> None:
    three = quoted(kind="fixed", price_per_unit=3, balance_wei=Fraction(0), expected_value_wei=Fraction(4, 3))
    assert figures(three) == [1, 3, 3, 4, 1]
    one = quoted(kind="fixed", price_per_unit=1, balance_wei=Fraction(0), expected_value_wei=Fraction(4, 3))
    assert figures(one) == [1, 1, 1, 2, Fraction(1, 3)]


@given(
    balance=rationals,
    fee=rationals.filter(lambda value: value >= 0),
    value=rationals.filter(lambda value: value > 0),
)
def test_the_tickets_reach_the_need_and_not_one_more(balance: Fraction, fee: Fraction, value: Fraction) -> None:
    tickets, need = ticket_count(balance, fee, value), max(fee, value)
    assert balance + tickets * value >= need
    assert tickets == 0 or balance + (tickets - 1) * value < need


@given(
    balance=st.fractions(min_value=-(10**6), max_value=10**6),
    value=st.fractions(min_value=1, max_value=10**6),
    pixels=st.integers(1, 10**7),
)
def test_a_payment_never_leaves_a_debt_and_never_costs_less_than_it_signs(
    balance: Fraction, value: Fraction, pixels: int
) -> None:
    try:
        priced = quoted(kind="", in_pixels=pixels, balance_wei=balance, expected_value_wei=value)
    except (NoTickets, TooManyTickets):
        return
    assert priced.balance_after_wei >= 0
    assert 0 <= priced.cost_wei - priced.tickets * value < 1


@given(st.fractions())
def test_a_rational_survives_its_text(value: Fraction) -> None:
    assert parse_rational(rational_text(value)) == value


@pytest.mark.parametrize("text", ["", "x", "1/0", "1.5", " 1", "1/", "/2", "+1", "1/-2", "1" * 1001, "\u0661"])
def test_a_text_that_is_no_rational_is_refused(text: str) -> None:
    with pytest.raises(NotARational):
        parse_rational(text)


@pytest.mark.parametrize("vector", MISC["floatString"], ids=lambda v: v["rat"])
def test_decimals_round_half_away_from_zero(vector: dict[str, Any]) -> None:
    value = Fraction(vector["rat"])
    assert {n: fixed_text(value, n) for n in (0, 3, 5, 10)} == {n: vector[f"f{n}"] for n in (0, 3, 5, 10)}
