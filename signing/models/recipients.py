"""What the operator knows of those who are paid: a rule is written once and lifted once, never changed."""

from django.db import models
from django.db.models.functions import Now

from accounts.models import User


class RecipientRule(models.Model):
    """One standing of one address, with who, when and why. Several may stand at once; the strictest decides.

    `reference` names what made the rule where that makes it once only, such as one lost dispute. Each list of sanctions
    has a rule of its own for whom it names: what one of them drops may stand on another.
    """

    class Standing(models.TextChoices):
        LISTED = "listed", "Listed"
        FLAGGED = "flagged", "Flagged"
        FROZEN = "frozen", "Frozen"
        SANCTIONED = "sanctioned", "Sanctioned"

    address = models.CharField(max_length=42)
    standing = models.CharField(max_length=10, choices=Standing.choices)
    label = models.CharField(max_length=120, blank=True)
    reason = models.CharField(max_length=200)
    reference = models.CharField(max_length=120, blank=True)
    set_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    set_at = models.DateTimeField(db_default=Now(), editable=False)
    lifted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    lifted_at = models.DateTimeField(null=True, blank=True)
    lift_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["address", "standing"],
                condition=models.Q(lifted_at=None) & ~models.Q(standing="sanctioned"),
                name="one_standing_rule",
            ),
            models.UniqueConstraint(
                fields=["address", "reference"],
                condition=models.Q(lifted_at=None, standing="sanctioned"),
                name="one_sanction_of_a_list",
            ),
            models.CheckConstraint(name="rule_of_an_address", condition=models.Q(address__regex=r"^0x[0-9a-f]{40}$")),
            models.CheckConstraint(
                name="rule_lifted_for_a_reason",
                condition=models.Q(lifted_at=None, lift_reason="")
                | (models.Q(lifted_at__isnull=False) & ~models.Q(lift_reason="")),
            ),
        ]
        indexes = [models.Index(fields=["address", "-id"], name="rule_by_address")]

    def __str__(self) -> str:
        return f"{self.get_standing_display()} {self.address}"


class LostDispute(models.Model):
    """A lost dispute whose recipients were looked at, so that one that staff clear is not flagged for it again."""

    reference = models.CharField(max_length=120, primary_key=True)
    recipients = models.IntegerField()
    flagged = models.IntegerField()
    handled_at = models.DateTimeField(db_default=Now(), editable=False)
