"""The only room that speaks to Stripe; the rest of the house gets our own words and plain numbers."""

from billing.stripe_gateway.checkout import CheckoutSession, Fee, Payment, checkout_session, create_checkout_session
from billing.stripe_gateway.client import NotConfigured, Refused, Unavailable
from billing.stripe_gateway.events import BadSignature, Event, verify_event

__all__ = [
    "BadSignature",
    "CheckoutSession",
    "Event",
    "Fee",
    "NotConfigured",
    "Payment",
    "Refused",
    "Unavailable",
    "checkout_session",
    "create_checkout_session",
    "verify_event",
]
