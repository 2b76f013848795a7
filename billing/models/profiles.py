"""The rows of billing profiles: who a customer is on documents, and what registers said of its tax id."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer, User


class TaxIdState(models.TextChoices):
    NONE = "none", "Not given"
    PENDING = "pending", "Being checked"
    VALID = "valid", "Valid"
    INVALID = "invalid", "Not valid"
    UNREACHABLE = "unreachable", "Register does not answer"


class TaxIdKind(models.TextChoices):
    EU_VAT = "eu_vat", "VAT id"
    GB_VAT = "gb_vat", "VAT number"
    NO_VAT = "no_vat", "MVA number"
    CH_VAT = "ch_vat", "VAT number"
    OTHER = "other", "Tax id"


class BillingProfile(models.Model):
    """Who a customer is on documents from now on. A changed tax id is pending until it was checked (by trigger)."""

    customer = models.OneToOneField(
        Customer, on_delete=models.PROTECT, primary_key=True, related_name="billing_profile"
    )
    legal_name = models.CharField(max_length=200)
    line1 = models.CharField(max_length=200)
    line2 = models.CharField(max_length=200, blank=True)
    postal_code = models.CharField(max_length=20, blank=True)
    city = models.CharField(max_length=100)
    region = models.CharField(max_length=40, blank=True, help_text="A state of the US by its two letters.")
    country = models.CharField(max_length=2)
    invoice_email = models.EmailField(blank=True)
    po_number = models.CharField(max_length=60, blank=True)
    tax_id_kind = models.CharField(max_length=10, choices=TaxIdKind.choices, blank=True)
    tax_id = models.CharField(max_length=40, blank=True)
    tax_id_state = models.CharField(
        max_length=12, choices=TaxIdState.choices, default=TaxIdState.NONE, db_default="none"
    )
    tax_id_checked_at = models.DateTimeField(null=True, blank=True)
    tax_id_source = models.CharField(max_length=40, default="", db_default="", blank=True)
    consultation_number = models.CharField(max_length=80, default="", db_default="", blank=True)
    check_attempts = models.PositiveIntegerField(default=0, db_default=0)
    check_not_before = models.DateTimeField(db_default=Now())
    told_provider = models.CharField(
        max_length=64, default="", db_default="", blank=True, help_text="What the provider knows of it, as a hash."
    )
    updated_at = models.DateTimeField(db_default=Now())
    updated_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")


class TaxIdCheck(models.Model):
    """One answer about one tax id; written once."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    tax_id = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=TaxIdState.choices)
    source = models.CharField(max_length=40, help_text="check digits, or the register that was asked.")
    consultation_number = models.CharField(max_length=80, blank=True)
    name = models.CharField(max_length=300, blank=True)
    address = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField()
