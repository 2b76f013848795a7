"""Letters to the owners of accounts, written with what they tell."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_terms"),
    ]

    operations = [
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reference", models.CharField(max_length=200)),
                ("to", models.EmailField(max_length=254)),
                ("letter", models.JSONField()),
                (
                    "written_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("not_before", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("attempts", models.PositiveSmallIntegerField(db_default=0)),
                ("sent_at", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, db_default="", max_length=60)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="notices", to="accounts.customer"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("sent_at", None)), fields=["not_before"], name="notices_that_wait"
                    ),
                    models.Index(fields=["customer", "-id"], name="notice_by_customer"),
                ],
                "constraints": [models.UniqueConstraint(fields=("reference", "to"), name="one_notice_of_a_fact")],
            },
        ),
        migrations.RunSQL((SQL / "notices.sql").read_text()),
    ]
