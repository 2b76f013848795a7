"""Django's entry for this app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        autodiscover_modules("tax_admin")  # a second room of the console beside admin.py
