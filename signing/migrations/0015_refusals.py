"""What signers refused customers lately, for their own page."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_holds"),
        ("signing", "0014_first_price"),
    ]

    operations = [
        migrations.CreateModel(
            name="Refusal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(max_length=60)),
                ("message", models.CharField(max_length=400)),
                ("count", models.BigIntegerField()),
                ("since", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="refusals", to="accounts.customer"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("customer", "code"), name="one_refusal_a_kind")],
            },
        ),
        migrations.RunSQL((SQL / "refusals.sql").read_text()),
    ]
