"""Lines of our bank and the transfers that customers said they would make."""

import uuid
from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0012_budgets"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="BankTransfer",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("reference", models.CharField(max_length=20, unique=True)),
                ("asked_cents", models.BigIntegerField(help_text="Net and tax, as the pro-forma says.")),
                ("po_number", models.CharField(blank=True, max_length=60)),
                ("due_at", models.DateTimeField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "top_up",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="bank_transfer", to="billing.topup"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="BankLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("booked_on", models.DateField()),
                ("amount_cents", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("reference", models.CharField(blank=True, max_length=200)),
                ("counterparty", models.CharField(blank=True, max_length=200)),
                ("fingerprint", models.CharField(max_length=64, unique=True)),
                ("file_name", models.CharField(blank=True, max_length=120)),
                (
                    "entered_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("ignored_because", models.CharField(blank=True, db_default="", max_length=200)),
                ("matched_at", models.DateTimeField(blank=True, null=True)),
                (
                    "entered_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "journal",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.journal",
                    ),
                ),
                (
                    "matched_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "payout",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="bank_lines",
                        to="billing.payout",
                    ),
                ),
                (
                    "top_up",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="bank_line",
                        to="billing.topup",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["-booked_on", "-id"], name="bank_lines_newest_first"),
                    models.Index(condition=models.Q(("journal", None)), fields=["id"], name="bank_lines_not_booked"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount_cents", 0), _negated=True), name="bank_line_moves_money"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("payout", None), ("top_up", None)),
                            models.Q(("ignored_because", ""), ("payout", None)),
                            models.Q(("ignored_because", ""), ("top_up", None)),
                            _connector="OR",
                        ),
                        name="bank_line_is_one_thing",
                    ),
                ],
            },
        ),
        migrations.RunSQL((SQL / "bank.sql").read_text()),
    ]
