"""The rows of paying in: what a customer wished to pay."""

import uuid

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer, User


class TopUp(models.Model):
    """A customer's wish to pay in, written before the payment provider hears of it."""

    class Status(models.TextChoices):
        STARTED = "started", "Started"
        OPEN = "open", "Waiting for payment"
        PAID = "paid", "Paid"
        EXPIRED = "expired", "Expired"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="top_ups")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    amount_cents = models.PositiveIntegerField()
    currency = models.CharField(max_length=3, default="usd")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.STARTED)
    checkout_session_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    payment_intent_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    balance_transaction_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    fee_cents = models.PositiveIntegerField(null=True, blank=True)
    card = models.CharField(max_length=40, blank=True, help_text="Brand and last four digits, for the reader.")
    receipt_url = models.URLField(max_length=2000, blank=True)
    checkout_url = models.URLField(max_length=2000, blank=True)
    failure = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    checked_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["customer", "created_at"], name="top_up_by_customer"),
            models.Index(
                fields=["created_at"],
                condition=models.Q(status__in=["started", "open"])
                | models.Q(status="paid", balance_transaction_id=None),
                name="unfinished_top_ups",
            ),
        ]
