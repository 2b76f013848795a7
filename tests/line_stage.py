"""A story told to the signer's own connections."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings

from signing.signer.database import Database


def with_a_database(story: Callable[[Database], Awaitable[None]], *, port: int | None = None, **changes: Any) -> None:
    """Tells the story; whatever the event loop has to say of errors nobody looked at is an error."""

    async def tell() -> list[Mapping[str, Any]]:
        said: list[Mapping[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        given: dict[str, Any] = settings.DATABASES["default"]
        database = Database({**given, **changes} if port is None else {**given, "HOST": "127.0.0.1", "PORT": port})
        await database.open()
        try:
            await story(database)
        finally:
            await database.close()
        gc.collect()
        await asyncio.sleep(0)
        return said

    assert asyncio.run(tell()) == []
