"""The house keeps its floors: arrows point down, pure rooms stay pure, each SDK has one owner."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ["clearinghouse", "signing", "billing", "accounts"]
OUTSIDE = {"sandbox", "tests"}
PURE = [
    "signing/pm",
    "signing/discovery/addresses.py",
    "signing/discovery/offers.py",
    "signing/discovery/document.py",
    "billing/money.py",
    "billing/postings.py",
    "billing/countries.py",
    "billing/documents/snapshot.py",
    "billing/display.py",
    "billing/work.py",
    "accounts/api_keys.py",
]
IMPURE = {"django", "time", "random", "secrets", "os", "socket", "requests", "psycopg", "celery"}
OWNERS = {
    "stripe": {"billing/stripe_gateway"},
    "web3": {"signing/chain/ethereum.py"},
    "eth_account": {"signing/signer/keystore.py"},
    "coincurve": {"signing/signer/keystore.py"},
}
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "signals.py", "common", "services"}


def files() -> list[Path]:
    return [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py")) if "migrations" not in path.parts]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_downward(path: Path) -> None:
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    above = {*FLOORS[:floor], *OUTSIDE}
    assert not {name for name in imports(path) if name.split(".")[0] in above}


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_knows_no_clock_no_database_and_no_chance(room: str) -> None:
    paths = [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py"))
    assert paths
    for path in paths:
        allowed = {"secrets"} if path.name == "api_keys.py" else set()
        assert not {name for name in imports(path) if name.split(".")[0] in IMPURE - allowed}, path


@pytest.mark.parametrize("sdk", OWNERS)
def test_each_sdk_has_one_owner(sdk: str) -> None:
    users = {path.relative_to(ROOT) for path in files() if any(name.split(".")[0] == sdk for name in imports(path))}
    owners = {Path(owner) for owner in OWNERS[sdk]}
    assert owners == {owner for owner in owners for user in users if user == owner or owner in user.parents}
    assert not [user for user in users if not owners & {user, *user.parents}]


def test_pages_start_without_the_library_that_asks_the_chain() -> None:
    """It takes a second and 22 MB of every process that loads it."""
    start = "import django, sys; django.setup(); import clearinghouse.urls; sys.exit('web3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", start], cwd=ROOT, check=False).returncode == 0


def test_no_room_is_a_lumber_room() -> None:
    assert not [path for path in files() if FORBIDDEN_NAMES & set(path.relative_to(ROOT).parts)]


def test_every_file_says_which_room_it_is() -> None:
    assert not [
        path for path in files() if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
