"""How large a check is: a few percent under `make test`, in full under `make proof`."""

import os

FULL = os.environ.get("PROOF") == "1"


def of(small: int, *, full: int) -> int:
    """`small` in everyday runs, `full` when PROOF=1."""
    return full if FULL else small
