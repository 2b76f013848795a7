"""The rows of giving back: what a customer wants refunded, and its part for each payment it came from."""

import uuid

from django.db import models
from django.db.models.functions import Now

from accounts.models import Approval, Customer, User
from billing import display
from billing.fields import NanoUsdField
from billing.models.top_ups import TopUp


class Refund(models.Model):
    """A wish to have unused credit back. Its amount left the wallet in the transaction that wrote this row.

    Asked for by the function billing_request_refund alone; see billing/sql/refunds.sql. The worker writes down what was
    made at the payment provider, and what two people send from our bank.
    """

    class Status(models.TextChoices):
        REQUESTED = "requested", "On its way"
        DONE = "done", "Refunded"
        PARTLY = "partly", "Refunded in part"
        RETURNED = "returned", "Not refunded"

    class Source(models.TextChoices):
        ACCOUNT = "account", "Asked for on the wallet page"
        PROVIDER = "provider", "Made at the payment provider"
        BANK = "bank", "Sent from our bank by hand"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="refunds")
    source = models.CharField(max_length=10, choices=Source.choices, db_default=Source.ACCOUNT)
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    amount_nano_usd = NanoUsdField()
    reason = models.CharField(max_length=200, blank=True, db_default="")
    status = models.CharField(max_length=10, choices=Status.choices, db_default=Status.REQUESTED)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    approval = models.ForeignKey(Approval, on_delete=models.PROTECT, null=True, related_name="+")
    approved_at = models.DateTimeField(null=True)
    # A wish to stop it; the worker returns what was not sent yet.
    stopped_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    stopped_at = models.DateTimeField(null=True)
    stop_reason = models.CharField(max_length=200, blank=True, db_default="")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["customer", "-created_at"], name="refund_by_customer"),
            models.Index(fields=["created_at"], condition=models.Q(status="requested"), name="refunds_under_way"),
        ]
        constraints = [
            models.CheckConstraint(name="refund_is_positive", condition=models.Q(amount_nano_usd__gt=0)),
        ]


class RefundPart(models.Model):
    """What of a refund goes back to one payment. `net_cents` is credit, `tax_cents` the tax that came with it.

    Both in minor units of the payment's currency; `credit_nano_usd` is net in dollars at the payment's own rate.
    """

    class Status(models.TextChoices):
        PLANNED = "planned", "Waiting"
        SENDING = "sending", "Being sent"
        PENDING = "pending", "On its way to the card"
        SUCCEEDED = "succeeded", "Refunded"
        FAILED = "failed", "Failed"
        CANCELED = "canceled", "Canceled"

    # Of these the money is back in the wallet; all others count against what is left of the payment.
    ENDED_BADLY = (Status.FAILED, Status.CANCELED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    refund = models.ForeignKey(Refund, on_delete=models.PROTECT, related_name="parts")
    top_up = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="refund_parts")
    currency = models.CharField(max_length=3)
    net_cents = models.PositiveIntegerField()
    tax_cents = models.PositiveIntegerField(db_default=0)
    tax_parts = models.JSONField(db_default={})
    credit_nano_usd = NanoUsdField()
    status = models.CharField(max_length=10, choices=Status.choices, db_default=Status.PLANNED)
    attempt = models.PositiveSmallIntegerField(db_default=1)
    provider_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    balance_transaction_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    failure_transaction_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    card_reference = models.CharField(max_length=60, blank=True, db_default="")
    failure = models.CharField(max_length=200, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=models.Q(status__in=["planned", "sending", "pending"]),
                name="refund_parts_under_way",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="refund_part_is_positive", condition=models.Q(net_cents__gt=0, credit_nano_usd__gt=0)
            ),
        ]

    @property
    def total_cents(self) -> int:
        return self.net_cents + self.tax_cents

    @property
    def amount_text(self) -> str:
        """What the card gets, tax included."""
        return display.cents_text(self.total_cents, self.currency)
