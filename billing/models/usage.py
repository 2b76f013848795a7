"""The rows behind a charge: exact usage, the rates and the markups it was priced with."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import ApiKey, Customer, User
from billing.fields import NanoUsdField, WeiField
from billing.models.books import Journal


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
    promo_nano_usd = NanoUsdField(help_text="The part of the charge that promotional credit paid.")
    fresh_nano_usd = NanoUsdField(help_text="The part that was paid with money that was not aged yet.")
    markup_bps = models.IntegerField()
    rate = models.ForeignKey(EthUsdRate, on_delete=models.DO_NOTHING, related_name="+")
    journal = models.ForeignKey(Journal, on_delete=models.DO_NOTHING, null=True, related_name="usage")

    class Meta:
        managed = False
        db_table = "billing_usage"
        verbose_name_plural = "usage"
