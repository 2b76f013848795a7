"""A register of VAT ids on loopback that speaks the EU's JSON: knows some numbers, and can be out of order."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            standin.asked.append(question)
            number = question["countryCode"] + question["vatNumber"]
            if self.path != "/check-vat-number":
                self.answer(404, {})
            elif standin.trouble:
                errors = {"actionSucceed": False, "errorWrappers": [{"error": standin.trouble}]}
                self.answer(200 if standin.trouble.startswith("MS_") else 500, errors)
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
                self.answer(200, said if valid else said | {"name": "---", "address": "---"})

        def answer(self, status: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    standin.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
