"""The rows of cards that customers keep with the provider, and of recharging by one of them without anybody's hand."""

import uuid

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer, User


class SavedCard(models.Model):
    """A card that waits at the provider; here stands only what may be shown. It can be charged until it is removed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="cards")
    saved_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    payment_method_id = models.CharField(max_length=120, unique=True)
    brand = models.CharField(max_length=20)
    last4 = models.CharField(max_length=4)
    exp_month = models.PositiveSmallIntegerField()
    exp_year = models.PositiveSmallIntegerField()
    fingerprint = models.CharField(max_length=64, blank=True, db_index=True)
    country = models.CharField(max_length=2, blank=True)
    funding = models.CharField(max_length=10, blank=True)
    is_default = models.BooleanField(default=False)
    consented_at = models.DateTimeField(help_text="When its holder agreed that it is kept and charged later.")
    charged_at = models.DateTimeField(null=True, help_text="The first payment with it here.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    removed_at = models.DateTimeField(null=True)
    removed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    detached_at = models.DateTimeField(null=True, help_text="When the provider forgot it.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"], condition=models.Q(is_default=True, removed_at=None), name="one_default_card"
            ),
        ]
        indexes = [
            models.Index(
                fields=["removed_at"],
                condition=models.Q(removed_at__isnull=False, detached_at=None),
                name="cards_to_detach",
            )
        ]

    def __str__(self) -> str:
        return f"{self.brand} {self.last4}"


class CardSetup(models.Model):
    """A customer's wish to keep a card, written before the provider hears of it."""

    class Status(models.TextChoices):
        STARTED = "started", "Started"
        OPEN = "open", "Waiting for the card"
        DONE = "done", "Saved"
        EXPIRED = "expired", "Expired"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.STARTED)
    checkout_session_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    checkout_url = models.URLField(max_length=2000, blank=True)
    card = models.ForeignKey(SavedCard, on_delete=models.PROTECT, null=True, related_name="+")
    failure = models.CharField(max_length=200, blank=True)
    attempt = models.PositiveSmallIntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    checked_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["created_at"], condition=models.Q(status__in=["started", "open"]), name="card_setups_to_look_at"
            )
        ]


class AutoRecharge(models.Model):
    """When the balance falls below `threshold_cents`, the card is charged; at most `cap_cents` in a calendar month.

    All amounts in whole US cents before tax. `failures` counts declines in a row; the third one switches it off.
    `notice` is the letter that waits to be sent.
    """

    class Mode(models.TextChoices):
        AMOUNT = "amount", "A fixed amount"
        TARGET = "target", "Up to a balance"

    class Notice(models.TextChoices):
        NONE = "", "None"
        DECLINED = "declined", "A charge was declined"
        GAVE_UP = "gave_up", "Three charges were declined"
        BURST = "burst", "Too many charges in a short time"
        CAPPED = "capped", "The monthly limit is reached"

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, primary_key=True, related_name="auto_recharge")
    is_on = models.BooleanField(default=False)
    threshold_cents = models.PositiveIntegerField()
    mode = models.CharField(max_length=10, choices=Mode.choices, default=Mode.AMOUNT)
    amount_cents = models.PositiveIntegerField(help_text="The amount of one charge, or the balance to reach.")
    cap_cents = models.PositiveIntegerField()
    card = models.ForeignKey(SavedCard, on_delete=models.PROTECT, null=True, related_name="+")
    failures = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True, help_text="After a decline nothing is tried before.")
    off_reason = models.CharField(max_length=200, blank=True)
    notice = models.CharField(max_length=10, choices=Notice.choices, blank=True, default="")
    capped_month = models.DateField(null=True, help_text="The month for which the letter about the limit was sent.")
    changed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["customer"], condition=models.Q(is_on=True), name="recharges_that_are_on")]
