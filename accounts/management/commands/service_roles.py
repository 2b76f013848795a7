"""Gives each service's database role a fresh password and writes its DATABASE_URL to a file of its own."""

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection

SERVICES = ("web", "signer", "worker", "treasury")


class Command(BaseCommand):
    help = "Rotates the passwords of the services' database roles; DIR/<service> then holds the URL to use."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, help="where the files are written, readable by you alone")

    def handle(self, *args: Any, **options: Any) -> None:
        directory: Path = options["directory"]
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = settings.DATABASES["default"]
        for service in SERVICES:
            password = secrets.token_hex(24)
            with connection.cursor() as cursor:
                # Role names and hexadecimal digits only: nothing here comes from outside.
                cursor.execute(f"ALTER ROLE clearinghouse_{service} LOGIN PASSWORD '{password}'")
                cursor.execute(
                    f"GRANT CONNECT ON DATABASE {connection.ops.quote_name(str(database['NAME']))}"
                    f" TO clearinghouse_{service}"
                )
            path = directory / service
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(
                    f"postgresql://clearinghouse_{service}:{password}@{database['HOST']}:{database['PORT']}"
                    f"/{quote(str(database['NAME']))}"
                )
