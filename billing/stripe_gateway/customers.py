"""Who pays, as the provider keeps them: one customer there for each of ours."""

from billing.stripe_gateway.client import Translated, client


def create_customer(*, reference: str, attempt: int, email: str, name: str) -> str:
    """The provider's id of the customer known here as `reference`; the same reference and attempt give the same id.

    Raises NotConfigured, Unavailable, Refused.
    """
    with Translated():
        made = client().v1.customers.create(
            {"email": email, "name": name, "metadata": {"customer": reference}},
            {"idempotency_key": f"customer-{reference}-{attempt}"},
        )
    return made.id
