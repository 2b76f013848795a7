"""The rows of risk: each sign of fraud with a plain reason and its weight."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer, User


class FraudSignal(models.Model):
    """Something about a customer that a careful person would look at; written once, dismissed by staff at most once."""

    class Code(models.TextChoices):
        SHARED_CARD = "shared_card", "Card of another account"
        MANY_CARDS = "many_cards", "Many cards"
        CARD_COUNTRY = "card_country", "Card from another country"
        LOCATION = "location", "Taxed place is not proved"
        BLOCKED_COUNTRY = "blocked_country", "Country we do not serve"
        SIGN_UPS = "sign_ups", "Many sign-ups"
        ALIAS_ADDRESS = "alias_address", "Same mailbox as another account"
        DISPOSABLE_MAIL = "disposable_mail", "Disposable mail address"
        FRAUD_WARNING = "fraud_warning", "Early fraud warning"
        INQUIRY = "inquiry", "The bank inquired"
        DISPUTE = "dispute", "Disputed payment"
        DISPUTE_LOST = "dispute_lost", "Lost dispute"
        DEBT = "debt", "Owes us money"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="fraud_signals")
    code = models.CharField(max_length=20, choices=Code.choices)
    reference = models.CharField(max_length=200, unique=True)
    reason = models.CharField(max_length=300)
    score = models.PositiveSmallIntegerField()
    seen_at = models.DateTimeField(db_default=Now(), editable=False)
    dismissed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    dismissed_at = models.DateTimeField(null=True)
    dismiss_reason = models.CharField(max_length=300, blank=True, db_default="")

    class Meta:
        indexes = [
            models.Index(
                fields=["customer", "-score"], condition=models.Q(dismissed_at=None), name="signals_that_count"
            )
        ]


class FraudCheck(models.Model):
    """An account or a payment that was looked at (`customer:7`, `top_up:<id>`); once is enough."""

    reference = models.CharField(max_length=80, unique=True)
    at = models.DateTimeField(db_default=Now(), editable=False)
