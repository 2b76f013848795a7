"""The rows of paying in: what a customer wished to pay."""

import uuid

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer, User
from billing import display
from billing.fields import NanoUsdField
from billing.models.cards import SavedCard


class FxRate(models.Model):
    """What one unit of a currency is worth in the books from a moment on; written once, followed by others."""

    currency = models.CharField(max_length=3)
    nano_usd_per_cent = NanoUsdField(help_text="Nano-dollars for one minor unit: 10,850,000 when one euro is 1.085.")
    source = models.CharField(max_length=80)
    valid_from = models.DateTimeField(db_default=Now())
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    recorded_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["currency", "-valid_from"], name="fx_rate_by_currency")]
        constraints = [
            models.CheckConstraint(name="fx_rate_positive", condition=models.Q(nano_usd_per_cent__gt=0)),
        ]

    @property
    def per_unit_nano_usd(self) -> int:
        return self.nano_usd_per_cent * 100

    @property
    def per_unit_text(self) -> str:
        """`$1.085`"""
        return display.nano_text(self.per_unit_nano_usd, trim=True)


class ProviderCustomer(models.Model):
    """Who a customer is at the payment provider; the row comes first and its id is the idempotency key there."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, related_name="at_provider")
    provider_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    email = models.EmailField()
    name = models.CharField(max_length=120)
    attempt = models.PositiveSmallIntegerField(db_default=1, default=1)
    created_at = models.DateTimeField(db_default=Now(), editable=False)


class TopUp(models.Model):
    """A customer's wish to pay in, written before the payment provider hears of it.

    `amount_cents` is what the customer chose, `net_cents` what of it is credit, `tax_cents` the tax, `total_cents` what
    the provider is asked for: net and tax. All four in minor units of `currency`; `credit_nano_usd` is net in dollars.
    """

    class Status(models.TextChoices):
        STARTED = "started", "Started"
        OPEN = "open", "Waiting for payment"
        PROCESSING = "processing", "On its way"
        PAID = "paid", "Paid"
        EXPIRED = "expired", "Expired"
        FAILED = "failed", "Failed"

    class Method(models.TextChoices):
        CHECKOUT = "checkout", "Payment page"
        SAVED_CARD = "saved_card", "Saved card"
        AUTO = "auto", "Automatic recharge"
        BANK = "bank", "Bank transfer"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="top_ups")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    method = models.CharField(max_length=12, choices=Method.choices, default=Method.CHECKOUT, db_default="checkout")
    amount_cents = models.PositiveIntegerField()
    currency = models.CharField(max_length=3, default="usd")
    net_cents = models.PositiveIntegerField(default=0, db_default=0)
    tax_cents = models.PositiveIntegerField(default=0, db_default=0)
    total_cents = models.PositiveIntegerField(default=0, db_default=0)
    tax_parts = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="Tax per jurisdiction in minor units, such as DE or US-CA."
    )
    fx_rate = models.ForeignKey(FxRate, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    credit_nano_usd = NanoUsdField(default=0, db_default=0)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.STARTED)
    checkout_session_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    payment_intent_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    charge_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    payment_method_id = models.CharField(max_length=120, default="", db_default="", blank=True)
    saved_card = models.ForeignKey(SavedCard, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    saves_card = models.BooleanField(
        default=False, db_default=False, help_text="The customer agreed that the card is kept."
    )
    card_fingerprint = models.CharField(max_length=64, default="", db_default="", blank=True)
    card_country = models.CharField(max_length=2, default="", db_default="", blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True, help_text="Where the wish came from, as evidence for tax.")
    balance_transaction_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    fee_cents = models.PositiveIntegerField(null=True, blank=True)
    card = models.CharField(max_length=40, blank=True, help_text="Brand and last four digits, for the reader.")
    receipt_url = models.URLField(max_length=2000, blank=True)
    checkout_url = models.URLField(max_length=2000, blank=True)
    failure = models.CharField(max_length=200, blank=True)
    failure_code = models.CharField(max_length=60, default="", db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    checked_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveSmallIntegerField(default=1, db_default=1)

    class Meta:
        indexes = [
            models.Index(fields=["customer", "created_at"], name="top_up_by_customer"),
            models.Index(
                fields=["created_at"],
                condition=models.Q(status__in=["started", "open", "processing"])
                | models.Q(status="paid", balance_transaction_id=None),
                name="top_ups_to_look_at",
            ),
            models.Index(
                fields=["card_fingerprint"], condition=~models.Q(card_fingerprint=""), name="top_up_by_fingerprint"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["customer"],
                condition=models.Q(method="auto", status__in=["started", "open", "processing"]),
                name="one_automatic_top_up_at_a_time",
            ),
            models.CheckConstraint(
                name="top_up_total_is_net_and_tax",
                condition=models.Q(total_cents=models.F("net_cents") + models.F("tax_cents")),
            ),
        ]
