"""What counts at once is never told when it is old, however slow the answers of the database are."""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import pytest
from django.conf import settings

from accounts import api_keys
from signing.signer.authentication import Authentication
from signing.signer.database import Database
from signing.signer.fresh import Fresh
from tests import builders

REVOKE = "UPDATE accounts_apikey SET revoked_at = clock_timestamp() WHERE secret_sha256 = %s"


class Slow:
    """Tells when it was asked, after some seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.times = 0

    async def read(self) -> float:
        self.times += 1
        asked_at = time.monotonic()
        await asyncio.sleep(self.seconds)
        return asked_at


def test_a_slow_answer_that_is_old_when_it_comes_is_asked_for_again() -> None:
    async def story() -> None:
        slow = Slow()
        fresh = Fresh(slow.read, empty=0.0)
        assert await fresh.get() <= time.monotonic()
        slow.seconds = 1.4
        keeping = asyncio.create_task(fresh.keep())  # the house asked, and its answer takes its time
        await asyncio.sleep(1.1)
        slow.seconds = 0.0
        assert time.monotonic() - await fresh.get() < 1
        assert slow.times == 3
        await keeping

    asyncio.run(story())


def test_a_payment_waits_for_its_own_question_at_most() -> None:
    async def story() -> None:
        slow = Slow()
        slow.seconds = 1.2
        fresh = Fresh(slow.read, empty=0.0)
        since = time.monotonic()
        told = await asyncio.gather(*[fresh.get() for _ in range(3)])
        assert since <= min(told)
        assert slow.times == 1

    asyncio.run(story())


class SlowDatabase(Database):
    """Its answers are true, and come after some seconds."""

    seconds = 0.0

    async def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        rows = await super().fetch(statement, parameters)
        await asyncio.sleep(self.seconds)
        return rows


@pytest.mark.django_db(transaction=True)
def test_a_key_that_was_revoked_while_the_answer_about_it_was_on_its_way_is_asked_about_again() -> None:
    secret = f"ch_live_{os.urandom(4).hex()}_{os.urandom(16).hex()}"
    builders.api_key(builders.customer(), secret)

    async def story() -> None:
        database = SlowDatabase(settings.DATABASES["default"])
        await database.open()
        authentication = Authentication(database)
        database.seconds = 1.4
        finding = asyncio.create_task(authentication.find(api_keys.digest(secret)))
        await asyncio.sleep(0.3)  # the database has told by now that it is somebody's
        database.seconds = 0.0
        await database.fetch(REVOKE, [api_keys.digest(secret)])
        await asyncio.sleep(0.3)
        assert await authentication.find(api_keys.digest(secret)) is None
        assert await finding is not None
        await database.close()

    asyncio.run(story())
