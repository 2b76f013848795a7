"""The bench tells when the books do not hold what was answered."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
OWN = {"DATABASE_URL", "LOCAL_DIR"}


def test_the_bench_fails_when_a_payment_is_booked_that_nobody_was_told_of() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench"],
        cwd=PROJECT,
        env=environment | {"BENCH_ONLY": "warm up", "BENCH_FORGET": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "do not match the answers" in done.stderr
    assert done.returncode == 1
