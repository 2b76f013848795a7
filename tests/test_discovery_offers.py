"""What is heard of an orchestrator: its offer, its runners, and lists of addresses."""

import json
from fractions import Fraction
from typing import Any

import pytest

from signing.discovery import offers
from signing.discovery.offers import Gpu, Nonsense, Runner
from signing.discovery.reading import Unreadable
from signing.discovery.sources import read_webhook
from signing.pm import livepeer_pb2 as pb
from signing.pm.tickets import MAX_UINT256
from tests.discovery_builders import ALICE, HERE, heard, price_info, runner_json

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
