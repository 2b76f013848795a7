"""The rows of tax: where a seller is registered, when tax falls due, and what tax a top-up carries."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from billing.models.documents import Document, LegalEntity
from billing.models.top_ups import TopUp


class TaxRegistration(models.Model):
    """Where a seller collects tax from a moment on; of several for one jurisdiction the newest counts."""

    entity = models.ForeignKey(LegalEntity, on_delete=models.PROTECT, related_name="registrations")
    jurisdiction = models.CharField(
        max_length=8, help_text="A country (DE), a state of the US (US-CA), or EU for the one-stop shop."
    )
    number = models.CharField(max_length=40, blank=True, help_text="The number of the registration, for documents.")
    collects = models.BooleanField(default=True, db_default=True)
    valid_from = models.DateTimeField(db_default=Now())
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    made_at = models.DateTimeField(db_default=Now(), editable=False)


class TaxMode(models.Model):
    """When the tax of a country's customers falls due; of several the newest counts, one without country for all."""

    class Mode(models.TextChoices):
        AT_TOP_UP = "at_top_up", "With the top-up"
        AT_USE = "at_use", "With the use"

    entity = models.ForeignKey(LegalEntity, on_delete=models.PROTECT, related_name="+")
    country = models.CharField(max_length=2, blank=True)
    mode = models.CharField(max_length=10, choices=Mode.choices)
    valid_from = models.DateTimeField(db_default=Now())
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    made_at = models.DateTimeField(db_default=Now(), editable=False)


class TopUpTax(models.Model):
    """What tax a top-up carries and why, as it was worked out before the customer was asked to pay; written once.

    `breakdown`: jurisdiction, name, rate_percent, base_cents, tax_cents and the provider's reason of each tax.
    `agrees` is false where the provider's figures differ from our own rules: finance looks at those.
    """

    top_up = models.OneToOneField(TopUp, on_delete=models.PROTECT, primary_key=True, related_name="tax")
    entity = models.ForeignKey(LegalEntity, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=10, choices=TaxMode.Mode.choices)
    treatment = models.CharField(max_length=20)
    country = models.CharField(max_length=2)
    region = models.CharField(max_length=40, blank=True)
    tax_id = models.CharField(max_length=40, blank=True)
    tax_id_state = models.CharField(max_length=12)
    ip = models.GenericIPAddressField(null=True)
    breakdown = models.JSONField(default=list)
    calculation_id = models.CharField(max_length=120, blank=True, help_text="The provider's, when we asked for it.")
    agrees = models.BooleanField()
    made_at = models.DateTimeField(db_default=Now(), editable=False)


class TaxRecord(models.Model):
    """What the provider's tax reports are to be told of one document; written with it, told by the clock.

    Only of payments without a page of the provider: of its own pages it keeps the records itself. A sale is what a
    receipt says, or what a debit note takes up again; a reversal is what a credit note gives back of a sale. Both
    `net_cents` and `tax_cents` are positive, in minor units; `told_tax_cents` is the tax as the provider recorded it.
    """

    class Kind(models.TextChoices):
        SALE = "sale", "Collected"
        REVERSAL = "reversal", "Given back"

    class State(models.TextChoices):
        DUE = "due", "To be told"
        RECORDED = "recorded", "Recorded"
        REFUSED = "refused", "Refused"

    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="tax_records")
    top_up = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="tax_records")
    reference = models.CharField(max_length=80, unique=True, help_text="Ours; the provider takes it once.")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    original = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="reversals")
    currency = models.CharField(max_length=3)
    net_cents = models.PositiveIntegerField()
    tax_cents = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, db_default=State.DUE)
    calculation_id = models.CharField(max_length=120, blank=True, db_default="")
    provider_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    line_id = models.CharField(max_length=120, blank=True, db_default="")
    told_tax_cents = models.IntegerField(null=True)
    attempt = models.PositiveSmallIntegerField(db_default=1)
    tries = models.PositiveIntegerField(db_default=0)
    not_before = models.DateTimeField(db_default=Now())
    failure = models.CharField(max_length=200, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    recorded_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["not_before"], condition=models.Q(state="due"), name="taxes_to_be_told"),
        ]
        constraints = [
            models.CheckConstraint(
                name="tax_reversal_has_its_sale",
                condition=models.Q(kind="sale", original=None) | models.Q(kind="reversal", original__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.reference
