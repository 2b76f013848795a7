"""Early fraud warnings: the account is held at once, before the bank takes anything back."""

from django.db import transaction

from accounts import holds, notices
from billing import disputes, fraud, money_letters, risk_letters, stripe_gateway
from billing.models import FraudWarning


def sync(warning_id: str) -> None:
    """Keeps the warning and holds the account, once. Raises Unavailable, Refused, disputes.NotBookedYet."""
    facts = stripe_gateway.fraud_warning(warning_id)
    top_up = disputes.paid_top_up(
        charge_id=facts.charge_id, payment_intent_id=facts.payment_intent_id, tag=facts.top_up
    )
    if top_up is None:
        return
    reason = f"The bank of {top_up.card or 'a card'} warns of fraud: {facts.kind.replace('_', ' ')}."
    warning = FraudWarning(
        provider_id=facts.id,
        customer=top_up.customer,
        top_up=top_up,
        charge_id=facts.charge_id,
        kind=facts.kind[:60],
        warned_at=facts.warned_at,
    )
    with transaction.atomic():
        FraudWarning.objects.bulk_create([warning], ignore_conflicts=True)
        reference = f"fraud_warning:{facts.id}"
        code = holds.Code.FRAUD_WARNING
        if holds.place(customer=top_up.customer, code=code, reference=reference, reason=reason, tell=False):
            notices.write(top_up.customer, reference=reference, letter=money_letters.fraud_warning(top_up))
            risk_letters.fraud_warning(top_up, reference=reference, said=warning.said)
        fraud.note(top_up.customer, code=fraud.Code.FRAUD_WARNING, reference=reference, reason=reason)
