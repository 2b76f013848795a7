"""Orchestrators, their runners and offers for tests of the list, made without any network."""

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from signing.discovery import document, offers
from signing.discovery.document import Entry, Filters, Orchestrator, Rules
from signing.discovery.offers import Capability, Info, Runner

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
        "max_face_value_wei": None,
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
