#!/usr/bin/env python
"""The command line of the clearinghouse."""

import json
import os
import sys
from pathlib import Path

from clearinghouse import embedded
from clearinghouse.environment import SettingError


def _look_at_running_demo(local_dir: Path) -> None:
    """Where a demo runs, commands look at it: its settings are the defaults, unless another database is named."""
    path = local_dir / "environment.json"
    if path.exists():
        demo = json.loads(path.read_text())
        if os.environ.get("DATABASE_URL") in {None, "", demo["DATABASE_URL"]}:
            for name, value in demo.items():
                os.environ.setdefault(name, value)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")
    from django.core.management import execute_from_command_line

    local_dir = Path(os.environ.get("LOCAL_DIR") or Path(__file__).parent / ".local").resolve()
    _look_at_running_demo(local_dir)
    try:
        with embedded.database_for_command(local_dir):
            execute_from_command_line(sys.argv)
    except (SettingError, embedded.EmbeddedServerFailed) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
