"""Django's entries for this app and for the staff console."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class AccountsConfig(AppConfig):
    name = "accounts"
    default = True


class ConsoleConfig(admin_apps.AdminConfig):
    """The staff console with this project's own front door."""

    default = False
    default_site = "accounts.console.Console"
