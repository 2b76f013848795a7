"""Refunds, disputes, fraud warnings and signs of fraud, and who may write them."""

import uuid
from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import billing.fields

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_holds"),
        ("billing", "0013_bank"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FraudWarning",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("provider_id", models.CharField(max_length=120, unique=True)),
                ("charge_id", models.CharField(max_length=120)),
                ("kind", models.CharField(max_length=60)),
                ("warned_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fraud_warnings",
                        to="accounts.customer",
                    ),
                ),
                (
                    "top_up",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="fraud_warnings", to="billing.topup"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("account", "Asked for on the wallet page"),
                            ("provider", "Made at the payment provider"),
                        ],
                        db_default="account",
                        max_length=10,
                    ),
                ),
                ("amount_nano_usd", billing.fields.NanoUsdField()),
                ("reason", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("requested", "On its way"),
                            ("done", "Refunded"),
                            ("partly", "Refunded in part"),
                            ("returned", "Not refunded"),
                        ],
                        db_default="requested",
                        max_length=10,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("approved_at", models.DateTimeField(null=True)),
                ("stopped_at", models.DateTimeField(null=True)),
                ("stop_reason", models.CharField(blank=True, db_default="", max_length=200)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "approval",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.approval"
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="refunds", to="accounts.customer"
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "stopped_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RefundPart",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("currency", models.CharField(max_length=3)),
                ("net_cents", models.PositiveIntegerField()),
                ("tax_cents", models.PositiveIntegerField(db_default=0)),
                ("tax_parts", models.JSONField(db_default={})),
                ("credit_nano_usd", billing.fields.NanoUsdField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("planned", "Waiting"),
                            ("sending", "Being sent"),
                            ("pending", "On its way to the card"),
                            ("succeeded", "Refunded"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                        ],
                        db_default="planned",
                        max_length=10,
                    ),
                ),
                ("attempt", models.PositiveSmallIntegerField(db_default=1)),
                ("provider_id", models.CharField(blank=True, max_length=120, null=True, unique=True)),
                ("balance_transaction_id", models.CharField(blank=True, max_length=120, null=True, unique=True)),
                ("failure_transaction_id", models.CharField(blank=True, max_length=120, null=True, unique=True)),
                ("card_reference", models.CharField(blank=True, db_default="", max_length=60)),
                ("failure", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("sent_at", models.DateTimeField(null=True)),
                ("checked_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "refund",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="parts", to="billing.refund"
                    ),
                ),
                (
                    "top_up",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="refund_parts", to="billing.topup"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("provider_id", models.CharField(max_length=120, unique=True)),
                ("charge_id", models.CharField(max_length=120)),
                ("amount_cents", models.PositiveIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("amount_nano_usd", billing.fields.NanoUsdField()),
                ("reason", models.CharField(max_length=60)),
                ("provider_status", models.CharField(max_length=40)),
                (
                    "stage",
                    models.CharField(
                        choices=[
                            ("new", "Just seen"),
                            ("inquiry", "The bank inquires"),
                            ("open", "Disputed"),
                            ("won", "Won"),
                            ("lost", "Lost"),
                            ("closed", "Inquiry closed"),
                        ],
                        db_default="open",
                        max_length=10,
                    ),
                ),
                ("withdrawn_nano_usd", billing.fields.NanoUsdField(db_default=0)),
                ("fee_nano_usd", billing.fields.NanoUsdField(db_default=0)),
                ("frozen_nano_usd", billing.fields.NanoUsdField(db_default=0)),
                ("covered_nano_usd", billing.fields.NanoUsdField(db_default=0)),
                ("relieved_nano_usd", billing.fields.NanoUsdField(db_default=0)),
                ("owed_nano_usd", billing.fields.NanoUsdField(db_default=0)),
                ("opened_at", models.DateTimeField()),
                ("evidence_due_at", models.DateTimeField(null=True)),
                ("evidence_sent_at", models.DateTimeField(null=True)),
                ("seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("checked_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="disputes", to="accounts.customer"
                    ),
                ),
                (
                    "evidence_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "top_up",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="disputes", to="billing.topup"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["customer", "-opened_at"], name="dispute_by_customer"),
                    models.Index(
                        condition=models.Q(("stage__in", ["new", "inquiry", "open"])),
                        fields=["seen_at"],
                        name="disputes_open",
                    ),
                    models.Index(fields=["charge_id"], name="dispute_by_charge"),
                ],
            },
        ),
        migrations.CreateModel(
            name="FraudSignal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "code",
                    models.CharField(
                        choices=[
                            ("shared_card", "Card of another account"),
                            ("many_cards", "Many cards"),
                            ("card_country", "Card from another country"),
                            ("blocked_country", "Country we do not serve"),
                            ("sign_ups", "Many sign-ups"),
                            ("alias_address", "Same mailbox as another account"),
                            ("disposable_mail", "Disposable mail address"),
                            ("fraud_warning", "Early fraud warning"),
                            ("inquiry", "The bank inquired"),
                            ("dispute", "Disputed payment"),
                            ("dispute_lost", "Lost dispute"),
                            ("debt", "Owes us money"),
                        ],
                        max_length=20,
                    ),
                ),
                ("reference", models.CharField(max_length=200, unique=True)),
                ("reason", models.CharField(max_length=300)),
                ("score", models.PositiveSmallIntegerField()),
                ("seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("dismissed_at", models.DateTimeField(null=True)),
                ("dismiss_reason", models.CharField(blank=True, db_default="", max_length=300)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fraud_signals",
                        to="accounts.customer",
                    ),
                ),
                (
                    "dismissed_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("dismissed_at", None)),
                        fields=["customer", "-score"],
                        name="signals_that_count",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="refund",
            index=models.Index(fields=["customer", "-created_at"], name="refund_by_customer"),
        ),
        migrations.AddIndex(
            model_name="refund",
            index=models.Index(
                condition=models.Q(("status", "requested")), fields=["created_at"], name="refunds_under_way"
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano_usd__gt", 0)), name="refund_is_positive"
            ),
        ),
        migrations.AddIndex(
            model_name="refundpart",
            index=models.Index(
                condition=models.Q(("status__in", ["planned", "sending", "pending"])),
                fields=["created_at"],
                name="refund_parts_under_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="refundpart",
            constraint=models.CheckConstraint(
                condition=models.Q(("credit_nano_usd__gt", 0), ("net_cents__gt", 0)), name="refund_part_is_positive"
            ),
        ),
        migrations.AlterField(
            model_name="walletentry",
            name="kind",
            field=models.CharField(
                choices=[
                    ("top_up", "Top-up"),
                    ("bank_transfer", "Bank transfer"),
                    ("adjustment", "Adjustment"),
                    ("grant", "Promotional credit"),
                    ("grant_expired", "Promotional credit expired"),
                    ("credit_expired", "Credit expired"),
                    ("refund", "Refund"),
                    ("refund_returned", "Refund returned"),
                    ("dispute_hold", "Held for a dispute"),
                    ("dispute_release", "Released after a dispute"),
                    ("dispute_lost", "Lost dispute"),
                    ("debt_repayment", "Paid what was owed"),
                ],
                max_length=20,
            ),
        ),
        migrations.RunSQL((SQL / "refunds.sql").read_text()),
    ]
