"""Who buys, as a document names it: the customer's own words of that moment."""

from accounts.models import Customer
from billing.documents.snapshot import Party


def of(customer: Customer) -> Party:
    return Party(name=customer.name, details={"account": f"{customer.pk:06d}"})
