"""Brings a list of sanctioned addresses into the rules that every signer obeys."""

import re
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from signing import recipients


class Command(BaseCommand):
    help = "Sanctions the addresses of a file, one a line; no signer pays them from two seconds later on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the file, or - for stdin")
        parser.add_argument("--source", required=True, help="the list's name, such as OFAC; rules remember it")
        parser.add_argument(
            "--withdraw", action="store_true", help="also lift what this list named before and no longer"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        source = options["source"]
        if not re.fullmatch(r"[A-Za-z0-9 _.-]{1,60}", source):
            raise CommandError("The source must be 1 to 60 letters, digits, blanks and _.-")
        try:
            text = sys.stdin.read() if options["file"] == "-" else Path(options["file"]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"The list cannot be read: {error}") from None
        found, strange = recipients.addresses(text)
        if strange:
            raise CommandError(
                f"{len(strange)} lines hold no address, the first one is {strange[0][:60]!r}. Nothing was changed."
            )
        if not found:
            raise CommandError("The list holds no address. Nothing was changed.")
        added, lifted = recipients.sanction(found, source=source, withdraw=options["withdraw"])
        self.stdout.write(f"{len(found)} addresses read, {added} sanctioned, {lifted} lifted")
