"""The rows of our bank: lines of its statement, and what customers said they would transfer."""

import uuid

from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from billing.models.books import Journal
from billing.models.provider import Payout
from billing.models.top_ups import TopUp


class BankTransfer(models.Model):
    """What a customer wishes to pay by bank transfer, known by the reference on the pro-forma.

    `top_up` is the wish. Each arrival of money credits one top-up: the first the wish itself, a further one under the
    same reference a top-up of its own.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    top_up = models.OneToOneField(TopUp, on_delete=models.PROTECT, related_name="bank_transfer")
    reference = models.CharField(max_length=20, unique=True)
    asked_cents = models.BigIntegerField(help_text="Net and tax, as the pro-forma says.")
    po_number = models.CharField(max_length=60, blank=True)
    due_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.reference


class BankLine(models.Model):
    """A line of our bank's statement; positive is money that came. Written once, then matched to what it is.

    The web says what it is (`payout`, `ignored_because`); the worker books it and writes `journal`. A line that is a
    customer's transfer gets `top_up` and `journal` in one step when a second person has approved.
    """

    booked_on = models.DateField()
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reference = models.CharField(max_length=200, blank=True)
    counterparty = models.CharField(max_length=200, blank=True)
    fingerprint = models.CharField(max_length=64, unique=True)
    file_name = models.CharField(max_length=120, blank=True)
    entered_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    entered_at = models.DateTimeField(db_default=Now(), editable=False)
    payout = models.ForeignKey(Payout, on_delete=models.PROTECT, null=True, blank=True, related_name="bank_lines")
    top_up = models.OneToOneField(TopUp, on_delete=models.PROTECT, null=True, blank=True, related_name="bank_line")
    ignored_because = models.CharField(max_length=200, blank=True, db_default="")
    matched_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    matched_at = models.DateTimeField(null=True, blank=True)
    journal = models.OneToOneField(Journal, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(name="bank_line_moves_money", condition=~models.Q(amount_cents=0)),
            models.CheckConstraint(
                name="bank_line_is_one_thing",
                condition=models.Q(payout=None, top_up=None)
                | models.Q(payout=None, ignored_because="")
                | models.Q(top_up=None, ignored_because=""),
            ),
        ]
        indexes = [
            models.Index(fields=["-booked_on", "-id"], name="bank_lines_newest_first"),
            models.Index(fields=["id"], condition=models.Q(journal=None), name="bank_lines_not_booked"),
        ]

    def __str__(self) -> str:
        return f"{self.booked_on} {self.amount_cents} {self.currency}"
