"""The rows of the books: accounts, journals, transfers, wallets and what changed them."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer
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
    """What a customer can spend now; only ledger functions change it.

    `available` is the whole; `promo` is the part of it that is promotional credit, `fresh` the part of the paid rest
    that is not aged yet. `debt` mirrors account 1160; while there is any, nothing is signed.
    """

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, primary_key=True, related_name="wallet")
    available_nano_usd = NanoUsdField(default=0)
    promo_nano_usd = NanoUsdField(default=0, db_default=0)
    fresh_nano_usd = NanoUsdField(default=0, db_default=0)
    debt_nano_usd = NanoUsdField(default=0, db_default=0)
    has_budgets = models.BooleanField(default=False, db_default=False)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(name="wallet_never_below_zero", condition=models.Q(available_nano_usd__gte=0)),
            models.CheckConstraint(
                name="wallet_parts_within_the_whole",
                condition=models.Q(promo_nano_usd__gte=0, fresh_nano_usd__gte=0, debt_nano_usd__gte=0)
                & models.Q(available_nano_usd__gte=models.F("promo_nano_usd") + models.F("fresh_nano_usd")),
            ),
        ]


class WalletEntry(models.Model):
    """A change of a wallet other than usage, with the journal that explains it; written once."""

    class Kind(models.TextChoices):
        TOP_UP = "top_up", "Top-up"
        BANK_TRANSFER = "bank_transfer", "Bank transfer"
        ADJUSTMENT = "adjustment", "Adjustment"
        GRANT = "grant", "Promotional credit"
        GRANT_EXPIRED = "grant_expired", "Promotional credit expired"
        CREDIT_EXPIRED = "credit_expired", "Credit expired"
        REFUND = "refund", "Refund"
        REFUND_RETURNED = "refund_returned", "Refund returned"
        DISPUTE_HOLD = "dispute_hold", "Held for a dispute"
        DISPUTE_RELEASE = "dispute_release", "Released after a dispute"
        DISPUTE_LOST = "dispute_lost", "Lost dispute"
        DEBT_REPAYMENT = "debt_repayment", "Paid what was owed"

    # Of these, promotional credit moves; of all others, paid money.
    PROMOTIONAL = (Kind.GRANT, Kind.GRANT_EXPIRED)

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="wallet_entries")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    amount_nano_usd = NanoUsdField()
    reference = models.CharField(max_length=200, unique=True)
    description = models.CharField(max_length=200, blank=True)
    journal = models.OneToOneField(Journal, on_delete=models.PROTECT)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["customer", "created_at"], name="entry_by_customer")]
