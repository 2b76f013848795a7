"""Which highest price holds: by subject, unit, moment and currency, always exact."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from signing.pm import price_list
from signing.pm.price_list import GLOBAL, Ceiling, PriceList, Subject

RATE = 3_000 * 10**9
NOW = {"now_us": 1_000, "nano_usd_per_eth": RATE}


def wei(limit: int | None, *, per: int = 1, since: int = 0) -> Ceiling:
    return Ceiling(limit_wei=limit, limit_nano_usd=None, per_units=per, from_us=since)


def usd(nano: int, *, per: int = 1) -> Ceiling:
    return Ceiling(limit_wei=None, limit_nano_usd=nano, per_units=per, from_us=0)


def pixels(*rows: tuple[Subject, Ceiling], fallback: int = 0) -> PriceList:
    return PriceList(((subject, "pixel", ceiling) for subject, ceiling in rows), fallback=Fraction(fallback))


def test_without_rows_the_setting_holds_for_every_kind_and_0_is_no_ceiling() -> None:
    for kind in ("", "lv2v", "live", "fixed"):
        assert PriceList(fallback=Fraction(500)).configured([(35, "m")], kind, **NOW) == 500
        assert PriceList().configured([], kind, **NOW) is None


def test_a_ceiling_for_everything_takes_the_setting_s_place_for_its_own_unit_only() -> None:
    prices = pixels((GLOBAL, wei(700)), fallback=500)
    assert prices.configured([], "lv2v", **NOW) == 700
    assert prices.configured([], "", **NOW) == 700
    assert prices.configured([], "live", **NOW) == 500


def test_a_capability_s_ceiling_stands_in_place_of_the_one_for_everything_below_and_above_it() -> None:
    for own in (200, 900):
        prices = pixels((GLOBAL, wei(500)), (price_list.capability(35, "m"), wei(own)))
        assert prices.configured([(35, "m")], "lv2v", **NOW) == own
        assert prices.configured([(35, "other")], "lv2v", **NOW) == 500
        assert prices.configured([], "lv2v", **NOW) == 500


def test_models_add_up_and_one_without_its_own_counts_with_its_capability_s() -> None:
    prices = pixels(
        (price_list.capability(35, "m"), wei(200)),
        (price_list.capability(35), wei(50)),
        (price_list.capability(27, "x"), wei(7)),
    )
    assert prices.configured([(35, "m"), (35, "n"), (27, "x"), (27, "y")], "lv2v", **NOW) == 257


def test_the_newest_row_in_force_counts_and_an_empty_one_ends_what_was_before() -> None:
    rows = [
        (GLOBAL, wei(10)),
        (GLOBAL, wei(20, since=500)),
        (GLOBAL, wei(15, since=500)),
        (GLOBAL, wei(1, since=2_000)),
    ]
    prices = pixels(*rows, fallback=99)
    at = {"nano_usd_per_eth": RATE}
    assert [prices.configured([], "", now_us=us, **at) for us in (499, 500, 1_999, 2_000)] == [10, 15, 15, 1]
    ended = pixels(*rows, (GLOBAL, wei(None, since=3_000)), fallback=99)
    assert ended.configured([], "", now_us=3_000, **at) == 99


def test_dollars_are_wei_at_the_rate_and_exact() -> None:
    # 1.10 USD an hour at 3,000 USD per ETH.
    an_hour = PriceList([(price_list.customer(7), "second", usd(1_100_000_000, per=3_600))])
    found = an_hour.of(price_list.customer(7), "live", **NOW)
    assert found == Fraction(11, 10) / 3_000 / 3_600 * 10**18
    assert an_hour.of(price_list.customer(8), "live", **NOW) is None
    assert an_hour.of(price_list.customer(7), "fixed", **NOW) is None


@given(nano=st.integers(1, 2**62), per=st.integers(1, 10**12), rate=st.integers(1, 10**15))
def test_no_digit_of_a_dollar_ceiling_is_lost(nano: int, per: int, rate: int) -> None:
    found = usd(nano, per=per).wei_per_unit(rate)
    assert found is not None
    assert found * rate * per == nano * 10**18
