#!/usr/bin/env python
"""The command line of the clearinghouse."""

import os
import sys
from pathlib import Path

from clearinghouse import embedded
from clearinghouse.environment import SettingError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")
    from django.core.management import execute_from_command_line

    local_dir = Path(os.environ.get("LOCAL_DIR") or Path(__file__).parent / ".local").resolve()
    try:
        with embedded.database_for_command(local_dir):
            execute_from_command_line(sys.argv)
    except (SettingError, embedded.EmbeddedServerFailed) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
