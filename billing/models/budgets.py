"""The rows of spending limits: what an account or one of its keys may spend in a day, a month or at all."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import ApiKey, Customer, User
from billing.fields import NanoUsdField


class Budget(models.Model):
    """A hard limit of an account (without a key) or of one API key, with its counter; ledger functions write it.

    A limit is never changed: another one takes its place, and it is kept as lifted. What was spent counts from the
    first day of the period, in UTC, whenever the limit was set.
    """

    class Period(models.TextChoices):
        DAY = "day", "a day"
        MONTH = "month", "a month"
        TOTAL = "total", "in all"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="budgets")
    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="budgets")
    period = models.CharField(max_length=5, choices=Period.choices)
    limit_nano_usd = NanoUsdField()
    period_start = models.DateField(help_text="First day of the period that `spent` counts.")
    spent_nano_usd = NanoUsdField()
    set_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    set_at = models.DateTimeField(db_default=Now())
    lifted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="budget_of_a_positive_amount",
                condition=models.Q(limit_nano_usd__gt=0, spent_nano_usd__gte=0),
            ),
            models.UniqueConstraint(
                fields=["customer", "period"],
                condition=models.Q(lifted_at=None, api_key=None),
                name="one_budget_per_account_and_period",
            ),
            models.UniqueConstraint(
                fields=["customer", "api_key", "period"],
                condition=models.Q(lifted_at=None),
                name="one_budget_per_key_and_period",
            ),
        ]
