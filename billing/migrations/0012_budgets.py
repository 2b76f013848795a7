"""Spending limits of accounts and keys, checked and counted inside the debit."""

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
        ("billing", "0011_provider_balance"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="wallet",
            name="has_budgets",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "period",
                    models.CharField(
                        choices=[("day", "a day"), ("month", "a month"), ("total", "in all")], max_length=5
                    ),
                ),
                ("limit_nano_usd", billing.fields.NanoUsdField()),
                ("period_start", models.DateField(help_text="First day of the period that `spent` counts.")),
                ("spent_nano_usd", billing.fields.NanoUsdField()),
                ("set_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("lifted_at", models.DateTimeField(null=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="budgets",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="budgets", to="accounts.customer"
                    ),
                ),
                (
                    "lifted_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "set_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("limit_nano_usd__gt", 0), ("spent_nano_usd__gte", 0)),
                        name="budget_of_a_positive_amount",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("api_key", None), ("lifted_at", None)),
                        fields=("customer", "period"),
                        name="one_budget_per_account_and_period",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("lifted_at", None)),
                        fields=("customer", "api_key", "period"),
                        name="one_budget_per_key_and_period",
                    ),
                ],
            },
        ),
        *(migrations.RunSQL((SQL / f"{name}.sql").read_text()) for name in ("budgets", "debit")),
    ]
