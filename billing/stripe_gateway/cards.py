"""Cards that wait at the provider: kept on its own page, looked at, forgotten."""

from dataclasses import dataclass
from typing import Any

import stripe

from billing.stripe_gateway.client import Translated, client
from billing.stripe_gateway.intents import Card, card_of


@dataclass(frozen=True, kw_only=True, slots=True)
class SetupSession:
    """A page on which a card is kept. `reference` is our row's id; `payment_method_id` is empty until it is kept."""

    id: str
    url: str
    status: str
    reference: str
    customer_id: str
    payment_method_id: str
    card: Card


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptCard:
    """A card as the provider has it now; `customer_id` is empty once it was forgotten."""

    payment_method_id: str
    customer_id: str
    card: Card


def create_setup_session(
    *, reference: str, attempt: int, customer_id: str, currency: str, success_url: str, cancel_url: str
) -> SetupSession:
    """The page on which a card is kept for `reference`; the same reference and attempt give the same page.

    3-D Secure is requested, so that later payments without the cardholder find him known.
    Raises NotConfigured, Unavailable, Refused.
    """
    order: Any = {
        "mode": "setup",
        "currency": currency,
        "payment_method_types": ["card"],
        "payment_method_options": {"card": {"request_three_d_secure": "any"}},
        "client_reference_id": reference,
        "customer": customer_id,
        "metadata": {"card_setup": reference},
        "setup_intent_data": {"metadata": {"card_setup": reference}},
        "success_url": success_url,
        "cancel_url": cancel_url,
    }
    with Translated():
        return _setup(
            client().v1.checkout.sessions.create(order, {"idempotency_key": f"card-setup-{reference}-{attempt}"})
        )


def setup_session(session_id: str) -> SetupSession:
    """The page as it stands, with the card that was kept there. Raises Unavailable, Refused."""
    with Translated():
        return _setup(client().v1.checkout.sessions.retrieve(session_id, {"expand": ["setup_intent.payment_method"]}))


def kept_card(payment_method_id: str) -> KeptCard:
    """Raises Unavailable, Refused."""
    with Translated():
        method = client().v1.payment_methods.retrieve(payment_method_id)
    card = card_of(getattr(method, "card", None))
    return KeptCard(payment_method_id=method.id, customer_id=_id(method.customer), card=card)


def forget_card(payment_method_id: str) -> None:
    """The provider forgets the card for good, if it has not already. Raises Unavailable, Refused."""
    if not kept_card(payment_method_id).customer_id:
        return
    with Translated():
        client().v1.payment_methods.detach(payment_method_id)


def _setup(session: stripe.checkout.Session) -> SetupSession:
    intent = session.setup_intent
    done = isinstance(intent, stripe.SetupIntent) and intent.status == "succeeded"
    method = intent.payment_method if isinstance(intent, stripe.SetupIntent) and done else None
    return SetupSession(
        id=session.id,
        url=session.url or "",
        status=session.status or "",
        reference=session.client_reference_id or "",
        customer_id=_id(session.customer),
        payment_method_id=_id(method),
        card=card_of(getattr(method, "card", None)),
    )


def _id(thing: object) -> str:
    """The id of what the provider gives as an id or as the object itself."""
    return thing if isinstance(thing, str) else str(getattr(thing, "id", "") or "")
