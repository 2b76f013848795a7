"""Wipes the data of a demo that is not running: `python -m sandbox.reset DIR`."""

import fcntl
import shutil
import sys
from pathlib import Path

# What a demo leaves behind; a folder without any of it is not one of ours and stays untouched.
_MARKS = ("lock", "secrets.json", "ports.json")


def main(directory: str) -> int:
    local_dir = Path(directory).resolve()
    if not local_dir.exists():
        print(f"Nothing to wipe: {local_dir} does not exist.")
        return 0
    if not any((local_dir / mark).exists() for mark in _MARKS):
        print(f"{local_dir} was not made by a demo; nothing is wiped.", file=sys.stderr)
        return 1
    with (local_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("The demo runs; end it with Ctrl-C first.", file=sys.stderr)
            return 1
        shutil.rmtree(local_dir)
    print(f"Wiped {local_dir}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
