"""The list of orchestrators without any network: what is heard, what is listed, filtered, ordered and written."""

import ipaddress
import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from signing.discovery import addresses, document, offers
from signing.discovery.addresses import BadAddress
from signing.discovery.document import BadFilter, Entry, Filters, Orchestrator, Rules
from signing.discovery.offers import Capability, Gpu, Info, Nonsense, Runner
from signing.discovery.reading import Unreadable
from signing.discovery.sources import read_webhook
from signing.pm import livepeer_pb2 as pb
from signing.pm.tickets import MAX_UINT256

HERE = "https://orch.example:8935"
ALICE, BOB, CAROL = ("0x" + each * 20 for each in ("0a", "0b", "0c"))
EVERYTHING = Filters()


def price_info(price: Any = 5, unit: str = "seconds", currency: str = "wei") -> dict[str, Any]:
    return {"price": price, "currency": currency, "unit": unit}


def runner_json(**changes: Any) -> dict[str, Any]:
    given = {"url": HERE + "/runner/a/session", "app": "studio/a", "price_info": price_info(), **changes}
    return {name: value for name, value in given.items() if value is not ...}


def heard(*runners: Any, address: Any = HERE) -> list[Runner]:
    body = json.dumps([{"address": address, "score": 1, "runners": list(runners)}]).encode()
    return list(offers.read_runners(body, frozenset({HERE})))


def runner(name: str = "a", price: str = "5", unit: str = "seconds", **changes: Any) -> Runner:
    return Runner(url=f"{HERE}/{name}", app=f"studio/{name}", price=price, unit=unit, **changes)


def capability(model: str = "m", price: int = 5, *, has_room: bool = True) -> Capability:
    return Capability(number=35, model=model, price=Fraction(price), has_room=has_room)


def orchestrator(name: str = "orch", recipient: str = ALICE, *runners: Runner, **changes: Any) -> Orchestrator:
    given: dict[str, Any] = {"capabilities": (), "price": None, "ticket_ev_wei": 1, **changes}
    info = Info(recipient=recipient, service_uri="", **given)
    return Orchestrator(address=f"https://{name}.example:8935", info=info, runners=runners)


def listed(*orchestrators: Orchestrator, max_price: int | None = None, **changes: Any) -> list[Entry]:
    given: dict[str, Any] = {
        "registry": ((ALICE, ""), (BOB, ""), (CAROL, "")),
        "payable": frozenset({ALICE, BOB, CAROL}),
        "ceiling": lambda models, kind: None if max_price is None else Fraction(max_price),
        "max_ticket_ev_wei": Fraction(10**12),
        **changes,
    }
    return document.entries(orchestrators, {}, Rules(**given))


def anything(models: Sequence[tuple[int, str]], kind: str) -> None:
    """No ceiling."""


def names(found: list[Entry], query: str = "") -> list[str]:
    selected = document.select(found, document.read_filters(query.encode()))
    return [entry.address.removeprefix("https://").partition(".")[0] for entry in selected]


def written(found: list[Entry], query: str = "") -> Any:
    return json.loads(document.to_json(document.select(found, document.read_filters(query.encode()))))


# -- Addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://orch.example:8935", HERE),
        ("https://Orch.Example:8935/", HERE),
        ("https://203.0.113.7:443", "https://203.0.113.7:443"),
        ("https://[2001:DB8::1]:8935", "https://[2001:db8::1]:8935"),
        ("https://under_score.example:1", "https://under_score.example:1"),
    ],
)
def test_an_address_is_https_host_and_port(given: str, kept: str) -> None:
    assert addresses.normalise(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "http://orch.example:8935",
        "https://orch.example",
        "https://orch.example:0",
        "https://orch.example:99999",
        "https://orch.example:8935/path",
        "https://orch.example:8935?",
        "https://orch.example:8935#x",
        "https://me:secret@orch.example:8935",
        "https://127.1:8935",
        "https://0x7f000001:8935",
        "https://2130706433:8935",
        "https://orch example:8935",
        "https://orch.example:8935\r\nHost: x",
        "https://ørch.example:8935",
        "https://-a.example:1",
        "https://" + "a" * 300 + ":1",
        "file:///etc/passwd",
        "gopher://orch.example:8935",
        "https://[::1%25eth0]:8935",
    ],
)
def test_everything_else_is_no_address(given: str) -> None:
    with pytest.raises(BadAddress):
        addresses.normalise(given)


def test_only_machines_of_the_open_internet_are_called() -> None:
    inside = [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "2001:0:7f00:1::1",
    ]
    assert [text for text in inside if addresses.is_public(ipaddress.ip_address(text))] == []
    assert addresses.is_public(ipaddress.ip_address("8.8.8.8"))
    assert addresses.is_public(ipaddress.ip_address("2606:4700::1111"))


# -- GetOrchestrator ---------------------------------------------------------------------------------------


def info_message(**changes: Any) -> pb.OrchestratorInfo:
    message = pb.OrchestratorInfo(transcoder=HERE + "/")
    message.ticket_params.recipient = bytes.fromhex(ALICE[2:])
    message.ticket_params.face_value = (1000).to_bytes(2)
    message.ticket_params.win_prob = (MAX_UINT256 // 3).to_bytes(32)
    for number, model in changes.get("models", ((35, "m"),)):
        message.capabilities.constraints.per_capability[number].models[model].capacity = 2
    if general := changes.get("general"):
        message.price_info.price_per_unit, message.price_info.pixels_per_unit = general
    for number, model, price, pixels in changes.get("own", ()):
        message.capabilities_prices.add(
            capability=number, constraint=model, price_per_unit=price, pixels_per_unit=pixels
        )
    return message


def capabilities(**changes: Any) -> dict[str, Fraction]:
    info = offers.read_info(info_message(**changes).SerializeToString())
    return {each.name: each.price for each in info.capabilities}


def test_a_capability_costs_its_own_price_else_the_general_one() -> None:
    models = ((35, "m"), (35, "n"), (27, "sd"))
    assert capabilities(models=models, general=(7, 2), own=((35, "m", 5, 1), (27, "other", 1, 1))) == {
        "live-video-to-video/m": Fraction(5),
        "live-video-to-video/n": Fraction(7, 2),
        "text-to-image/sd": Fraction(7, 2),
    }
    # Neither a price without units nor one of zero is a price; and the same model of other work is other work.
    assert capabilities(models=models, own=((35, "m", 5, 0), (35, "n", 0, 1), (35, "sd", 5, 1))) == {}
    assert capabilities(general=(5, 0)) == {}
    assert capabilities(general=(7, 1), own=((35, "m", 0, 1),)) == {"live-video-to-video/m": Fraction(7)}


def test_capabilities_nobody_can_ask_for_are_not_heard() -> None:
    models = ((35, "m"), (35, ""), (35, "x" * 300), (35, "line\nbreak"), (999, "m"), (0, "h264"))
    assert list(capabilities(models=models, general=(7, 1))) == ["live-video-to-video/m"]
    many = tuple((35, f"m{number}") for number in range(500))
    assert len(capabilities(models=many, general=(7, 1))) == offers.MOST_CAPABILITIES


def test_an_info_says_who_is_paid_and_what_a_ticket_is_worth() -> None:
    message = info_message(general=(7, 1))
    model = message.capabilities.constraints.per_capability[35].models["m"]
    model.capacity_in_use = 2
    info = offers.read_info(message.SerializeToString())
    assert (info.recipient, info.service_uri, info.ticket_ev_wei) == (ALICE, HERE, 334)
    assert [each.has_room for each in info.capabilities] == [False]
    assert offers.info_from_row(json.loads(json.dumps(offers.info_to_row(info)))) == info
    for wrong in ("http://x", "javascript:alert(1)", "https://x/y"):
        message.transcoder = wrong
        assert offers.read_info(message.SerializeToString()).service_uri == ""
    with pytest.raises(Nonsense):
        offers.read_info(b"\xff\xff")


# -- GET /discovery ----------------------------------------------------------------------------------------


def test_a_sound_runner_is_heard_with_all_its_members() -> None:
    given = runner_json(
        version="1.2",
        metadata='{"a":"ü"}',
        mode="persistent",
        gpu={"id": "0", "name": "H100", "vram_mb": 81920, "serial": "secret"},
        capacity=3,
        capacity_used=1,
        capacity_available=2,
        price_info=price_info("0.50"),
        runner_id="r-1",
        secret="s",
        label="x",
    )
    (found,) = heard(given)
    assert found == Runner(
        url=HERE + "/runner/a/session",
        app="studio/a",
        price="0.5",
        unit="seconds",
        version="1.2",
        metadata='{"a":"ü"}',
        mode="persistent",
        gpu=Gpu(id="0", name="H100", vram_mb=81920),
        capacity=3,
        capacity_used=1,
        capacity_available=2,
    )
    assert offers.runner_from_row(json.loads(json.dumps(offers.runner_to_row(found)))) == found


@pytest.mark.parametrize(
    "broken",
    [
        {"url": ...},
        {"url": ""},
        {"url": 5},
        {"url": "http://orch.example:8935/a"},
        {"url": "javascript:alert(1)"},
        {"url": "https://"},
        {"url": "https://user:pw@orch.example/a"},
        {"url": "https://orch.example/a b"},
        {"url": "https://orch.example/" + "a" * 600},
        {"app": ...},
        {"app": "  "},
        {"app": ["studio/a"]},
        {"app": "a" * 300},
        {"app": "a\x00b"},
        {"app": "half \ud800 pair"},
        {"app": "\ufffd"},
        {"version": 3},
        {"mode": "line\nbreak"},
        {"metadata": "x" * 1025},
        {"metadata": "ü" * 513},
        {"metadata": "a\ufffd"},
        {"metadata": "\x00"},
        {"metadata": {"a": 1}},
        {"gpu": "H100"},
        {"gpu": {"name": ["H100"]}},
        {"capacity": -1},
        {"capacity": 1.5},
        {"capacity": "3"},
        {"capacity": True},
        {"capacity_used": 10**30},
        {"price_info": ...},
        {"price_info": 5},
        {"price_info": price_info(0)},
        {"price_info": price_info(-5)},
        {"price_info": price_info("0.000")},
        {"price_info": price_info("wat")},
        {"price_info": price_info("1e999999999")},
        {"price_info": price_info("1e99")},
        {"price_info": price_info("0x10")},
        {"price_info": price_info("5/2")},
        {"price_info": price_info(float("nan"))},
        {"price_info": price_info(float("inf"))},
        {"price_info": price_info(True)},
        {"price_info": price_info(None)},
        {"price_info": price_info(currency="usd")},
        {"price_info": price_info(unit="hour")},
        {"price_info": price_info(unit="")},
    ],
    ids=lambda broken: ascii(broken)[:60],
)
def test_a_runner_that_breaks_a_rule_is_left_out_and_harms_no_other(broken: dict[str, Any]) -> None:
    assert [each.app for each in heard(runner_json(**broken), runner_json(url=HERE + "/b", app="b"))] == ["b"]


def test_a_number_however_long_costs_only_the_runner_that_has_it() -> None:
    bad = json.dumps(runner_json(price_info=price_info(777))).replace("777", "7" * 100_000)
    body = f'[{{"address":"{HERE}","runners":[{bad},{json.dumps(runner_json(url=HERE + "/b"))}]}}]'.encode()
    assert [each.url for each in offers.read_runners(body, frozenset({HERE}))] == [HERE + "/b"]


def test_metadata_may_have_exactly_a_kibibyte_and_every_unit_is_accepted() -> None:
    assert heard(runner_json(metadata="x" * 1024))[0].metadata == "x" * 1024
    assert heard(runner_json(metadata="ü" * 512))[0].metadata == "ü" * 512
    units = [
        each.unit
        for each in heard(*(runner_json(url=f"{HERE}/{u}", price_info=price_info(unit=u)) for u in offers.UNITS))
    ]
    assert units == list(offers.UNITS)


def test_bytes_that_are_no_utf8_cost_only_the_runner_that_has_them() -> None:
    good, bad = json.dumps(runner_json(url=HERE + "/b")), json.dumps(runner_json(metadata="HERE"))
    body = f'[{{"address":"{HERE}","runners":[{bad},{good}]}}]'.encode().replace(b'"HERE"', b'"\xff"')
    assert [each.url for each in offers.read_runners(body, frozenset({HERE}))] == [HERE + "/b"]


def test_of_two_runners_with_one_url_the_first_is_heard_whatever_the_other_says() -> None:
    found = heard(
        runner_json(metadata="one", capacity=1),
        runner_json(metadata="two", capacity=9),
        runner_json(capacity_used=1, capacity=1, metadata="one"),
    )
    assert [(each.metadata, each.capacity) for each in found] == [("one", 1)]


def test_an_orchestrator_is_heard_about_itself_alone() -> None:
    body = json.dumps(
        [
            {"address": HERE + "/", "runners": [runner_json()]},
            {"address": "https://rival.example:8935", "runners": [runner_json(url="https://rival.example:8935/x")]},
            {"address": HERE, "runners": [runner_json(), runner_json(url=HERE + "/second")]},
            {"address": ["https://orch.example:8935"], "runners": [runner_json(url=HERE + "/third")]},
            {"runners": [runner_json(url=HERE + "/fourth")]},
            {"address": HERE, "runners": {"url": "x"}},
            "nonsense",
        ]
    ).encode()
    found = offers.read_runners(body, frozenset({HERE}))
    assert [each.url for each in found] == [HERE + "/runner/a/session", HERE + "/second"]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"5", b'"x"', b"[", b"<html>", b"[" * 100_000, b"\xff\xfe", b"[1" + b"0" * 5000]
)
def test_a_document_that_is_no_list_is_nonsense(body: bytes) -> None:
    with pytest.raises(Nonsense):
        offers.read_runners(body, frozenset({HERE}))


def test_however_many_runners_are_offered_a_bounded_number_is_kept() -> None:
    assert len(heard(*(runner_json(url=f"{HERE}/{number}") for number in range(2000)))) == offers.MOST_RUNNERS


def test_a_webhook_lists_addresses_with_or_without_scheme_and_score() -> None:
    body = b"""[{"address":"https://a.example:1/","score":1},{"address":"b.example:2"},{"address":"https://a.example:1"},
        {"address":"http://c.example:3"},{"address":"https://d.example:4/x"},{"address":5},{},"https://e.example:5",
        {"address":"https://f.example:6","score":"high","extra":[]}]"""
    assert read_webhook(body) == [
        ["", "https://a.example:1"],
        ["", "https://b.example:2"],
        ["", "https://f.example:6"],
    ]
    assert read_webhook(b"[]") == []
    for nonsense in (b"{}", b"", b"\xff", b"[" * 100_000):
        with pytest.raises(Unreadable):
            read_webhook(nonsense)


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
    rules = Rules(registry=(), payable=frozenset({ALICE}), ceiling=anything, max_ticket_ev_wei=Fraction(1))
    assert [entry.recipient for entry in document.entries([quiet], {HERE: ALICE}, rules)] == [ALICE]
    assert document.entries([quiet], {HERE: BOB}, rules) == []
    assert document.entries([quiet], {}, rules) == []
    anybody = Rules(registry=(), payable=frozenset({""}), ceiling=anything, max_ticket_ev_wei=Fraction(1))
    assert len(document.entries([quiet], {}, anybody)) == 1


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
