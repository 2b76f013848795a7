"""Brings the demo's database and static files up to date in one process: `python -m sandbox.prepare ROLES_DIR`."""

import sys

import django
from django.core.management import call_command


def main(roles_directory: str) -> None:
    call_command("migrate", verbosity=0)
    call_command("service_roles", roles_directory)
    call_command("collectstatic", interactive=False, verbosity=0)


if __name__ == "__main__":
    django.setup()
    main(*sys.argv[1:])
