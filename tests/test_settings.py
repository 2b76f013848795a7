"""Settings come from the environment; a bad value stops the start with one sentence."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL must look like postgresql://user:password@host:port/name."),
        (
            "DATABASE_URL",
            "postgresql://u:s/cret@h/d",
            "DATABASE_URL must look like postgresql://user:password@host:port/name.",
        ),
        ("ETH_RPC_URL", "http://x, garbage", "Every address in ETH_RPC_URL must start with http:// or https://."),
        ("MARKUP_BPS", "15%", "MARKUP_BPS must be a whole number, not '15%'."),
        ("FRESH_CAP_PAIR_USD", "1/3", "FRESH_CAP_PAIR_USD must be dollars such as 250 or 0.5, not '1/3'."),
        (
            "TRUSTED_PROXIES",
            "10.0.0.1/8",
            "TRUSTED_PROXIES must list addresses or networks such as 10.0.0.7 or 10.0.0.0/8.",
        ),
        ("MARKUP_BPS", "-1", "MARKUP_BPS must be between 0 and 100000, not -1."),
        ("RECIPIENT_POLICY", "all", "RECIPIENT_POLICY must be one of registered, listed, any, not 'all'."),
        ("CONTROLLER_ADDRESS", "0x12", "CONTROLLER_ADDRESS must be 0x and 40 hexadecimal digits, not '0x12'."),
        ("MAX_TICKET_EV_WEI", "lots", "MAX_TICKET_EV_WEI must be a number such as 1.5 or 3/2, not 'lots'."),
        ("STAFF_MFA_REQUIRED", "maybe", "STAFF_MFA_REQUIRED must be 1 or 0, not 'maybe'."),
        ("SECRET_KEY", "short", "SECRET_KEY must have at least 32 characters."),
        ("STRIPE_API_BASE", "ftp://x", "STRIPE_API_BASE must start with http:// or https://, not 'ftp://x'."),
        ("SENDER_KEYSTORE_FILE", "/does/not/exist", "SENDER_KEYSTORE_FILE names /does/not/exist, which is not a file."),
    ],
)
def test_a_bad_value_stops_the_start_with_one_sentence(name: str, value: str, sentence: str) -> None:
    done = start(**{name: value})
    assert done.returncode == 1
    assert done.stderr.strip() == sentence
    assert done.stdout == ""


def test_every_setting_is_documented_and_every_documented_setting_is_read() -> None:
    code = "".join(
        path.read_text()
        for folder in ("clearinghouse", "accounts", "billing", "signing", "sandbox")
        for path in (ROOT / folder).rglob("*.py")
    )
    read = set(re.findall(r"env\.[a-z]+\(\s*\"([A-Z0-9_]+)\"", code))
    documented = set(re.findall(r"`([A-Z][A-Z0-9_]{3,})`", (ROOT / "docs/settings.md").read_text()))
    assert len(read) > 30
    assert read <= documented, read - documented
    elsewhere = {"WEB_PORT", "DEMO_TRAFFIC", "SIGNER_HOST", "SIGNER_PORT", "LOCAL_DIR"}
    assert documented <= read | elsewhere, documented - read


def read_defaults() -> dict[str, str]:
    """The default of each setting that has one written beside its name, as the environment would spell it."""
    tree = ast.parse((ROOT / "clearinghouse/settings.py").read_text())
    found: dict[str, str] = {}
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if not isinstance(call.func.value, ast.Name) or call.func.value.id != "env":
            continue
        name, *others = call.args
        assert isinstance(name, ast.Constant)
        named = [keyword.value for keyword in call.keywords if keyword.arg == "default"]
        for default in [*others[:1], *named]:
            if isinstance(default, ast.Constant):
                value = default.value
                found[str(name.value)] = str(int(value) if isinstance(value, bool) else value)
    return found


def documented_defaults() -> dict[str, str]:
    """Of rows with as many defaults as names."""
    found: dict[str, str] = {}
    for line in (ROOT / "docs/settings.md").read_text().splitlines():
        cells = line.split("|")
        if len(cells) < 5:
            continue
        names, defaults = (re.findall(r"`([^`]*)`", cell) for cell in cells[1:3])
        if len(names) == len(defaults):
            found |= dict(zip(names, defaults, strict=True))
    return found


def test_the_documented_defaults_are_those_that_hold() -> None:
    read, documented = read_defaults(), documented_defaults()
    both = read.keys() & documented.keys()
    assert len(both) > 40
    assert {name: documented[name] for name in both} == {name: read[name] for name in both}
