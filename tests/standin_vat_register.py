"""A register of VAT ids on loopback that speaks the EU's JSON: knows some numbers, and can be out of order."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.json_doors import JsonDoors, opened

COMPANY = {"name": "EXAMPLE VIDEO SARL", "address": "12 RUE DE RIVOLI\n75001 PARIS"}


@dataclass
class Standin:
    """`known` are numbers with their prefix; `trouble` is the error it gives instead of an answer."""

    url: str = ""
    known: set[str] = field(default_factory=set)
    trouble: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def running_register() -> Iterator[Standin]:
    standin = Standin()

    class Doors(JsonDoors):
        def do_POST(self) -> None:
            question = json.loads(self.body())
            standin.asked.append(question)
            number = question["countryCode"] + question["vatNumber"]
            if self.path != "/check-vat-number":
                self.answer(404, b"{}")
            elif standin.trouble:
                errors = {"actionSucceed": False, "errorWrappers": [{"error": standin.trouble}]}
                self.answer(200 if standin.trouble.startswith("MS_") else 500, json.dumps(errors).encode())
            else:
                valid = number in standin.known
                said = {
                    "countryCode": number[:2],
                    "vatNumber": number[2:],
                    "valid": valid,
                    **(COMPANY if valid else {}),
                }
                proof = f"WAPIAAA{len(standin.asked):04d}" if question.get("requesterNumber") else ""
                said |= {"requestDate": "2026-11-22T01:00:00.000Z", "requestIdentifier": proof}
                said |= {} if valid else {"name": "---", "address": "---"}
                self.answer(200, json.dumps(said).encode())

    with opened(Doors) as standin.url:
        yield standin
