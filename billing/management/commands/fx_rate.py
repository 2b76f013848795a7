"""`manage.py fx_rate eur 1.085 --source ECB`: records what a currency is worth from now on; run as owner or worker."""

from fractions import Fraction
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import fx
from billing.money import NANO_USD_PER_CENT


class Command(BaseCommand):
    help = "Records the rate of a currency: dollars for one whole unit, with at most seven decimals."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("currency", choices=settings.TOP_UP_CURRENCIES)
        parser.add_argument("dollars", help="such as 1.085")
        parser.add_argument("--source", required=True, help="where the rate comes from, such as ECB 2026-11-20")

    def handle(self, *args: Any, **given: Any) -> None:
        try:
            nano_usd_per_cent = Fraction(given["dollars"]) * NANO_USD_PER_CENT
        except (ValueError, ZeroDivisionError):
            raise CommandError("The rate must be a number such as 1.085.") from None
        if nano_usd_per_cent <= 0 or nano_usd_per_cent.denominator != 1:
            raise CommandError("The rate must be positive and have at most seven decimals.")
        rate = fx.record(currency=given["currency"], nano_usd_per_cent=int(nano_usd_per_cent), source=given["source"])
        self.stdout.write(
            f"{rate.currency} 1 is {given['dollars']} dollars from {rate.valid_from:%Y-%m-%d %H:%M} UTC on."
        )
