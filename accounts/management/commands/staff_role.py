"""Gives somebody a role of staff from a terminal: the way the first admin comes to be."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import people, roles
from accounts.models import User


class Command(BaseCommand):
    help = "Makes the person with this address staff, with this role; told in the audit log."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("role", choices=list(roles.ROLES))

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(email=options["email"].lower(), is_active=True).first()
        if user is None:
            raise CommandError(f"Nobody signs in with {options['email']}.")
        with transaction.atomic():
            people.give(user, options["role"], actor=None)
        self.stdout.write(f"{user.email}: {', '.join(people.roles_of(user))}")
