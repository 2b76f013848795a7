"""What the payment provider told us: its events, the movements of our balance there, and the payouts."""

from django.db import models
from django.db.models.functions import Now

from billing.fields import NanoUsdField
from billing.models.books import Journal


class StripeEvent(models.Model):
    """The inbox: an event of the payment provider, signed by it or read from its list, kept as it came."""

    class Source(models.TextChoices):
        WEBHOOK = "webhook", "Webhook"
        POLL = "poll", "Poll"

    class Outcome(models.TextChoices):
        WAITING = "", "Waiting"
        SYNCED = "synced", "Synced"
        UNUSED = "unused", "Not used here"

    event_id = models.CharField(max_length=120, unique=True)
    type = models.CharField(max_length=80)
    kind = models.CharField(max_length=40, db_default="", help_text="Kind of the object it is about, such as charge.")
    object_id = models.CharField(max_length=120)
    payload = models.JSONField()
    source = models.CharField(max_length=10, choices=Source.choices, db_default=Source.WEBHOOK)
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    handled_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True, db_default="")
    attempts = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(db_default=Now(), editable=False)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["not_before"], condition=models.Q(handled_at=None), name="unhandled_events"),
            models.Index(fields=["object_id"], condition=models.Q(handled_at=None), name="unhandled_events_by_object"),
        ]


class ProviderCursor(models.Model):
    """How far one of the provider's lists was read. Set back it reads again what is known, and nothing else happens.

    A pass goes from the newest entry down to `since`; `after` is where an unfinished one goes on, and `newest` becomes
    `since` when it is done.
    """

    class Name(models.TextChoices):
        EVENTS = "events", "Events"
        MOVEMENTS = "movements", "Balance transactions"

    name = models.CharField(max_length=20, choices=Name.choices, primary_key=True)
    since = models.DateTimeField()
    newest = models.DateTimeField(null=True, blank=True)
    after = models.CharField(max_length=120, blank=True, db_default="")
    full_day_read_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True, db_default="")


class BalanceTransaction(models.Model):
    """A movement of our balance at the provider, mirrored as it stands there; never changed, only explained.

    `subject` is the object that movements and journals are compared by: a charge, a refund, a dispute, a payout.
    `value_nano_usd` is what the net is worth in the books: exact for dollars; for other currencies at the rate of the
    top-up or payout it belongs to, and unknown until that is known.
    """

    id = models.CharField(max_length=120, primary_key=True)
    amount_cents = models.BigIntegerField()
    fee_cents = models.BigIntegerField()
    net_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    type = models.CharField(max_length=60)
    reporting_category = models.CharField(max_length=60)
    description = models.CharField(max_length=200, blank=True)
    subject = models.CharField(max_length=120)
    source_id = models.CharField(max_length=120, blank=True)
    charge_id = models.CharField(max_length=120, blank=True)
    payment_intent_id = models.CharField(max_length=120, blank=True)
    provider_customer_id = models.CharField(max_length=120, blank=True)
    payout_id = models.CharField(max_length=120, blank=True, help_text="The payout that took it to the bank.")
    created_at = models.DateTimeField()
    available_at = models.DateTimeField()
    mirrored_at = models.DateTimeField(db_default=Now(), editable=False)
    value_nano_usd = NanoUsdField(null=True, blank=True)
    explained_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="net_is_amount_less_fee",
                condition=models.Q(net_cents=models.F("amount_cents") - models.F("fee_cents")),
            ),
        ]
        indexes = [
            models.Index(fields=["subject"], name="movement_by_subject"),
            models.Index(fields=["payment_intent_id"], name="movement_by_payment_intent"),
            models.Index(fields=["created_at"], name="movement_by_time"),
            models.Index(fields=["created_at"], condition=models.Q(explained_at=None), name="unexplained_movements"),
        ]


class ProviderJournal(models.Model):
    """Which movement at the provider a journal on account 1100 tells of."""

    journal = models.OneToOneField(Journal, on_delete=models.PROTECT, primary_key=True, related_name="movement")
    movement = models.ForeignKey(BalanceTransaction, on_delete=models.PROTECT, related_name="journals")


class Payout(models.Model):
    """Money on its way from the provider's balance to our bank, as the provider told last."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        IN_TRANSIT = "in_transit", "On its way"
        PAID = "paid", "Paid"
        FAILED = "failed", "Came back"
        CANCELED = "canceled", "Canceled"

    id = models.CharField(max_length=120, primary_key=True)
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=12, choices=Status.choices)
    automatic = models.BooleanField()
    failure = models.CharField(max_length=80, blank=True)
    trace = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField()
    arrives_at = models.DateTimeField()
    value_nano_usd = NanoUsdField(null=True, blank=True, help_text="What left account 1100 for it.")
    content_read = models.BooleanField(db_default=False, default=False)
    synced_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["-created_at"], name="payouts_newest_first")]


class TieOut(models.Model):
    """One daily comparison of a currency of our balance at the provider with account 1100; written once."""

    currency = models.CharField(max_length=3)
    at = models.DateTimeField(db_default=Now(), editable=False)
    movements = models.BigIntegerField()
    net_cents = models.BigIntegerField()
    provider_cents = models.BigIntegerField(null=True, help_text="What the provider itself says stands there.")
    value_nano_usd = NanoUsdField()
    books_nano_usd = NanoUsdField()
    unexplained = models.BigIntegerField()
    unmatched_journals = models.BigIntegerField()
    oldest_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["-at"], name="tie_outs_newest_first")]

    @property
    def difference_nano_usd(self) -> int:
        return self.books_nano_usd - self.value_nano_usd

    @property
    def agrees(self) -> bool:
        return not (
            self.difference_nano_usd
            or self.unexplained
            or self.unmatched_journals
            or self.provider_cents not in (None, self.net_cents)
        )
