"""The rows of the money: books, wallets, exact usage, rates, top-ups and the webhook inbox."""

import uuid

from django.db import models
from django.db.models.functions import Now

from accounts.models import ApiKey, Customer, User
from billing.fields import NanoUsdField, WeiField


class LedgerAccount(models.Model):
    """One account of one asset in the chart, for one party where the chart asks for one."""

    class Asset(models.TextChoices):
        USD = "USD", "US dollar"
        ETH = "ETH", "Ether"

    number = models.PositiveSmallIntegerField()
    asset = models.CharField(max_length=3, choices=Asset.choices)
    party = models.CharField(max_length=80, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["number", "asset", "party"], name="one_account_per_party")]

    def __str__(self) -> str:
        return f"{self.number} {self.asset} {self.party}".strip()


class Journal(models.Model):
    """A group of transfers that were booked together for one business event; written once."""

    kind = models.CharField(max_length=40)
    reference = models.CharField(max_length=200, unique=True)
    description = models.CharField(max_length=200, blank=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, related_name="+")
    reverses = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="reversed_by")
    occurred_at = models.DateTimeField()
    booked_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["occurred_at"], name="journal_by_time")]


class Transfer(models.Model):
    """One positive amount of one asset from the credited to the debited account; written once."""

    journal = models.ForeignKey(Journal, on_delete=models.PROTECT, related_name="transfers")
    debit = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="debits")
    credit = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="credits")
    amount_nano_usd = NanoUsdField(null=True)
    amount_wei = WeiField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="one_positive_amount",
                condition=models.Q(amount_nano_usd__gt=0, amount_wei__isnull=True)
                | models.Q(amount_wei__gt=0, amount_nano_usd__isnull=True),
            ),
            models.CheckConstraint(name="two_accounts", condition=~models.Q(debit=models.F("credit"))),
        ]


class Wallet(models.Model):
    """What a customer can spend now; only ledger functions change it."""

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, primary_key=True, related_name="wallet")
    available_nano_usd = NanoUsdField(default=0)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(name="wallet_never_below_zero", condition=models.Q(available_nano_usd__gte=0))
        ]


class WalletEntry(models.Model):
    """A change of a wallet other than usage, with the journal that explains it; written once."""

    class Kind(models.TextChoices):
        TOP_UP = "top_up", "Top-up"
        ADJUSTMENT = "adjustment", "Adjustment"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="wallet_entries")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    amount_nano_usd = NanoUsdField()
    reference = models.CharField(max_length=200, unique=True)
    description = models.CharField(max_length=200, blank=True)
    journal = models.OneToOneField(Journal, on_delete=models.PROTECT)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["customer", "created_at"], name="entry_by_customer")]


class EthUsdRate(models.Model):
    """An ETH/USD answer of the price feed, recorded once per feed round."""

    feed_address = models.CharField(max_length=42)
    feed_round = WeiField()
    nano_usd_per_eth = NanoUsdField()
    updated_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["feed_address", "feed_round"], name="one_rate_per_round")]


class Markup(models.Model):
    """What is added to the network cost from a moment on, for one customer or for all without their own; written once.

    The row that came into force last counts. Without `bps` it ends what was before: a customer's falls back to the
    default, the default to the setting.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="markups")
    bps = models.PositiveIntegerField(null=True, blank=True, help_text="Hundredths of a percent.")
    reason = models.CharField(max_length=200)
    valid_from = models.DateTimeField(db_default=Now())
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="markup_at_most_tenfold", condition=models.Q(bps=None) | models.Q(bps__lte=100_000)
            ),
            models.CheckConstraint(
                name="markup_not_backdated", condition=models.Q(valid_from__gte=models.F("made_at"))
            ),
        ]
        indexes = [models.Index(fields=["customer", "-id"], name="markup_by_customer")]


class Usage(models.Model):
    """One charge, exact and written once: the sub-ledger behind account 2100.

    The table is keyed by (customer_id, id) and made in SQL; `id` alone is unique as well.
    """

    id = models.BigIntegerField(primary_key=True)
    customer = models.ForeignKey(Customer, on_delete=models.DO_NOTHING, related_name="usage")
    api_key = models.ForeignKey(ApiKey, on_delete=models.DO_NOTHING, related_name="usage")
    at = models.DateTimeField()
    source = models.UUIDField(help_text="The session of the signer that asked for this charge.")
    label = models.CharField(max_length=256, help_text="What the customer called the work: its app or model.")
    kind = models.CharField(max_length=20, help_text="How units were counted.")
    counterparty = models.CharField(max_length=42, help_text="Address of whoever is paid.")
    quantity = models.IntegerField(help_text="How many pieces were issued.")
    unit = models.CharField(max_length=20, help_text="What a piece is.")
    billed_units = models.DecimalField(max_digits=40, decimal_places=0)
    fee_wei = WeiField(help_text="The fee computed from units and price, rounded up; information only.")
    cost_wei = WeiField(help_text="Expected value handed out, rounded up to whole wei.")
    cost_nano_usd = NanoUsdField(help_text="cost_wei at the recorded rate, rounded up.")
    charge_nano_usd = NanoUsdField(help_text="cost_wei at the recorded rate and markup, rounded up once.")
    markup_bps = models.IntegerField()
    rate = models.ForeignKey(EthUsdRate, on_delete=models.DO_NOTHING, related_name="+")
    journal = models.ForeignKey(Journal, on_delete=models.DO_NOTHING, null=True, related_name="usage")

    class Meta:
        managed = False
        db_table = "billing_usage"
        verbose_name_plural = "usage"


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


class StripeEvent(models.Model):
    """The inbox: an event of the payment provider whose signature was right, kept as it came."""

    event_id = models.CharField(max_length=120, unique=True)
    type = models.CharField(max_length=80)
    object_id = models.CharField(max_length=120)
    payload = models.JSONField()
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    handled_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(db_default=Now(), editable=False)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [models.Index(fields=["not_before"], condition=models.Q(handled_at=None), name="unhandled_events")]
