"""The stage for every test: a real PostgreSQL, and one cast of people."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Settings are read once, at import: the test run gets its own LOCAL_DIR and database before Django starts.
_LOCAL_DIR = Path(tempfile.mkdtemp(prefix="clearinghouse-tests-"))
os.environ.setdefault("LOCAL_DIR", str(_LOCAL_DIR))


def pytest_configure(config: pytest.Config) -> None:
    """Starts the embedded PostgreSQL for this process when no DATABASE_URL is given."""
    if os.environ.get("DATABASE_URL"):
        return
    from clearinghouse.embedded import Postgres

    server = Postgres(_LOCAL_DIR / "postgres", options={"max_connections": "200"})
    server.start()
    os.environ["DATABASE_URL"] = server.url
    config.add_cleanup(server.stop)


@pytest.fixture
def local_dir() -> Iterator[Path]:
    yield _LOCAL_DIR
