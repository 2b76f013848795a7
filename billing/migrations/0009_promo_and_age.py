"""Wallets know promotional credit, fresh money and debt; grants stand behind them; the ledger's functions anew."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.fields

SQL = Path(__file__).resolve().parent.parent / "sql"
FILES = ("promo_and_age", "functions", "posting", "grants", "debit")


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_mails_and_key_names"),
        ("billing", "0008_documents"),
    ]

    operations = [
        migrations.CreateModel(
            name="Grant",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("paid", "Paid"), ("promo", "Promotional")], max_length=5)),
                ("amount_nano_usd", billing.fields.NanoUsdField()),
                ("remaining_nano_usd", billing.fields.NanoUsdField()),
                ("priority", models.PositiveSmallIntegerField(help_text="0 is used first; paid money always has 100.")),
                ("campaign", models.CharField(blank=True, max_length=80)),
                (
                    "reference",
                    models.CharField(help_text="The wallet entry that brought it.", max_length=200, unique=True),
                ),
                ("aged_at", models.DateTimeField(help_text="From when on it counts as aged.")),
                ("is_fresh", models.BooleanField(help_text="Whether it is not aged yet, as the wallet has it.")),
                ("expires_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="GrantUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount_nano_usd", billing.fields.NanoUsdField()),
            ],
        ),
        migrations.AddField(
            model_name="wallet",
            name="debt_nano_usd",
            field=billing.fields.NanoUsdField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="wallet",
            name="fresh_nano_usd",
            field=billing.fields.NanoUsdField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="wallet",
            name="promo_nano_usd",
            field=billing.fields.NanoUsdField(db_default=0, default=0),
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
                    ("debt_repayment", "Paid what was owed"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("debt_nano_usd__gte", 0),
                    ("fresh_nano_usd__gte", 0),
                    ("promo_nano_usd__gte", 0),
                    (
                        "available_nano_usd__gte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("promo_nano_usd"), "+", models.F("fresh_nano_usd")
                        ),
                    ),
                ),
                name="wallet_parts_within_the_whole",
            ),
        ),
        migrations.AddField(
            model_name="grant",
            name="customer",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="grants", to="accounts.customer"
            ),
        ),
        migrations.AddField(
            model_name="grantuse",
            name="grant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="uses", to="billing.grant"
            ),
        ),
        migrations.AddField(
            model_name="grantuse",
            name="journal",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.journal"
            ),
        ),
        migrations.AddIndex(
            model_name="grant",
            index=models.Index(
                condition=models.Q(("remaining_nano_usd__gt", 0)),
                fields=["customer"],
                name="grants_that_hold_something",
            ),
        ),
        migrations.AddIndex(
            model_name="grant",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False), ("remaining_nano_usd__gt", 0)),
                fields=["expires_at"],
                name="grants_that_end",
            ),
        ),
        migrations.AddIndex(
            model_name="grant",
            index=models.Index(condition=models.Q(("is_fresh", True)), fields=["aged_at"], name="grants_that_age"),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_nano_usd__gt", 0),
                    ("remaining_nano_usd__gte", 0),
                    ("remaining_nano_usd__lte", models.F("amount_nano_usd")),
                ),
                name="grant_remains_within_its_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="grant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("campaign", ""), ("kind", "paid"), ("priority", 100)),
                    models.Q(
                        ("is_fresh", False),
                        ("kind", "promo"),
                        ("priority__lte", 100),
                        models.Q(("campaign", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="promotional_before_paid",
            ),
        ),
        migrations.AddConstraint(
            model_name="grantuse",
            constraint=models.CheckConstraint(condition=models.Q(("amount_nano_usd__gt", 0)), name="a_use_is_positive"),
        ),
        *(migrations.RunSQL((SQL / f"{name}.sql").read_text()) for name in FILES),
    ]
