"""Payments that a bank takes back or asks about, and warnings of fraud: as the provider has them now."""

from dataclasses import dataclass
from datetime import UTC, datetime

import stripe

from billing.stripe_gateway.client import Translated, client
from billing.stripe_gateway.intents import tag


@dataclass(frozen=True, kw_only=True, slots=True)
class DisputeMovement:
    """One movement of our balance for a dispute: `amount_cents` below zero left it; the fee is taken besides."""

    balance_transaction_id: str
    amount_cents: int
    fee_cents: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DisputeFacts:
    """`status` is the provider's: warning_needs_response, needs_response, under_review, won, lost and so on.

    `top_up` is the id of our row as the charge carries it, and may be empty.
    """

    id: str
    charge_id: str
    payment_intent_id: str
    top_up: str
    amount_cents: int
    currency: str
    reason: str
    status: str
    opened_at: datetime
    evidence_due_at: datetime | None
    movements: tuple[DisputeMovement, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FraudWarningFacts:
    id: str
    charge_id: str
    payment_intent_id: str
    top_up: str
    kind: str
    warned_at: datetime


def dispute(dispute_id: str) -> DisputeFacts:
    """Raises Unavailable, Refused."""
    with Translated():
        found = client().v1.disputes.retrieve(dispute_id, {"expand": ["charge"]})
    charge = found.charge
    due = found.evidence_details.due_by if found.evidence_details else None
    return DisputeFacts(
        id=found.id,
        charge_id=_id(charge),
        payment_intent_id=_id(found.payment_intent),
        top_up=tag(charge.metadata, "top_up") if isinstance(charge, stripe.Charge) else "",
        amount_cents=found.amount,
        currency=found.currency,
        reason=found.reason,
        status=found.status,
        opened_at=datetime.fromtimestamp(found.created, UTC),
        evidence_due_at=datetime.fromtimestamp(due, UTC) if due else None,
        movements=tuple(
            DisputeMovement(
                balance_transaction_id=moved.id, amount_cents=moved.amount, fee_cents=moved.fee, currency=moved.currency
            )
            for moved in found.balance_transactions
        ),
    )


def fraud_warning(warning_id: str) -> FraudWarningFacts:
    """Raises Unavailable, Refused."""
    with Translated():
        found = client().v1.radar.early_fraud_warnings.retrieve(warning_id, {"expand": ["charge"]})
    charge = found.charge
    return FraudWarningFacts(
        id=found.id,
        charge_id=_id(charge),
        payment_intent_id=_id(found.payment_intent),
        top_up=tag(charge.metadata, "top_up") if isinstance(charge, stripe.Charge) else "",
        kind=found.fraud_type,
        warned_at=datetime.fromtimestamp(found.created, UTC),
    )


def submit_evidence(dispute_id: str, *, text: str, stage: str) -> str:
    """Hands a written answer to the bank, for good, once a stage; gives the dispute's status.

    Raises Unavailable, Refused.
    """
    answer: stripe.params.DisputeUpdateParams = {"evidence": {"uncategorized_text": text}, "submit": True}
    with Translated():
        key = f"evidence-{dispute_id}-{stage}"
        return client().v1.disputes.update(dispute_id, answer, {"idempotency_key": key}).status


def _id(value: object) -> str:
    return value if isinstance(value, str) else str(getattr(value, "id", "") or "")
