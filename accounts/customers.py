"""Customers: opened with their first owner, renamed, closed and opened again."""

from django.db import connection, transaction

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


def close(customer: Customer, *, user: User, reason: str) -> bool:
    """Ends payments and top-ups of the account; False when it was closed before."""
    return _close(customer, user, reason, closed=True)


def reopen(customer: Customer, *, user: User, reason: str) -> bool:
    """The account is active again, or frozen when a hold stands; False when it was not closed."""
    return _close(customer, user, reason, closed=False)


def _close(customer: Customer, user: User, reason: str, *, closed: bool) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT accounts_close_customer(%s, %s)", [customer.pk, closed])
        (changed,) = cursor.fetchone()
        if changed:
            audit.write(
                "customer.closed" if closed else "customer.reopened",
                subject=f"customer:{customer.pk}",
                actor=user,
                customer=customer,
                after={"reason": reason},
            )
    return bool(changed)
