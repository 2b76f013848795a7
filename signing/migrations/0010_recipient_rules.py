"""Rules about recipients that are written once and lifted once; where sessions come from."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("signing", "0009_refusal_details"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="LostDispute",
            fields=[
                ("reference", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("recipients", models.IntegerField()),
                ("flagged", models.IntegerField()),
                (
                    "handled_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RecipientRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.CharField(max_length=42)),
                (
                    "standing",
                    models.CharField(
                        choices=[
                            ("listed", "Listed"),
                            ("flagged", "Flagged"),
                            ("frozen", "Frozen"),
                            ("sanctioned", "Sanctioned"),
                        ],
                        max_length=10,
                    ),
                ),
                ("label", models.CharField(blank=True, max_length=120)),
                ("reason", models.CharField(max_length=200)),
                ("reference", models.CharField(blank=True, max_length=120)),
                ("set_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("lifted_at", models.DateTimeField(blank=True, null=True)),
                ("lift_reason", models.CharField(blank=True, max_length=200)),
                (
                    "lifted_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "set_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        # The table stays as it was: its rows are taken over, and what ran before can still read it.
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name="Recipient")]),
        migrations.AddIndex(
            model_name="recipientrule",
            index=models.Index(fields=["address", "-id"], name="rule_by_address"),
        ),
        migrations.AddConstraint(
            model_name="recipientrule",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted_at", None)), fields=("address", "standing"), name="one_standing_rule"
            ),
        ),
        migrations.AddConstraint(
            model_name="recipientrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("address__regex", "^0x[0-9a-f]{40}$")), name="rule_of_an_address"
            ),
        ),
        migrations.AddConstraint(
            model_name="recipientrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("lift_reason", ""), ("lifted_at", None)),
                    models.Q(("lifted_at__isnull", False), models.Q(("lift_reason", ""), _negated=True)),
                    _connector="OR",
                ),
                name="rule_lifted_for_a_reason",
            ),
        ),
        migrations.RunSQL((SQL / "recipients.sql").read_text()),
        migrations.RunSQL((SQL / "session_origins.sql").read_text()),
        migrations.RunSQL((SQL / "commit_payments.sql").read_text()),
    ]
