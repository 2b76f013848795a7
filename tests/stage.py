"""A plugin loaded before Django reads its settings: a LOCAL_DIR of its own and a real PostgreSQL for the run."""

import os
import shutil
import tempfile
from pathlib import Path

from clearinghouse.embedded import Postgres

LOCAL_DIR = Path(tempfile.mkdtemp(prefix="clearinghouse-tests-"))
os.environ["LOCAL_DIR"] = str(LOCAL_DIR)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")
# Tests start processes beside a gRPC server of their own. With its support for forks, gRPC polls on in a process that
# is about to become another program and has closed its files already, and ends it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
_server: Postgres | None = None

if not os.environ.get("DATABASE_URL"):
    # No test cuts the power: without waiting for the disk everything else of a commit stays as it is.
    fsync = os.environ.get("TESTS_FSYNC", "off")
    _server = Postgres(LOCAL_DIR / "postgres", options={"max_connections": "200", "fsync": fsync})
    _server.start()
    os.environ["DATABASE_URL"] = _server.url


def pytest_unconfigure() -> None:
    if _server:
        _server.stop()
    shutil.rmtree(LOCAL_DIR, ignore_errors=True)
