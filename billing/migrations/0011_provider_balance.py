"""The provider's balance as it tells it: movements, payouts, cursors, daily tie-outs."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.fields

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0010_profiles"),
    ]

    operations = [
        migrations.CreateModel(
            name="ProviderCursor",
            fields=[
                (
                    "name",
                    models.CharField(
                        choices=[("events", "Events"), ("movements", "Balance transactions")],
                        max_length=20,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("since", models.DateTimeField()),
                ("newest", models.DateTimeField(blank=True, null=True)),
                ("after", models.CharField(blank=True, db_default="", max_length=120)),
                ("full_day_read_at", models.DateTimeField(blank=True, null=True)),
                ("read_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.CharField(blank=True, db_default="", max_length=300)),
            ],
        ),
        migrations.CreateModel(
            name="BalanceTransaction",
            fields=[
                ("id", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("amount_cents", models.BigIntegerField()),
                ("fee_cents", models.BigIntegerField()),
                ("net_cents", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("type", models.CharField(max_length=60)),
                ("reporting_category", models.CharField(max_length=60)),
                ("description", models.CharField(blank=True, max_length=200)),
                ("subject", models.CharField(max_length=120)),
                ("source_id", models.CharField(blank=True, max_length=120)),
                ("charge_id", models.CharField(blank=True, max_length=120)),
                ("payment_intent_id", models.CharField(blank=True, max_length=120)),
                ("provider_customer_id", models.CharField(blank=True, max_length=120)),
                (
                    "payout_id",
                    models.CharField(blank=True, help_text="The payout that took it to the bank.", max_length=120),
                ),
                ("created_at", models.DateTimeField()),
                ("available_at", models.DateTimeField()),
                (
                    "mirrored_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("value_nano_usd", billing.fields.NanoUsdField(blank=True, null=True)),
                ("explained_at", models.DateTimeField(blank=True, null=True)),
                ("asked_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["subject"], name="movement_by_subject"),
                    models.Index(fields=["payment_intent_id"], name="movement_by_payment_intent"),
                    models.Index(fields=["created_at"], name="movement_by_time"),
                    models.Index(
                        condition=models.Q(("explained_at", None)), fields=["created_at"], name="unexplained_movements"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "net_cents",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("amount_cents"), "-", models.F("fee_cents")
                                ),
                            )
                        ),
                        name="net_is_amount_less_fee",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Payout",
            fields=[
                ("id", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("amount_cents", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("in_transit", "On its way"),
                            ("paid", "Paid"),
                            ("failed", "Came back"),
                            ("canceled", "Canceled"),
                        ],
                        max_length=12,
                    ),
                ),
                ("automatic", models.BooleanField()),
                ("failure", models.CharField(blank=True, max_length=80)),
                ("trace", models.CharField(blank=True, max_length=120)),
                ("created_at", models.DateTimeField()),
                ("arrives_at", models.DateTimeField()),
                (
                    "value_nano_usd",
                    billing.fields.NanoUsdField(blank=True, help_text="What left account 1100 for it.", null=True),
                ),
                ("content_read", models.BooleanField(db_default=False, default=False)),
                ("synced_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "indexes": [models.Index(fields=["-created_at"], name="payouts_newest_first")],
            },
        ),
        migrations.CreateModel(
            name="ProviderJournal",
            fields=[
                (
                    "journal",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="movement",
                        serialize=False,
                        to="billing.journal",
                    ),
                ),
                (
                    "movement",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="journals",
                        to="billing.balancetransaction",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TieOut",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("currency", models.CharField(max_length=3)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("movements", models.BigIntegerField()),
                ("net_cents", models.BigIntegerField()),
                (
                    "provider_cents",
                    models.BigIntegerField(help_text="What the provider itself says stands there.", null=True),
                ),
                ("value_nano_usd", billing.fields.NanoUsdField()),
                ("books_nano_usd", billing.fields.NanoUsdField()),
                ("unexplained", models.BigIntegerField()),
                ("unmatched_journals", models.BigIntegerField()),
                ("oldest_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["-at"], name="tie_outs_newest_first")],
            },
        ),
        migrations.RunSQL((SQL / "provider.sql").read_text()),
    ]
