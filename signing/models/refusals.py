"""What signers refused a customer lately, summed up by reason, for the customer's own page."""

from django.db import models

from accounts.models import Customer


class Refusal(models.Model):
    """The refusals of one kind: the last one's words, and how many there were since a day without any."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="refusals")
    code = models.CharField(max_length=60)
    message = models.CharField(max_length=400)
    count = models.BigIntegerField()
    since = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "code"], name="one_refusal_a_kind")]

    def __str__(self) -> str:
        return f"{self.code} of {self.customer_id}"
