"""The letters about money that came back or was given back: disputes, fraud warnings, refunds."""

from datetime import datetime

from django.conf import settings
from django.urls import reverse

from accounts import holds, moments, notices
from accounts.hold_letters import STILL_WORKS
from accounts.mail import Letter
from accounts.models import Customer
from billing.display import cents_text, usd_text
from billing.models import Dispute, Refund, RefundPart, TopUp, Wallet

_SIGNED_AGAIN = "Payments are signed again. Sessions that ended in the meantime have to be started again."


def dispute_opened(dispute: Dispute) -> Letter:
    kept = (
        f"{usd_text(dispute.frozen_nano_usd)} of your credit are kept aside until it is decided."
        if dispute.frozen_nano_usd
        else "No credit was left to keep aside."
    )
    return Letter(
        subject=f"Your payment of {dispute.amount_text} is disputed, and your account is frozen",
        paragraphs=[
            f"The bank of {_payment(dispute.top_up)} takes {dispute.amount_text} back. "
            f"Its reason: {dispute.said.lower()}.",
            f"No payment of {dispute.customer.name} is signed now; gateways are answered 402 account_frozen. {kept} "
            f"No card is charged and nothing is refunded meanwhile. {STILL_WORKS}",
            "If you know this payment, tell the bank that it was yours and ask it to withdraw the dispute; that ends "
            "it soonest. If you do not, tell us who may have used your card, and look at your members and API keys.",
        ],
        action=_wallet(),
        small=notices.whom_to_ask(dispute.customer),
        why=_owner(dispute.customer),
    )


def dispute_won(dispute: Dispute, *, released_nano_usd: int) -> Letter:
    back = f"{usd_text(released_nano_usd)} are in your balance again. " if released_nano_usd else ""
    return Letter(
        subject=f"The dispute of {dispute.amount_text} is over: the payment stands",
        paragraphs=[
            f"The bank of {_payment(dispute.top_up)} left the payment with us. {back}".strip(),
            _how_it_stands(dispute.customer),
        ],
        action=_wallet(),
        small=notices.whom_to_ask(dispute.customer),
        why=_owner(dispute.customer),
    )


def dispute_lost(dispute: Dispute) -> Letter:
    covered = dispute.covered_nano_usd
    paid = f"{usd_text(covered)} of it were taken from your credit. " if covered else ""
    owed = (
        f"{usd_text(dispute.owed_nano_usd)} had been used already and are owed now."
        if dispute.owed_nano_usd
        else "Nothing is owed."
    )
    return Letter(
        subject=f"The dispute of {dispute.amount_text} is over: the money went back",
        paragraphs=[
            f"{dispute.amount_text} went back to the holder of {dispute.top_up.card or 'the card'}. {paid}{owed}",
            _how_it_stands(dispute.customer),
        ],
        action=_wallet(),
        small=notices.whom_to_ask(dispute.customer),
        why=_owner(dispute.customer),
    )


def fraud_warning(top_up: TopUp) -> Letter:
    customer = top_up.customer
    return Letter(
        subject="Your account is on hold: a bank warns of fraud",
        paragraphs=[
            f"The bank of {_payment(top_up)} says that the holder of the card may not know this payment.",
            f"No payment of {customer.name} is signed until a person of ours has looked; gateways are answered "
            f"402 account_frozen. No card is charged and nothing is refunded meanwhile. {STILL_WORKS}",
            "If the payment is yours, tell the bank and us. If it is not, look at your members and API keys.",
        ],
        action=_wallet(),
        small=notices.whom_to_ask(customer),
        why=_owner(customer),
    )


def refund_ended(refund: Refund) -> Letter:
    """Of a refund of which every part arrived, came back or was not sent."""
    parts = list(refund.parts.select_related("top_up").order_by("created_at"))
    arrived = [part for part in parts if part.status == RefundPart.Status.SUCCEEDED]
    back_nano_usd = sum(part.credit_nano_usd for part in parts if part.status in RefundPart.ENDED_BADLY)
    whole = usd_text(refund.amount_nano_usd)
    subject = {
        Refund.Status.DONE: f"Your refund of {whole} was sent",
        Refund.Status.PARTLY: f"A part of your refund of {whole} was sent",
        Refund.Status.RETURNED: f"Your refund of {whole} could not be sent",
    }[Refund.Status(refund.status)]
    lines = [
        f"{part.amount_text} went {_where(part)}"
        + (f" under the bank’s reference {part.card_reference}." if part.card_reference else ".")
        for part in arrived
    ]
    if arrived:
        lines.append("Banks take up to ten days to show it.")
    if back_nano_usd:
        lines.append(f"{usd_text(back_nano_usd)} could not be sent and are in your balance again.")
    return Letter(
        subject=subject,
        paragraphs=lines,
        action=("Look at your refunds", f"{settings.WEB_URL}{reverse('refunds')}"),
        small=notices.whom_to_ask(refund.customer),
        why=_owner(refund.customer),
    )


def _where(part: RefundPart) -> str:
    if part.top_up.method == TopUp.Method.BANK:
        return "back by bank transfer"
    return f"to {part.top_up.card or 'your card'}"


def _how_it_stands(customer: Customer) -> str:
    """What the account may do now, as the database has it."""
    owed = sum(Wallet.objects.filter(customer=customer).values_list("debt_nano_usd", flat=True))
    if owed:
        return (
            f"{customer.name} owes {usd_text(owed)} in all. Payments are refused until that is paid; the next top-up "
            "pays it first."
        )
    if not holds.is_active(customer):
        return "The account stays frozen for another reason; you get a mail when that is over."
    return _SIGNED_AGAIN


def _payment(top_up: TopUp) -> str:
    """`Visa 4242, which paid $119.00 on 12 Oct 2026,`"""
    at: datetime = top_up.settled_at or top_up.created_at
    paid = cents_text(top_up.total_cents or top_up.amount_cents, top_up.currency)
    return f"{top_up.card or 'the card'}, which paid {paid} on {moments.day(at)},"


def _wallet() -> tuple[str, str]:
    return "Look at your wallet", f"{settings.WEB_URL}{reverse('wallet')}"


def _owner(customer: Customer) -> str:
    return f"because you own the account {customer.name}."
