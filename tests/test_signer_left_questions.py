"""Questions to the database whose asker had no more time: they are withdrawn, and what becomes of them is no error."""

import asyncio
import gc
import time
from collections.abc import Mapping
from typing import Any

import pytest
from django.conf import settings

from signing.signer.database import Database

pytestmark = pytest.mark.django_db(transaction=True)
ACTIVE = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(1.%%'"


def test_a_question_nobody_waits_for_is_withdrawn_and_its_failure_is_nobody_s_error() -> None:
    assert asyncio.run(_leave_a_question()) == []


async def _leave_a_question() -> list[Mapping[str, Any]]:
    said: list[Mapping[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    database = Database(settings.DATABASES["default"])
    await database.open()
    try:
        for ended in (False, True):
            asking = asyncio.create_task(database.fetch("SELECT pg_sleep(1.4)"))
            for _ in range(100):
                if pids := await database.fetch(ACTIVE):
                    break
                await asyncio.sleep(0.01)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            if ended:
                await database.fetch("SELECT pg_terminate_backend(%s)", [pids[0][0]])
            deadline = time.monotonic() + 1  # of itself it would last longer
            while await database.fetch(ACTIVE):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
    finally:
        await database.close()
    gc.collect()
    await asyncio.sleep(0)
    return said
