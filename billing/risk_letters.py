"""The letters to staff about a card's bank that asks, takes a payment back or warns: whoever may answer it gets one."""

from django.conf import settings
from django.urls import reverse

from accounts import moments, notices
from accounts.mail import Letter
from accounts.models import Customer
from billing.display import cents_text, usd_text
from billing.models import Dispute, TopUp

# The right of those who answer banks and lift holds.
RIGHT = "holds.lift"
_WHY = "because your role answers banks and lifts holds."


def inquiry(dispute: Dispute) -> None:
    """Of a bank that only asks so far."""
    _write(
        dispute,
        Letter(
            subject=f"A bank asks about a payment of {dispute.amount_text}: {dispute.customer.name}",
            paragraphs=[
                f"{_what(dispute)} Nothing was taken back, and the account works on.",
                f"{_until(dispute)} An inquiry that nobody answers can become a dispute, with its fee.",
            ],
            action=_account(dispute.customer),
            why=_WHY,
        ),
    )


def dispute_opened(dispute: Dispute) -> None:
    kept = f"{usd_text(dispute.frozen_nano_usd)} of its credit are kept aside." if dispute.frozen_nano_usd else ""
    _write(
        dispute,
        Letter(
            subject=f"A payment of {dispute.amount_text} is disputed: {dispute.customer.name}",
            paragraphs=[f"{_what(dispute)} The account is frozen. {kept}".strip(), _until(dispute)],
            action=_account(dispute.customer),
            why=_WHY,
        ),
    )


def fraud_warning(top_up: TopUp, *, reference: str, said: str) -> None:
    amount = cents_text(top_up.total_cents or top_up.amount_cents, top_up.currency)
    customer = top_up.customer
    letter = Letter(
        subject=f"A bank warns of fraud about a payment of {amount}: {customer.name}",
        paragraphs=[
            f"{top_up.card or 'A card'}, account {customer.pk} ({customer.name}). The warning: {said.lower()}.",
            "The account is held until somebody lifts the hold. Nothing was taken back so far; most such payments are "
            "disputed within weeks.",
        ],
        action=_account(customer),
        why=_WHY,
    )
    notices.write_to_staff(customer, right=RIGHT, reference=reference, letter=letter)


def _write(dispute: Dispute, letter: Letter) -> None:
    """Once a stage, in the transaction that enters it."""
    reference = f"dispute:{dispute.provider_id}:{dispute.stage}"
    notices.write_to_staff(dispute.customer, right=RIGHT, reference=reference, letter=letter)


def _what(dispute: Dispute) -> str:
    card = dispute.top_up.card or "A card"
    return f"{card}, account {dispute.customer_id} ({dispute.customer.name}). The bank says: {dispute.said.lower()}."


def _until(dispute: Dispute) -> str:
    if not dispute.wants_answer:
        return "The bank has an answer already."
    if dispute.evidence_due_at is None:
        return "It waits for an answer."
    return f"It waits for an answer until {moments.minute(dispute.evidence_due_at)} UTC."


def _account(customer: Customer) -> tuple[str, str]:
    return "Look at the account", f"{settings.WEB_URL}{reverse('risk_account', args=[customer.pk])}"
