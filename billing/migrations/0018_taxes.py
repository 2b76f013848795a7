"""Makes the tables of tax: registrations, modes, and the tax of each top-up."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0017_fraud_checks"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="TaxMode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("country", models.CharField(blank=True, max_length=2)),
                (
                    "mode",
                    models.CharField(
                        choices=[("at_top_up", "With the top-up"), ("at_use", "With the use")], max_length=10
                    ),
                ),
                ("valid_from", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "entity",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.legalentity"
                    ),
                ),
                (
                    "made_by",
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
            name="TaxRegistration",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "jurisdiction",
                    models.CharField(
                        help_text="A country (DE), a state of the US (US-CA), or EU for the one-stop shop.",
                        max_length=8,
                    ),
                ),
                (
                    "number",
                    models.CharField(
                        blank=True, help_text="The number of the registration, for documents.", max_length=40
                    ),
                ),
                ("collects", models.BooleanField(db_default=True, default=True)),
                ("valid_from", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "entity",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="registrations",
                        to="billing.legalentity",
                    ),
                ),
                (
                    "made_by",
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
            name="TopUpTax",
            fields=[
                (
                    "top_up",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="tax",
                        serialize=False,
                        to="billing.topup",
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[("at_top_up", "With the top-up"), ("at_use", "With the use")], max_length=10
                    ),
                ),
                ("treatment", models.CharField(max_length=20)),
                ("country", models.CharField(max_length=2)),
                ("region", models.CharField(blank=True, max_length=40)),
                ("tax_id", models.CharField(blank=True, max_length=40)),
                ("tax_id_state", models.CharField(max_length=12)),
                ("ip", models.GenericIPAddressField(null=True)),
                ("breakdown", models.JSONField(default=list)),
                (
                    "calculation_id",
                    models.CharField(blank=True, help_text="The provider's, when we asked for it.", max_length=120),
                ),
                ("agrees", models.BooleanField()),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "entity",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.legalentity"
                    ),
                ),
            ],
        ),
        migrations.RunSQL((SQL / "taxes.sql").read_text()),
    ]
