"""Makes the rows of sender keys and of who pays by which, and the function that decides it once."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("signing", "0005_discovery"),
    ]

    operations = [
        migrations.CreateModel(
            name="SenderKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.CharField(max_length=42, unique=True)),
                ("label", models.CharField(blank=True, max_length=120)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("active", models.BooleanField(default=False)),
                ("activated_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("active", False), ("activated_at__isnull", False), _connector="OR"),
                        name="active_since",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SenderPin",
            fields=[
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="sender_pin",
                        serialize=False,
                        to="accounts.customer",
                    ),
                ),
                ("address", models.CharField(max_length=42)),
                ("pinned_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "indexes": [models.Index(fields=["address"], name="pin_by_address")],
            },
        ),
        migrations.RunSQL((SQL / "sender_keys.sql").read_text()),
        migrations.RunSQL((SQL / "commit_payments.sql").read_text()),
    ]
