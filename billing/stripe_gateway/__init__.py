"""The only room that speaks to Stripe; the rest of the house gets our own words and plain numbers."""

from billing.stripe_gateway.checkout import CheckoutSession, checkout_session, create_checkout_session
from billing.stripe_gateway.client import AnswerStuck, NotConfigured, Refused, Unavailable
from billing.stripe_gateway.customers import create_customer
from billing.stripe_gateway.events import BadSignature, Event, verify_event
from billing.stripe_gateway.intents import Card, Fee, Payment

__all__ = [
    "AnswerStuck",
    "BadSignature",
    "Card",
    "CheckoutSession",
    "Event",
    "Fee",
    "NotConfigured",
    "Payment",
    "Refused",
    "Unavailable",
    "checkout_session",
    "create_checkout_session",
    "create_customer",
    "verify_event",
]
