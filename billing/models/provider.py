"""What the payment provider told us: the inbox of its events."""

from django.db import models
from django.db.models.functions import Now


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
