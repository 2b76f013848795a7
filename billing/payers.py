"""Who a customer is at the payment provider: a row first, then one customer there, whatever gets lost on the way."""

from django.db.models import F

from accounts.models import Customer, User
from billing import stripe_gateway
from billing.models import ProviderCustomer


def provider_id(customer: Customer, user: User) -> str:
    """The provider's id of this customer, made there when it is needed first.

    Two at once ask under one key and get one customer. `user` lends name and address to the row when there is none.
    Raises stripe_gateway.NotConfigured, Unavailable, Refused.
    """
    ProviderCustomer.objects.bulk_create(
        [ProviderCustomer(customer=customer, email=user.email, name=customer.name)], ignore_conflicts=True
    )
    payer = ProviderCustomer.objects.get(customer=customer)
    if payer.provider_id is None:
        ProviderCustomer.objects.filter(id=payer.id, provider_id=None).update(provider_id=_create(payer))
        payer.refresh_from_db()
    assert payer.provider_id
    return payer.provider_id


def _create(payer: ProviderCustomer) -> str:
    """A stored failure is stepped over with the next key: at worst the provider keeps a customer whom nobody uses."""
    try:
        return _ask(payer)
    except stripe_gateway.AnswerStuck:
        ProviderCustomer.objects.filter(id=payer.id, attempt=payer.attempt).update(attempt=F("attempt") + 1)
        payer.refresh_from_db()
        return _ask(payer)


def _ask(payer: ProviderCustomer) -> str:
    return stripe_gateway.create_customer(
        reference=str(payer.id), attempt=payer.attempt, email=payer.email, name=payer.name
    )
