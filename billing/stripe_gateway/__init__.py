"""The only room that speaks to Stripe; the rest of the house gets our own words and plain numbers."""

from billing.stripe_gateway.balance import Movement, Payout, balances, list_movements, movements_in, payout
from billing.stripe_gateway.checkout import CheckoutSession, checkout_session, create_checkout_session
from billing.stripe_gateway.client import AnswerStuck, NotConfigured, Page, Refused, Unavailable
from billing.stripe_gateway.customers import create_customer
from billing.stripe_gateway.disputes import (
    DisputeFacts,
    DisputeMovement,
    FraudWarningFacts,
    dispute,
    fraud_warning,
    submit_evidence,
)
from billing.stripe_gateway.events import BadSignature, Event, list_events, verify_event
from billing.stripe_gateway.intents import Card, Fee, Payment
from billing.stripe_gateway.refunds import RefundFacts, create_refund, refund, refunds_of

__all__ = [
    "AnswerStuck",
    "BadSignature",
    "Card",
    "CheckoutSession",
    "DisputeFacts",
    "DisputeMovement",
    "Event",
    "Fee",
    "FraudWarningFacts",
    "Movement",
    "NotConfigured",
    "Page",
    "Payment",
    "Payout",
    "RefundFacts",
    "Refused",
    "Unavailable",
    "balances",
    "checkout_session",
    "create_checkout_session",
    "create_customer",
    "create_refund",
    "dispute",
    "fraud_warning",
    "list_events",
    "list_movements",
    "movements_in",
    "payout",
    "refund",
    "refunds_of",
    "submit_evidence",
    "verify_event",
]
