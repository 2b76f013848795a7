"""The HTTP server as production runs it."""

import contextlib
import gc
import sys
from typing import Any

import uvicorn

from signing.signer.lobby import allow_many_files
from signing.signer.quick_http import QuickHttp

_SECONDS_TO_FINISH = 10
_IDLE_SECONDS = 600
_NOT_STARTED = 3
# Payments leave hardly any cycles behind: to look for them every 700 objects would cost more than they do.
_OBJECTS_BETWEEN_COLLECTIONS = 20_000


def config(application: Any, **more: Any) -> uvicorn.Config:
    """How the signer is served; `more` says where."""
    return uvicorn.Config(
        application,
        loop="uvloop",
        http=QuickHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        **more,
    )


def run(application: Any, *, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT, and answers what it was asked. Ends the process where it cannot start."""
    allow_many_files()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)
    server = uvicorn.Server(config(application, host=host, port=port))
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)
