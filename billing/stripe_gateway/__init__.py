"""The only room that speaks to Stripe; the rest of the house gets our own words and plain numbers."""

from billing.stripe_gateway.balance import Movement, Payout, balances, list_movements, movements_in, payout
from billing.stripe_gateway.cards import (
    KeptCard,
    SetupSession,
    create_setup_session,
    forget_card,
    kept_card,
    setup_session,
)
from billing.stripe_gateway.checkout import (
    CheckoutSession,
    checkout_session,
    create_checkout_session,
    expire_checkout_session,
)
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
from billing.stripe_gateway.intents import Card, Fee, Payment, cancel_payment, confirm_payment, create_payment, payment
from billing.stripe_gateway.refunds import Moved, RefundFacts, create_refund, refund, refunds_of
from billing.stripe_gateway.tax import (
    Address,
    Calculation,
    RecordedTax,
    calculate_tax,
    record_tax,
    reverse_tax,
    tax_calculation,
    tell_customer,
)

__all__ = [
    "Address",
    "AnswerStuck",
    "BadSignature",
    "Calculation",
    "Card",
    "CheckoutSession",
    "DisputeFacts",
    "DisputeMovement",
    "Event",
    "Fee",
    "FraudWarningFacts",
    "KeptCard",
    "Moved",
    "Movement",
    "NotConfigured",
    "Page",
    "Payment",
    "Payout",
    "RecordedTax",
    "RefundFacts",
    "Refused",
    "SetupSession",
    "Unavailable",
    "balances",
    "calculate_tax",
    "cancel_payment",
    "checkout_session",
    "confirm_payment",
    "create_checkout_session",
    "create_customer",
    "create_payment",
    "create_refund",
    "create_setup_session",
    "dispute",
    "expire_checkout_session",
    "forget_card",
    "fraud_warning",
    "kept_card",
    "list_events",
    "list_movements",
    "movements_in",
    "payment",
    "payout",
    "record_tax",
    "refund",
    "refunds_of",
    "reverse_tax",
    "setup_session",
    "submit_evidence",
    "tax_calculation",
    "tell_customer",
    "verify_event",
]
