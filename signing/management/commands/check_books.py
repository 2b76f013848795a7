"""Runs every invariant of the books: each prints a number that must be 0."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing import check_books as billing_books
from signing.chain.answers import ChainUnavailable
from signing.treasury import check_books as treasury_books


class Command(BaseCommand):
    help = "Prints `name: number` for every invariant of the books; exits with 1 unless all are 0."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            figures = {**billing_books.invariants(), **treasury_books.invariants()}
        except ChainUnavailable as error:
            raise CommandError(f"The books could not be compared with the chain: {error}") from None
        for name, figure in figures.items():
            self.stdout.write(f"{name}: {figure}")
        if any(figures.values()):
            sys.exit(1)
