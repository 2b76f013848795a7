"""The parts of a top-up (net, tax, total, credit), who pays at the provider, and rates of other currencies."""

import uuid
from pathlib import Path

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import billing.fields

SQL = Path(__file__).resolve().parent.parent / "sql"

# What was paid before there were parts: in dollars, without tax, the whole amount was credit.
PARTS_OF_OLD_ROWS = """
    UPDATE billing_topup SET net_cents = amount_cents, total_cents = amount_cents,
        credit_nano_usd = amount_cents::bigint * 10000000
    WHERE total_cents = 0
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_mails_and_key_names"),
        ("billing", "0006_inbox_outcomes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FxRate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("currency", models.CharField(max_length=3)),
                (
                    "nano_usd_per_cent",
                    billing.fields.NanoUsdField(
                        help_text="Nano-dollars for one minor unit: 10,850,000 when one euro is 1.085."
                    ),
                ),
                ("source", models.CharField(max_length=80)),
                ("valid_from", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "recorded_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ProviderCustomer",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("provider_id", models.CharField(blank=True, max_length=120, null=True, unique=True)),
                ("email", models.EmailField(max_length=254)),
                ("name", models.CharField(max_length=120)),
                ("attempt", models.PositiveSmallIntegerField(db_default=1, default=1)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
        ),
        migrations.RemoveIndex(
            model_name="topup",
            name="unfinished_top_ups",
        ),
        migrations.AddField(
            model_name="topup",
            name="attempt",
            field=models.PositiveSmallIntegerField(db_default=1, default=1),
        ),
        migrations.AddField(
            model_name="topup",
            name="card_country",
            field=models.CharField(blank=True, db_default="", default="", max_length=2),
        ),
        migrations.AddField(
            model_name="topup",
            name="card_fingerprint",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        migrations.AddField(
            model_name="topup",
            name="charge_id",
            field=models.CharField(blank=True, max_length=120, null=True, unique=True),
        ),
        migrations.AddField(
            model_name="topup",
            name="credit_nano_usd",
            field=billing.fields.NanoUsdField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="topup",
            name="method",
            field=models.CharField(
                choices=[
                    ("checkout", "Payment page"),
                    ("saved_card", "Saved card"),
                    ("auto", "Automatic recharge"),
                    ("bank", "Bank transfer"),
                ],
                db_default="checkout",
                default="checkout",
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="topup",
            name="net_cents",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="topup",
            name="payment_method_id",
            field=models.CharField(blank=True, db_default="", default="", max_length=120),
        ),
        migrations.AddField(
            model_name="topup",
            name="tax_cents",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="topup",
            name="tax_parts",
            field=models.JSONField(
                blank=True,
                db_default={},
                default=dict,
                help_text="Tax per jurisdiction in minor units, such as DE or US-CA.",
            ),
        ),
        migrations.AddField(
            model_name="topup",
            name="total_cents",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="topup",
            name="status",
            field=models.CharField(
                choices=[
                    ("started", "Started"),
                    ("open", "Waiting for payment"),
                    ("processing", "On its way"),
                    ("paid", "Paid"),
                    ("expired", "Expired"),
                    ("failed", "Failed"),
                ],
                default="started",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="fxrate",
            name="recorded_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="topup",
            name="fx_rate",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="billing.fxrate",
            ),
        ),
        migrations.AddIndex(
            model_name="topup",
            index=models.Index(
                condition=models.Q(
                    ("status__in", ["started", "open", "processing"]),
                    models.Q(("balance_transaction_id", None), ("status", "paid")),
                    _connector="OR",
                ),
                fields=["created_at"],
                name="top_ups_to_look_at",
            ),
        ),
        migrations.AddIndex(
            model_name="topup",
            index=models.Index(
                condition=models.Q(("card_fingerprint", ""), _negated=True),
                fields=["card_fingerprint"],
                name="top_up_by_fingerprint",
            ),
        ),
        migrations.AddConstraint(
            model_name="topup",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "total_cents",
                        django.db.models.expressions.CombinedExpression(
                            models.F("net_cents"), "+", models.F("tax_cents")
                        ),
                    )
                ),
                name="top_up_total_is_net_and_tax",
            ),
        ),
        migrations.AddField(
            model_name="providercustomer",
            name="customer",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="at_provider", to="accounts.customer"
            ),
        ),
        migrations.AddIndex(
            model_name="fxrate",
            index=models.Index(fields=["currency", "-valid_from"], name="fx_rate_by_currency"),
        ),
        migrations.AddConstraint(
            model_name="fxrate",
            constraint=models.CheckConstraint(
                condition=models.Q(("nano_usd_per_cent__gt", 0)), name="fx_rate_positive"
            ),
        ),
        migrations.RunSQL(PARTS_OF_OLD_ROWS),
        migrations.RunSQL((SQL / "top_ups.sql").read_text()),
    ]
