"""The rows of payments that were taken back: disputes, and what became of their money."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer
from billing import display
from billing.fields import NanoUsdField
from billing.models.top_ups import TopUp


class Dispute(models.Model):
    """A bank took a payment back, or only asks about it. What the provider says, and where the money stands with us.

    `withdrawn` is what account 1150 holds for it, `frozen` what 2110 holds. Once lost, what was withdrawn is `covered`
    by credit, `relieved` from tax and otherwise `owed` by the customer.
    """

    class Stage(models.TextChoices):
        NEW = "new", "Just seen"
        INQUIRY = "inquiry", "The bank inquires"
        OPEN = "open", "Disputed"
        WON = "won", "Won"
        LOST = "lost", "Lost"
        CLOSED = "closed", "Inquiry closed"

    # Of these, nothing of the payment is refunded.
    BLOCKING = (Stage.OPEN, Stage.LOST)
    # Of these, in the provider's words, the bank waits for us.
    WAITING_FOR_US = ("warning_needs_response", "needs_response")

    provider_id = models.CharField(max_length=120, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="disputes")
    top_up = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="disputes")
    charge_id = models.CharField(max_length=120)
    amount_cents = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    amount_nano_usd = NanoUsdField()
    reason = models.CharField(max_length=60)
    provider_status = models.CharField(max_length=40)
    stage = models.CharField(max_length=10, choices=Stage.choices, db_default=Stage.OPEN)
    withdrawn_nano_usd = NanoUsdField(db_default=0)
    fee_nano_usd = NanoUsdField(db_default=0)
    frozen_nano_usd = NanoUsdField(db_default=0)
    covered_nano_usd = NanoUsdField(db_default=0)
    relieved_nano_usd = NanoUsdField(db_default=0)
    owed_nano_usd = NanoUsdField(db_default=0)
    opened_at = models.DateTimeField()
    evidence_due_at = models.DateTimeField(null=True)
    evidence_sent_at = models.DateTimeField(null=True)
    evidence_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, null=True, related_name="+")
    seen_at = models.DateTimeField(db_default=Now(), editable=False)
    checked_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["customer", "-opened_at"], name="dispute_by_customer"),
            models.Index(
                fields=["seen_at"], condition=models.Q(stage__in=["new", "inquiry", "open"]), name="disputes_open"
            ),
            models.Index(fields=["charge_id"], name="dispute_by_charge"),
        ]

    @property
    def amount_text(self) -> str:
        return display.cents_text(self.amount_cents, self.currency)

    @property
    def wants_answer(self) -> bool:
        return self.provider_status in self.WAITING_FOR_US and self.evidence_sent_at is None

    @property
    def said(self) -> str:
        """The bank's reason in words: `Product not received`."""
        return self.reason.replace("_", " ").capitalize()


class FraudWarning(models.Model):
    """A card's bank says that a payment was none of its holder's; kept as it came."""

    provider_id = models.CharField(max_length=120, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="fraud_warnings")
    top_up = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="fraud_warnings")
    charge_id = models.CharField(max_length=120)
    kind = models.CharField(max_length=60)
    warned_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_default=Now(), editable=False)

    @property
    def said(self) -> str:
        """The warning in words: `Unauthorized use of card`."""
        return self.kind.replace("_", " ").capitalize()
