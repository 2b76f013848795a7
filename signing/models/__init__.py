"""The rows of the product: sessions and payments of the signer, chain events, redemptions and the treasury."""

import uuid

from django.db import models
from django.db.models.functions import Now

from accounts.models import ApiKey, Customer, User
from billing.fields import NanoUsdField, WeiField
from billing.models import Journal
from signing.models.recipients import LostDispute as LostDispute
from signing.models.recipients import RecipientRule as RecipientRule
from signing.models.refusals import Refusal as Refusal


class SignerSession(models.Model):
    """The truth behind a state blob: one row per payment session, keyed by (customer_id, id) in SQL."""

    id = models.UUIDField(primary_key=True)
    customer = models.ForeignKey(Customer, on_delete=models.DO_NOTHING, related_name="sessions")
    api_key = models.ForeignKey(ApiKey, on_delete=models.DO_NOTHING, related_name="sessions")
    sender = models.CharField(max_length=42)
    orchestrator = models.CharField(max_length=42)
    orchestrator_url = models.CharField(max_length=300)
    recipient = models.CharField(max_length=42)
    app = models.CharField(max_length=256)
    kind = models.CharField(max_length=20)
    manifest_id = models.CharField(max_length=128)
    sequence = models.BigIntegerField()
    recipient_rand_hash = models.BinaryField()
    sender_nonce = models.BigIntegerField()
    balance_wei = models.TextField(help_text="Exact rational p/q of wei credited but not yet used.")
    initial_price_per_unit = models.BigIntegerField()
    initial_pixels_per_unit = models.BigIntegerField()
    opened_at = models.DateTimeField()
    last_update = models.DateTimeField()
    client_ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=200)
    last_client_ip = models.GenericIPAddressField(null=True)
    last_user_agent = models.CharField(max_length=200)
    gateway_request_id = models.CharField(max_length=128)
    attribution_source = models.CharField(max_length=64)

    class Meta:
        managed = False
        db_table = "signing_session"


class Payment(models.Model):
    """The tickets of one answer: what is needed to recognise each of them on the chain."""

    id = models.BigIntegerField(primary_key=True)
    customer = models.ForeignKey(Customer, on_delete=models.DO_NOTHING, related_name="payments")
    session = models.ForeignKey(SignerSession, on_delete=models.DO_NOTHING, related_name="payments")
    usage_id = models.BigIntegerField(unique=True)
    sender = models.CharField(max_length=42)
    recipient = models.CharField(max_length=42)
    recipient_rand_hash = models.BinaryField()
    first_nonce = models.BigIntegerField()
    tickets = models.IntegerField()
    face_value_wei = WeiField()
    win_prob = WeiField()
    creation_round = models.BigIntegerField()
    creation_round_block_hash = models.BinaryField()
    issued_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "signing_payment"


class ChainCursor(models.Model):
    """How far the broker's events were read for one purpose and one sender."""

    name = models.CharField(max_length=80, primary_key=True)
    block_number = models.BigIntegerField()
    block_hash = models.CharField(max_length=66)
    updated_at = models.DateTimeField(db_default=Now())


class ChainEvent(models.Model):
    """One event of the TicketBroker that concerns a sender of ours; booked at the finality tag."""

    chain_id = models.BigIntegerField()
    block_number = models.BigIntegerField()
    block_hash = models.CharField(max_length=66)
    block_time = models.DateTimeField()
    tx_hash = models.CharField(max_length=66)
    log_index = models.IntegerField()
    sender = models.CharField(max_length=42)
    name = models.CharField(max_length=40)
    arguments = models.JSONField()
    seen_at = models.DateTimeField(db_default=Now())
    booked_at = models.DateTimeField(null=True)
    journal = models.ForeignKey(Journal, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain_id", "tx_hash", "log_index"], name="one_row_per_log")]
        indexes = [models.Index(fields=["block_number", "log_index"], name="event_by_block")]


class Redemption(models.Model):
    """A winning ticket that was redeemed: what it was worth, what was paid and whose it was."""

    event = models.OneToOneField(ChainEvent, on_delete=models.CASCADE, related_name="redemption")
    ticket_hash = models.CharField(max_length=66, unique=True)
    sender = models.CharField(max_length=42)
    recipient = models.CharField(max_length=42)
    face_value_wei = WeiField()
    paid_wei = WeiField()
    from_reserve_wei = WeiField(default=0)
    payment = models.ForeignKey(
        Payment, on_delete=models.DO_NOTHING, null=True, related_name="redemptions", db_constraint=False
    )
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, related_name="redemptions")
    sender_nonce = models.BigIntegerField()
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["customer", "seen_at"], name="redemption_by_customer")]


class ChainSnapshot(models.Model):
    """What the chain said of one sender at one block, for pages and forecasts."""

    sender = models.CharField(max_length=42)
    block_number = models.BigIntegerField()
    l1_block_number = models.BigIntegerField()
    deposit_wei = WeiField()
    reserve_wei = WeiField()
    withdraw_round = models.BigIntegerField()
    current_round = models.BigIntegerField()
    last_initialized_round = models.BigIntegerField()
    pool_size = models.IntegerField()
    treasury_wei = WeiField()
    sender_wei = WeiField()
    read_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["sender", "-read_at"], name="snapshot_by_time")]


class TreasuryTransaction(models.Model):
    """A chain transaction somebody asked for; the treasury worker signs it once and sends it until it is mined."""

    class Status(models.TextChoices):
        REQUESTED = "requested", "Requested"
        SIGNED = "signed", "Signed"
        SENT = "sent", "Sent"
        CONFIRMED = "confirmed", "Confirmed"
        FAILED = "failed", "Failed"

    class Kind(models.TextChoices):
        FUND = "fund", "Fund deposit and reserve"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.FUND)
    sender = models.CharField(max_length=42)
    deposit_wei = WeiField(default=0)
    reserve_wei = WeiField(default=0)
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField(db_default=Now(), editable=False)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.REQUESTED)
    from_address = models.CharField(max_length=42, blank=True)
    nonce = models.BigIntegerField(null=True, blank=True)
    raw_transaction = models.BinaryField(null=True, blank=True)
    tx_hash = models.CharField(max_length=66, blank=True)
    block_number = models.BigIntegerField(null=True, blank=True)
    gas_cost_wei = WeiField(null=True, blank=True)
    gas_journal = models.ForeignKey(Journal, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    error = models.CharField(max_length=300, blank=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["from_address", "nonce"],
                condition=models.Q(nonce__isnull=False),
                name="one_tx_per_nonce",
            ),
            models.CheckConstraint(
                name="funds_something", condition=models.Q(deposit_wei__gt=0) | models.Q(reserve_wei__gt=0)
            ),
        ]


class SenderKey(models.Model):
    """A key that signs tickets, by its lower-case address. The one activated last takes the new customers."""

    address = models.CharField(max_length=42, unique=True)
    label = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    active = models.BooleanField(default=False)
    activated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="active_since", condition=models.Q(active=False) | models.Q(activated_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return self.address


class SenderPin(models.Model):
    """The address a customer pays from; its tickets, nonces and sessions belong to that key."""

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, primary_key=True, related_name="sender_pin")
    address = models.CharField(max_length=42)
    pinned_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["address"], name="pin_by_address")]


class SenderIntroduction(models.Model):
    """A sender's signature over its own address, written by the signer, with which the worker asks for offers."""

    address = models.CharField(max_length=42, primary_key=True)
    signature = models.BinaryField()
    made_at = models.DateTimeField(db_default=Now())


class OrchestratorSource(models.Model):
    """What one place said of which orchestrators there are; `members` are [owner, address], of the registry by stake.

    What a source said last stands until it says something else.
    """

    OPERATOR, WEBHOOK, REGISTRY = "operator", "webhook", "registry"

    name = models.CharField(max_length=20, primary_key=True)
    members = models.JSONField(default=list)
    due_at = models.DateTimeField(db_default=Now())
    read_at = models.DateTimeField(null=True)
    trouble = models.CharField(max_length=120, blank=True)


class Orchestrator(models.Model):
    """What an orchestrator answered last, each of its two answers with its time; nothing in them is signed."""

    address = models.CharField(max_length=255, primary_key=True)
    info = models.JSONField(null=True)
    info_read_at = models.DateTimeField(null=True)
    runners = models.JSONField(null=True)
    runners_read_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(db_default=Now())
    failures = models.SmallIntegerField(default=0)
    trouble = models.CharField(max_length=120, blank=True)
    first_seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="orchestrator_by_due")]


class Stop(models.Model):
    """A kill switch somebody threw: while it is not lifted, every signer refuses what it names.

    `subject` is empty for everything, the number of a customer or an API key, or a lower-case address.
    """

    class Scope(models.TextChoices):
        ALL = "all", "All signing"
        CUSTOMER = "customer", "One customer"
        API_KEY = "api_key", "One API key"
        RECIPIENT = "recipient", "One recipient"
        SENDER = "sender", "One sender key"

    scope = models.CharField(max_length=10, choices=Scope.choices)
    subject = models.CharField(max_length=42, blank=True)
    reason = models.CharField(max_length=200)
    set_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    set_at = models.DateTimeField(db_default=Now(), editable=False)
    lifted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "subject"], condition=models.Q(lifted_at=None), name="one_standing_stop"
            ),
            models.CheckConstraint(
                name="all_has_no_subject",
                condition=models.Q(scope="all", subject="") | (~models.Q(scope="all") & ~models.Q(subject="")),
            ),
            models.CheckConstraint(
                name="lifted_by_somebody",
                condition=models.Q(lifted_at=None, lifted_by=None)
                | models.Q(lifted_at__isnull=False, lifted_by__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_scope_display()} {self.subject}".strip()


class PriceCeiling(models.Model):
    """The most an orchestrator may ask for `per_units` units, before markup; written once.

    Of one scope, subject and unit the row that came into force last counts. Without a limit it ends what was before.
    """

    class Scope(models.TextChoices):
        GLOBAL = "global", "Everything"
        CAPABILITY = "capability", "One capability or model"
        CUSTOMER = "customer", "One customer"
        API_KEY = "api_key", "One API key"

    class Unit(models.TextChoices):
        PIXEL = "pixel", "pixel"
        SECOND = "second", "second"
        JOB = "job", "job"

    scope = models.CharField(max_length=10, choices=Scope.choices)
    capability = models.IntegerField(null=True, blank=True, help_text="The network's number of the capability.")
    model = models.CharField(max_length=256, blank=True, help_text="Empty: all models of the capability without one.")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    unit = models.CharField(max_length=6, choices=Unit.choices)
    limit_wei = WeiField(null=True, blank=True)
    limit_nano_usd = NanoUsdField(null=True, blank=True)
    per_units = models.BigIntegerField(default=1)
    valid_from = models.DateTimeField(db_default=Now())
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="ceiling_has_its_subject",
                condition=models.Q(scope="global", capability=None, model="", customer=None, api_key=None)
                | models.Q(scope="capability", capability__isnull=False, customer=None, api_key=None)
                | models.Q(scope="customer", capability=None, model="", customer__isnull=False, api_key=None)
                | models.Q(scope="api_key", capability=None, model="", customer=None, api_key__isnull=False),
            ),
            models.CheckConstraint(
                name="ceiling_in_one_currency",
                condition=(models.Q(limit_wei=None) | models.Q(limit_nano_usd=None))
                & (models.Q(limit_wei=None) | models.Q(limit_wei__gt=0))
                & (models.Q(limit_nano_usd=None) | models.Q(limit_nano_usd__gt=0)),
            ),
            models.CheckConstraint(name="ceiling_per_something", condition=models.Q(per_units__gt=0)),
            models.CheckConstraint(
                name="ceiling_not_backdated", condition=models.Q(valid_from__gte=models.F("made_at"))
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "-id"], name="ceiling_by_customer"),
            models.Index(fields=["api_key", "-id"], name="ceiling_by_key"),
        ]
