"""Markups with the time from which each is in force."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_mails_and_key_names"),
        ("billing", "0003_top_up_details"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Markup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("bps", models.PositiveIntegerField(blank=True, help_text="Hundredths of a percent.", null=True)),
                ("reason", models.CharField(max_length=200)),
                ("valid_from", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "customer",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="markups",
                        to="accounts.customer",
                    ),
                ),
                (
                    "made_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["customer", "-id"], name="markup_by_customer")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("bps", None), ("bps__lte", 100000), _connector="OR"),
                        name="markup_at_most_tenfold",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("valid_from__gte", models.F("made_at"))), name="markup_not_backdated"
                    ),
                ],
            },
        ),
        migrations.RunSQL((SQL / "markups.sql").read_text()),
    ]
