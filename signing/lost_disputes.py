"""Lost disputes: whoever got the money that a card's owner took back is flagged, once for each dispute."""

import logging

from django.db import IntegrityError, transaction

from billing import usage
from billing.models import Dispute
from signing import recipients
from signing.models import LostDispute, RecipientRule

log = logging.getLogger(__name__)

# Of the disputed amount: crumbs are paid to strangers to get them flagged.
_LEAST_SHARE = 20


def look() -> int:
    """Looks at every lost dispute that nobody looked at yet; how many those were."""
    known = LostDispute.objects.values("reference")
    lost = Dispute.objects.filter(stage=Dispute.Stage.LOST).exclude(provider_id__in=known)
    return sum(_flag(dispute) for dispute in lost.select_related("customer", "top_up").order_by("id"))


def _flag(dispute: Dispute) -> bool:
    """All of it or nothing; False when another worker was first."""
    began = dispute.top_up.settled_at or dispute.top_up.created_at
    paid = usage.by_counterparty(dispute.customer_id, first=began.date())
    suspects = [address.lower() for address, charged in paid if charged * _LEAST_SHARE >= dispute.amount_nano_usd]
    try:
        with transaction.atomic():
            LostDispute.objects.create(reference=dispute.provider_id, recipients=len(paid), flagged=len(suspects))
            for address in suspects:
                _flag_one(address, dispute)
    except IntegrityError:
        return False
    if suspects:
        log.warning("dispute %s was lost: %d recipients are flagged", dispute.provider_id, len(suspects))
    return True


def _flag_one(address: str, dispute: Dispute) -> None:
    dollars = f"${dispute.amount_nano_usd // 10**9:,}.{dispute.amount_nano_usd % 10**9 // 10**7:02}"
    try:
        recipients.rule(
            address=address,
            standing=RecipientRule.Standing.FLAGGED,
            reason=f"Paid by account {dispute.customer_id}, which lost a dispute about {dollars}",
            reference=f"dispute:{dispute.provider_id}",
            user=None,
        )
    except recipients.AlreadyRuled:
        log.info("recipient %s is flagged already", address)
