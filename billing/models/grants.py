"""The rows behind a wallet: each piece of money or promotional credit, and what became of it."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer
from billing.fields import NanoUsdField
from billing.models.books import Journal


class Grant(models.Model):
    """Paid money or promotional credit that came in at once; only ledger functions write it.

    A wallet is the sum of what remains of its grants less usage that waits for the poster. Spent are promotional
    credit first, then aged money, then money that is still fresh; within each by priority, earliest expiry and age.
    """

    class Kind(models.TextChoices):
        PAID = "paid", "Paid"
        PROMO = "promo", "Promotional"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="grants")
    kind = models.CharField(max_length=5, choices=Kind.choices)
    amount_nano_usd = NanoUsdField()
    remaining_nano_usd = NanoUsdField()
    priority = models.PositiveSmallIntegerField(help_text="0 is used first; paid money always has 100.")
    campaign = models.CharField(max_length=80, blank=True)
    reference = models.CharField(max_length=200, unique=True, help_text="The wallet entry that brought it.")
    aged_at = models.DateTimeField(help_text="From when on it counts as aged.")
    is_fresh = models.BooleanField(help_text="Whether it is not aged yet, as the wallet has it.")
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="grant_remains_within_its_amount",
                condition=models.Q(amount_nano_usd__gt=0, remaining_nano_usd__gte=0)
                & models.Q(remaining_nano_usd__lte=models.F("amount_nano_usd")),
            ),
            models.CheckConstraint(
                name="promotional_before_paid",
                condition=models.Q(kind="paid", priority=100, campaign="")
                | models.Q(kind="promo", priority__lte=100, is_fresh=False) & ~models.Q(campaign=""),
            ),
        ]
        indexes = [
            models.Index(
                fields=["customer"], condition=models.Q(remaining_nano_usd__gt=0), name="grants_that_hold_something"
            ),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(remaining_nano_usd__gt=0, expires_at__isnull=False),
                name="grants_that_end",
            ),
            models.Index(fields=["aged_at"], condition=models.Q(is_fresh=True), name="grants_that_age"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.reference}"


class GrantUse(models.Model):
    """What one journal drew from a grant; written once."""

    grant = models.ForeignKey(Grant, on_delete=models.PROTECT, related_name="uses")
    journal = models.ForeignKey(Journal, on_delete=models.PROTECT, related_name="+")
    amount_nano_usd = NanoUsdField()

    class Meta:
        constraints = [
            models.CheckConstraint(name="a_use_is_positive", condition=models.Q(amount_nano_usd__gt=0)),
        ]
