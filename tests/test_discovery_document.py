"""The list of orchestrators without any network: who is listed, filtered, ordered and written."""

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from signing.discovery import document
from signing.discovery.document import BadFilter, Orchestrator, Rules
from signing.discovery.offers import Gpu
from tests.discovery_builders import (
    ALICE,
    BOB,
    CAROL,
    EVERYTHING,
    HERE,
    anything,
    capability,
    listed,
    names,
    orchestrator,
    runner,
    written,
)

# -- Who is listed -----------------------------------------------------------------------------------------


def test_an_orchestrator_needs_something_to_sell_and_somebody_we_may_pay() -> None:
    found = listed(
        orchestrator("sells", ALICE, capabilities=(capability(),)),
        orchestrator("nothing", ALICE, price=Fraction(3)),
        orchestrator("stranger", "0x" + "ee" * 20, capabilities=(capability(),)),
        orchestrator("runs", BOB, runner()),
        orchestrator("dear", CAROL, runner(), ticket_ev_wei=10**12 + 1),
    )
    assert [entry.address for entry in found] == ["https://sells.example:8935", "https://runs.example:8935"]
    assert found[1].names == ["studio/a"]


def test_without_an_offer_the_owner_of_a_registered_address_is_who_would_be_paid() -> None:
    quiet = Orchestrator(address=HERE, info=None, runners=(runner(),))
    free: Any = {"registry": (), "ceiling": anything, "max_ticket_ev_wei": Fraction(1), "max_face_value_wei": None}
    rules = Rules(payable=frozenset({ALICE}), **free)
    assert [entry.recipient for entry in document.entries([quiet], {HERE: ALICE}, rules)] == [ALICE]
    assert document.entries([quiet], {HERE: BOB}, rules) == []
    assert document.entries([quiet], {}, rules) == []
    anybody = Rules(payable=frozenset({""}), **free)
    assert len(document.entries([quiet], {}, anybody)) == 1


def test_whose_tickets_the_deposit_does_not_cover_is_left_out() -> None:
    def shown(max_face_value_wei: int | None) -> list[str]:
        offered = (
            orchestrator("covered", ALICE, runner(), face_value_wei=10**15),
            orchestrator("above", BOB, runner(), face_value_wei=10**15 + 1),
            orchestrator("free", CAROL, runner(), face_value_wei=10**18, ticket_ev_wei=0),
        )
        return names(listed(*offered, max_face_value_wei=max_face_value_wei))

    assert shown(10**15) == ["covered", "free"]
    assert shown(10**15 + 1) == ["covered", "above", "free"]
    assert shown(None) == ["covered", "above", "free"]


def test_what_costs_more_than_the_ceiling_is_left_out_offer_by_offer() -> None:
    (entry,) = listed(
        orchestrator(
            "mixed",
            ALICE,
            runner("cheap", "500"),
            runner("dear", "500.0000000000000000001"),
            runner("job", "501", "fixed"),
            capabilities=(capability("cheap", 500), capability("dear", 501)),
            price=Fraction(501),
        ),
        max_price=500,
    )
    assert entry.names == ["live-video-to-video/cheap", "studio/cheap"]
    assert entry.price is None
    assert listed(orchestrator("dear", ALICE, runner("dear", "501")), max_price=500) == []


def test_a_capability_s_own_ceiling_stands_in_place_of_the_one_for_all_and_is_not_for_runners() -> None:
    """As for payments: 500 for model m, 10 for everything else; runners name no capability."""

    def ceiling(models: Sequence[tuple[int, str]], kind: str) -> Fraction:
        return Fraction(500 if (35, "m") in models else 10)

    (entry,) = listed(
        orchestrator(
            "orch",
            ALICE,
            runner("live-video-to-video/m", "11"),
            runner("b", "10"),
            capabilities=(capability("m", 300), capability("n", 11)),
            price=Fraction(10),
        ),
        ceiling=ceiling,
    )
    assert entry.names == ["live-video-to-video/m", "studio/b"]
    assert entry.price == 10


# -- Filters and order -------------------------------------------------------------------------------------


def test_caps_are_or_and_name_capabilities_and_apps() -> None:
    found = listed(
        orchestrator("m", ALICE, capabilities=(capability("m", 1),)),
        orchestrator("n", BOB, capabilities=(capability("n", 2),)),
        orchestrator("app", CAROL, runner("a")),
    )
    assert names(found, "caps=live-video-to-video/m") == ["m"]
    assert names(found, "caps=live-video-to-video%2Fm&caps=studio/a") == ["app", "m"]
    assert names(found, "caps=studio/a") == ["app"]
    assert names(found, "caps=&caps=%20&other=x") == ["app", "m", "n"]
    assert names(found, "caps=nobody/has-this") == []
    assert names(found, "caps=Live-Video-To-Video/m") == []


def test_app_and_gpu_choose_runners_or_within_and_and_across() -> None:
    found = listed(
        orchestrator(
            "both",
            ALICE,
            runner("a", "1", gpu=Gpu(name="H100")),
            runner("b", "2", gpu=Gpu(name="L40S")),
            capabilities=(capability(),),
        ),
        orchestrator("other", BOB, runner("a", "3", gpu=Gpu(name="L40S"))),
        orchestrator("none", CAROL, capabilities=(capability(),)),
    )
    assert names(found, "app=studio/a") == ["both", "other"]
    assert [len(each["runners"]) for each in written(found, "app=studio/a")] == [1, 1]
    assert names(found, "gpu=L40S&gpu=T4") == ["both", "other"]
    assert names(found, "app=studio/a&gpu=L40S") == ["other"]
    assert names(found, "app=studio/a&app=studio/b&gpu=H100") == ["both"]
    assert names(found, "app=studio/a&caps=studio/c") == []
    assert names(found, "app=studio/a&caps=live-video-to-video/m") == ["both"]
    assert written(found, "app=studio/a")[0]["capabilities"] == ["live-video-to-video/m", "studio/a"]


def test_a_query_of_too_many_filters_or_broken_ones_is_refused() -> None:
    assert len(document.read_filters(b"&".join(b"caps=a%d" % n for n in range(64))).caps) == 64
    for query in (b"&".join([b"caps=a"] * 65), b"caps=\xff"):
        with pytest.raises(BadFilter):
            document.read_filters(query)


def test_whoever_does_more_of_what_was_asked_comes_first_then_room_price_and_stake() -> None:
    m, n = capability("m", 5), capability("n", 5)
    found = listed(
        orchestrator("one", CAROL, capabilities=(capability("m", 1),)),
        orchestrator("two", CAROL, capabilities=(m, n)),
        orchestrator(
            "two-full", ALICE, capabilities=(capability("m", 1, has_room=False), capability("n", 1, has_room=False))
        ),
        orchestrator("two-cheap", CAROL, capabilities=(capability("m", 4), n)),
        orchestrator("two-staked", BOB, capabilities=(m, n)),
    )
    query = "caps=live-video-to-video/m&caps=live-video-to-video/n"
    assert names(found, query) == ["two-cheap", "two-staked", "two", "two-full", "one"]
    # The price that counts is that of the work that was asked for.
    found = listed(
        orchestrator("x", ALICE, capabilities=(capability("m", 9), capability("n", 1))),
        orchestrator("y", BOB, capabilities=(capability("m", 8),)),
    )
    assert names(found, "caps=live-video-to-video/m") == ["y", "x"]
    assert names(found) == ["x", "y"]


def test_seconds_and_pixels_are_compared_by_the_hour_and_jobs_come_last() -> None:
    second = 27_648_000
    found = listed(
        orchestrator("job", ALICE, runner("a", "1", "fixed")),
        orchestrator("seconds", ALICE, runner("a", str(10 * second))),
        orchestrator("pixels", ALICE, runner("a", "9.5", "720p-pixel-seconds")),
        orchestrator("capability", ALICE, capabilities=(capability("a", 11),)),
        orchestrator("job2", ALICE, runner("a", "0.5", "fixed")),
        orchestrator("full", ALICE, runner("a", "1", capacity=2, capacity_used=2)),
    )
    assert names(found) == ["pixels", "seconds", "capability", "job2", "job", "full"]


# -- The document ------------------------------------------------------------------------------------------


def test_the_document_has_exactly_the_members_gateways_know_and_no_empty_ones() -> None:
    whole = runner("b", "0.000000000000000000123", "fixed", version="1", metadata="ü", mode="single-shot")
    found = listed(
        orchestrator(
            "full",
            ALICE,
            runner("a", "101.20", gpu=Gpu(name="H100", vram_mb=1), capacity=3, capacity_used=1, capacity_available=2),
            whole,
            capabilities=(capability("m", 1), capability("k", 1)),
        ),
        orchestrator("bare", BOB, capabilities=(capability("m", 2),)),
    )
    body = document.to_json(document.select(found, EVERYTHING))
    assert b'"price":0.000000000000000000123,' in body
    counts = {"capacity": 0, "capacity_used": 0, "capacity_available": 0}
    assert json.loads(body) == [
        {
            "address": "https://full.example:8935",
            "score": 1,
            "capabilities": ["live-video-to-video/k", "live-video-to-video/m", "studio/a", "studio/b"],
            "runners": [
                {
                    "url": HERE + "/a",
                    "gpu": {"name": "H100", "vram_mb": 1},
                    "app": "studio/a",
                    "capacity": 3,
                    "capacity_used": 1,
                    "capacity_available": 2,
                    "price_info": {"price": 101.2, "currency": "wei", "unit": "seconds"},
                },
                {
                    "url": HERE + "/b",
                    "app": "studio/b",
                    "version": "1",
                    "metadata": "ü",
                    "mode": "single-shot",
                    **counts,
                    "price_info": {"price": 1.23e-19, "currency": "wei", "unit": "fixed"},
                },
            ],
        },
        {"address": "https://bare.example:8935", "score": 1, "capabilities": ["live-video-to-video/m"]},
    ]
    assert document.to_json([]) == b"[]"
