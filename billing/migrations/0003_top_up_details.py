"""What a top-up learns from the provider, retries of the inbox, and usage added up per day."""

from pathlib import Path

import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_roles"),
        ("billing", "0002_books"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="stripeevent",
            name="unhandled_events",
        ),
        migrations.AddField(
            model_name="stripeevent",
            name="not_before",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
        ),
        migrations.AddField(
            model_name="topup",
            name="balance_transaction_id",
            field=models.CharField(blank=True, max_length=120, null=True, unique=True),
        ),
        migrations.AddField(
            model_name="topup",
            name="card",
            field=models.CharField(blank=True, help_text="Brand and last four digits, for the reader.", max_length=40),
        ),
        migrations.AddField(
            model_name="topup",
            name="fee_cents",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="topup",
            name="receipt_url",
            field=models.URLField(blank=True, max_length=2000),
        ),
        migrations.AlterField(
            model_name="topup",
            name="checkout_url",
            field=models.URLField(blank=True, max_length=2000),
        ),
        migrations.AddIndex(
            model_name="stripeevent",
            index=models.Index(
                condition=models.Q(("handled_at", None)), fields=["not_before"], name="unhandled_events"
            ),
        ),
        migrations.AddIndex(
            model_name="topup",
            index=models.Index(
                condition=models.Q(
                    ("status__in", ["started", "open"]),
                    models.Q(("balance_transaction_id", None), ("status", "paid")),
                    _connector="OR",
                ),
                fields=["created_at"],
                name="unfinished_top_ups",
            ),
        ),
        migrations.RunSQL((SQL / "day_totals.sql").read_text()),
    ]
