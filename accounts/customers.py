"""Opening an account: a customer whose first member owns it."""

from django.db import transaction

from accounts.models import Customer, Membership, User


def open_for(user: User, *, name: str) -> Customer:
    """Makes a customer named `name` and seats `user` as its owner."""
    with transaction.atomic():
        customer = Customer.objects.create(name=name)
        Membership.objects.create(customer=customer, user=user, role=Membership.Role.OWNER)
    return customer
