"""One signer in a process of its own, as production starts it, on a chain that is held still."""

import json
import logging.config
import os
import sys
import time
from collections.abc import Callable
from typing import Any

STATEMENTS = "/statements"
# Asked first, the signer begins to note how long it works on each payment; asked again, it tells and stops.
SECONDS_OF_EACH = "/seconds-of-each"


class Watched:
    """The signer, which the server's shortcut finds behind it, and two doors more for the bench."""

    def __init__(self, signer: Any, statements: Callable[[], int]) -> None:
        self._signer = signer
        self._seconds: list[float] = []
        self._doors = {STATEMENTS: lambda: b"%d" % statements(), SECONDS_OF_EACH: self._tell_seconds}
        self.claim = signer.claim
        self.answer_payment = signer.answer_payment

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if tell := self._doors.get(scope.get("path")):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": tell()})
        else:
            await self._signer(scope, receive, send)

    async def _timed(self, claim: Any, body: bytes) -> Any:
        since = time.perf_counter()
        answer = await self._signer.answer_payment(claim, body)
        self._seconds.append(time.perf_counter() - since)
        return answer

    def _tell_seconds(self) -> bytes:
        is_noting = self.answer_payment == self._timed
        self.answer_payment = self._signer.answer_payment if is_noting else self._timed
        told = json.dumps(self._seconds).encode()
        self._seconds.clear()
        return told


def main(port: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")
    # The gates count, and let everybody in: a bench is one address with many keys, or one key that never rests.
    os.environ |= {"KEY_REQUESTS_PER_SECOND": "1000000", "BAD_KEYS_PER_MINUTE": "1000000"}
    from django.conf import settings

    from signing.signer import server
    from signing.signer.application import build
    from signing.signer.database import Database
    from signing.signer.keystore import Keystore
    from tests.held_chain import KEY, HeldChain

    logging.config.dictConfig(settings.LOGGING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    database: dict[str, Any] = settings.DATABASES["default"]
    as_signer = {**database, "OPTIONS": {**database["OPTIONS"], "options": "-c role=clearinghouse_signer"}}
    signer = build(keystore=Keystore(KEY), chain=HeldChain(), database=as_signer)
    statements = 0

    def counted(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asks(*arguments: Any) -> Any:
            nonlocal statements
            statements += 1
            return ask(*arguments)

        return asks

    for way in ("fetch", "ask"):
        setattr(Database, way, counted(getattr(Database, way)))

    application = Watched(signer, lambda: statements)
    server.run(application, host="127.0.0.1", port=port)


if __name__ == "__main__":
    main(int(sys.argv[1]))
