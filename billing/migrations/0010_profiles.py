"""Makes the tables of billing profiles and of what registers said."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_holds"),
        ("billing", "0009_promo_and_age"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="BillingProfile",
            fields=[
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="billing_profile",
                        serialize=False,
                        to="accounts.customer",
                    ),
                ),
                ("legal_name", models.CharField(max_length=200)),
                ("line1", models.CharField(max_length=200)),
                ("line2", models.CharField(blank=True, max_length=200)),
                ("postal_code", models.CharField(blank=True, max_length=20)),
                ("city", models.CharField(max_length=100)),
                (
                    "region",
                    models.CharField(blank=True, help_text="A state of the US by its two letters.", max_length=40),
                ),
                ("country", models.CharField(max_length=2)),
                ("invoice_email", models.EmailField(blank=True, max_length=254)),
                ("po_number", models.CharField(blank=True, max_length=60)),
                (
                    "tax_id_kind",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("eu_vat", "VAT id"),
                            ("gb_vat", "VAT number"),
                            ("no_vat", "MVA number"),
                            ("ch_vat", "VAT number"),
                            ("other", "Tax id"),
                        ],
                        max_length=10,
                    ),
                ),
                ("tax_id", models.CharField(blank=True, max_length=40)),
                (
                    "tax_id_state",
                    models.CharField(
                        choices=[
                            ("none", "Not given"),
                            ("pending", "Being checked"),
                            ("valid", "Valid"),
                            ("invalid", "Not valid"),
                            ("unreachable", "Register does not answer"),
                        ],
                        db_default="none",
                        default="none",
                        max_length=12,
                    ),
                ),
                ("tax_id_checked_at", models.DateTimeField(blank=True, null=True)),
                ("tax_id_source", models.CharField(blank=True, db_default="", default="", max_length=40)),
                ("consultation_number", models.CharField(blank=True, db_default="", default="", max_length=80)),
                ("check_attempts", models.PositiveIntegerField(db_default=0, default=0)),
                ("check_not_before", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "told_provider",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="What the provider knows of it, as a hash.",
                        max_length=64,
                    ),
                ),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "updated_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TaxIdCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tax_id", models.CharField(max_length=40)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("none", "Not given"),
                            ("pending", "Being checked"),
                            ("valid", "Valid"),
                            ("invalid", "Not valid"),
                            ("unreachable", "Register does not answer"),
                        ],
                        max_length=12,
                    ),
                ),
                ("source", models.CharField(help_text="check digits, or the register that was asked.", max_length=40)),
                ("consultation_number", models.CharField(blank=True, max_length=80)),
                ("name", models.CharField(blank=True, max_length=300)),
                ("address", models.CharField(blank=True, max_length=500)),
                ("at", models.DateTimeField()),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.customer"
                    ),
                ),
            ],
        ),
        migrations.RunSQL((SQL / "profiles.sql").read_text()),
    ]
