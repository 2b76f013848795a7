"""Django's entry for this app."""

from django.apps import AppConfig


class SigningConfig(AppConfig):
    name = "signing"
