"""The only room that speaks to Stripe; the rest of the house gets our own words and plain numbers."""

from billing.stripe_gateway.balance import Movement, Payout, balances, list_movements, movements_in, payout
from billing.stripe_gateway.checkout import CheckoutSession, checkout_session, create_checkout_session
from billing.stripe_gateway.client import AnswerStuck, NotConfigured, Page, Refused, Unavailable
from billing.stripe_gateway.customers import create_customer
from billing.stripe_gateway.events import BadSignature, Event, list_events, verify_event
from billing.stripe_gateway.intents import Card, Fee, Payment

__all__ = [
    "AnswerStuck",
    "BadSignature",
    "Card",
    "CheckoutSession",
    "Event",
    "Fee",
    "Movement",
    "NotConfigured",
    "Page",
    "Payment",
    "Payout",
    "Refused",
    "Unavailable",
    "balances",
    "checkout_session",
    "create_checkout_session",
    "create_customer",
    "list_events",
    "list_movements",
    "movements_in",
    "payout",
    "verify_event",
]
