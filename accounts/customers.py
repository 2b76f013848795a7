"""Customers: opened with their first owner, and renamed."""

from django.db import transaction

from accounts import audit
from accounts.models import Customer, Membership, User


def open_for(user: User, *, name: str) -> Customer:
    """Makes a customer named `name` and seats `user` as its owner."""
    with transaction.atomic():
        customer = Customer.objects.create(name=name)
        Membership.objects.create(customer=customer, user=user, role=Membership.Role.OWNER)
        audit.write(
            "customer.opened",
            subject=f"customer:{customer.pk}",
            actor=user,
            customer=customer,
            after={"name": name},
        )
    return customer


def open_first_for(user: User, *, name: str) -> Customer:
    """The same for a user without a seat; twice gives the one already there."""
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        seat = Membership.objects.filter(user=user).select_related("customer").first()
        return seat.customer if seat else open_for(user, name=name)


def rename(customer: Customer, *, user: User, name: str) -> None:
    with transaction.atomic(durable=True):
        before = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk).name
        if before == name:
            return
        Customer.objects.filter(pk=customer.pk).update(name=name)
        audit.write(
            "customer.renamed",
            subject=f"customer:{customer.pk}",
            actor=user,
            customer=customer,
            before={"name": before},
            after={"name": name},
        )
