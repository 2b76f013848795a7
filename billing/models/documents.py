"""The rows of documents: who sells, which number comes next, what was issued, its file and its mail."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer
from billing.fields import NanoUsdField
from billing.models.books import Journal
from billing.models.top_ups import TopUp


class LegalEntity(models.Model):
    """A seller that issues documents under series of its own; documents carry it as it was when they were issued."""

    code = models.CharField(max_length=8, unique=True, help_text="Begins every number, such as CH.")
    name = models.CharField(max_length=200)
    address = models.JSONField(default=list, help_text="The lines of the address without the country.")
    country = models.CharField(max_length=2)
    tax_id = models.CharField(max_length=40, blank=True)
    email = models.EmailField(blank=True)

    class Meta:
        verbose_name_plural = "legal entities"

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


class DocumentKind(models.TextChoices):
    RECEIPT = "receipt", "Receipt"
    CREDIT_NOTE = "credit_note", "Credit note"
    DEBIT_NOTE = "debit_note", "Debit note"
    PRO_FORMA = "pro_forma", "Pro-forma"


class DocumentCounter(models.Model):
    """The last number given in one series; its row is locked until the transaction that takes the next one ends."""

    entity = models.ForeignKey(LegalEntity, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=20, choices=DocumentKind.choices)
    year = models.PositiveSmallIntegerField()
    last = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["entity", "kind", "year"], name="one_counter_per_series")]


class Document(models.Model):
    """A numbered document: `snapshot` says everything that stands on it; written once.

    `reference` is what it was issued for (`receipt:<top-up>`), so that twice gives the same document. Totals are in
    the smallest unit of `currency`; the `*_nano_usd` are what `journal` booked.
    """

    Kind = DocumentKind

    entity = models.ForeignKey(LegalEntity, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=20, choices=DocumentKind.choices)
    year = models.PositiveSmallIntegerField()
    sequence = models.PositiveIntegerField()
    number = models.CharField(max_length=40, unique=True)
    reference = models.CharField(max_length=200, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="documents")
    top_up = models.ForeignKey(TopUp, on_delete=models.PROTECT, null=True, related_name="documents")
    corrects = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="corrections")
    journal = models.ForeignKey(Journal, on_delete=models.PROTECT, null=True, related_name="+")
    currency = models.CharField(max_length=3)
    net_cents = models.BigIntegerField()
    tax_cents = models.BigIntegerField()
    total_cents = models.BigIntegerField()
    tax_nano_usd = NanoUsdField(default=0)
    total_nano_usd = NanoUsdField(default=0)
    snapshot = models.JSONField()
    snapshot_sha256 = models.CharField(max_length=64)
    issued_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["entity", "kind", "year", "sequence"], name="one_document_per_number"),
            models.UniqueConstraint(
                fields=["top_up"], condition=models.Q(kind="receipt"), name="one_receipt_per_top_up"
            ),
            models.CheckConstraint(
                name="document_adds_up",
                condition=models.Q(total_cents=models.F("net_cents") + models.F("tax_cents")),
            ),
        ]
        indexes = [models.Index(fields=["customer", "issued_at"], name="document_by_customer")]

    def __str__(self) -> str:
        return self.number


class DocumentFile(models.Model):
    """A document's file as it was first made; written once, and given out byte for byte ever after."""

    document = models.OneToOneField(Document, on_delete=models.PROTECT, related_name="file")
    content = models.BinaryField()
    sha256 = models.CharField(max_length=64)
    made_at = models.DateTimeField(db_default=Now(), editable=False)


class DocumentMail(models.Model):
    """The wish to mail a document, written with it; the clock sends it."""

    document = models.OneToOneField(Document, on_delete=models.PROTECT, related_name="mail")
    to = models.EmailField()
    attempts = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [models.Index(fields=["not_before"], condition=models.Q(sent_at=None), name="unsent_documents")]
