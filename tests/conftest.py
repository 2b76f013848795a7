"""The stage for every test; tests/stage.py has started PostgreSQL before Django read its settings."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.management import call_command
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from pytest_django.live_server_helper import LiveServer

from sandbox.psp.client import Psp
from tests import edges, stage

if TYPE_CHECKING:  # models can be imported only once Django is set up
    from accounts.models import Customer
    from sandbox.chain.client import SandboxChain
    from tests.signer_stage import Stage

LONGEST = (
    "test_whole_trip.py",
    "test_killed_at_each_step.py",
    "test_signer_process.py",
    "test_payment_chaos.py",
    "test_sandbox_chain_memory.py",
    "test_staff_console.py",
    "test_bench.py",
    "test_sender_keys_process.py",
    "test_client_lost_answers.py",
    "test_billing_pages.py",
)

# How long an example takes says something of the machine, nothing of the product.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest stories come first, so that no worker waits at the end for another that tells one."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture
def local_dir() -> Path:
    return stage.LOCAL_DIR


@pytest.fixture(scope="session", autouse=True)
def _books_can_be_cleared_between_tests() -> Iterable[None]:
    """Between transactional tests Django truncates; the books refuse that, even to their owner.

    Only here the triggers are switched off, and the tables made in SQL are cleared as well. Deleting a few rows is
    far quicker than truncating dozens of tables. What migrations write, of rights and roles, stays, and is not
    written anew.
    """

    def clear(operations: DatabaseOperations, sql_list: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT string_agg(format('DELETE FROM %I', tablename), '; ') FROM pg_tables"
                " WHERE schemaname = 'public' AND tablename NOT IN"
                " ('django_migrations', 'django_content_type', 'auth_permission', 'auth_group')"
            )
            (deletes,) = cursor.fetchone()
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(deletes)
            cursor.execute("SET session_replication_role = DEFAULT")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "execute_sql_flush", clear)
        patch.setattr("django.core.management.commands.flush.emit_post_migrate_signal", lambda *_, **__: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _passwords_are_hashed_in_one_round() -> Iterable[None]:
    """Nearly every story makes people, and production's million rounds for each would take most of the run's time.

    Algorithm, format and check stay. That the product itself hashes with all rounds is seen in the whole trip.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PBKDF2PasswordHasher, "iterations", 1)
        yield


@pytest.fixture(scope="session")
def static_files() -> None:
    """Stylesheets and scripts gathered and named by content, as the web process serves them."""
    call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture(scope="session")
def _served_by_the_product(static_files: None) -> Iterable[None]:
    """Lets the product's own middleware serve those files; Django's test server knows none of their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.contrib.staticfiles.handlers.StaticFilesHandler", lambda application: application)
        yield


@pytest.fixture(scope="session")
def live_server(django_db_setup: None, _served_by_the_product: None, live_server: LiveServer) -> LiveServer:
    """pytest-django's server, started once the files that its pages name are there, ended before the database."""
    return live_server


@pytest.fixture(autouse=True)
def _pages_have_their_stylesheet(request: pytest.FixtureRequest) -> None:
    if "client" in request.fixturenames:
        request.getfixturevalue("static_files")


@pytest.fixture
def one_day() -> None:
    """The test lies within one day, and so within one month, of UTC."""
    edges.begin_within_one(edges.DAY)


@pytest.fixture
def one_hour() -> None:
    edges.begin_within_one(edges.HOUR)


@pytest.fixture
def psp(live_server: LiveServer, tmp_path: Path, settings: Any) -> Iterator[Psp]:
    """A payment provider of this test alone, which the product asks and whose events come to the real webhook."""
    from tests import money_back

    with money_back.provider(tmp_path, live_server.url, settings) as running:
        yield running


@pytest.fixture(scope="session")
def _quiet_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SandboxChain"]:
    from tests import chain_cast

    with chain_cast.quiet_chain(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


@pytest.fixture
def sandbox(_quiet_chain: "SandboxChain") -> Iterator["SandboxChain"]:
    """A chain that moves only when it is told to; started once, and after each test what it was before."""
    snapshot = _quiet_chain.rpc("evm_snapshot")
    yield _quiet_chain
    _quiet_chain.rpc("evm_revert", snapshot)


@pytest.fixture(name="stage")
def _signer_stage() -> Iterator["Stage"]:
    """A running signer, with a chain that the test holds still."""
    from tests.signer_stage import running_signer

    with running_signer() as running:
        yield running


@pytest.fixture
def payer() -> "Customer":
    """An active customer with one owner and an empty wallet."""
    from tests import builders

    return builders.customer("Payer")
