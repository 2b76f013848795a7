"""Kill switches and price ceilings, and who may write them."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import billing.fields

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_mails_and_key_names"),
        ("signing", "0006_sender_keys"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="PriceCeiling",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("global", "Everything"),
                            ("capability", "One capability or model"),
                            ("customer", "One customer"),
                            ("api_key", "One API key"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "capability",
                    models.IntegerField(blank=True, help_text="The network's number of the capability.", null=True),
                ),
                (
                    "model",
                    models.CharField(
                        blank=True, help_text="Empty: all models of the capability without one.", max_length=256
                    ),
                ),
                (
                    "unit",
                    models.CharField(choices=[("pixel", "pixel"), ("second", "second"), ("job", "job")], max_length=6),
                ),
                ("limit_wei", billing.fields.WeiField(blank=True, null=True)),
                ("limit_nano_usd", billing.fields.NanoUsdField(blank=True, null=True)),
                ("per_units", models.BigIntegerField(default=1)),
                ("valid_from", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "api_key",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.customer",
                    ),
                ),
                (
                    "made_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["customer", "-id"], name="ceiling_by_customer"),
                    models.Index(fields=["api_key", "-id"], name="ceiling_by_key"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("api_key", None),
                                ("capability", None),
                                ("customer", None),
                                ("model", ""),
                                ("scope", "global"),
                            ),
                            models.Q(
                                ("api_key", None),
                                ("capability__isnull", False),
                                ("customer", None),
                                ("scope", "capability"),
                            ),
                            models.Q(
                                ("api_key", None),
                                ("capability", None),
                                ("customer__isnull", False),
                                ("model", ""),
                                ("scope", "customer"),
                            ),
                            models.Q(
                                ("api_key__isnull", False),
                                ("capability", None),
                                ("customer", None),
                                ("model", ""),
                                ("scope", "api_key"),
                            ),
                            _connector="OR",
                        ),
                        name="ceiling_has_its_subject",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("limit_wei", None), ("limit_nano_usd", None), _connector="OR"),
                            models.Q(("limit_wei", None), ("limit_wei__gt", 0), _connector="OR"),
                            models.Q(("limit_nano_usd", None), ("limit_nano_usd__gt", 0), _connector="OR"),
                        ),
                        name="ceiling_in_one_currency",
                    ),
                    models.CheckConstraint(condition=models.Q(("per_units__gt", 0)), name="ceiling_per_something"),
                    models.CheckConstraint(
                        condition=models.Q(("valid_from__gte", models.F("made_at"))), name="ceiling_not_backdated"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Stop",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("all", "All signing"),
                            ("customer", "One customer"),
                            ("api_key", "One API key"),
                            ("recipient", "One recipient"),
                            ("sender", "One sender key"),
                        ],
                        max_length=10,
                    ),
                ),
                ("subject", models.CharField(blank=True, max_length=42)),
                ("reason", models.CharField(max_length=200)),
                ("set_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("lifted_at", models.DateTimeField(null=True)),
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
                    models.UniqueConstraint(
                        condition=models.Q(("lifted_at", None)), fields=("scope", "subject"), name="one_standing_stop"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("scope", "all"), ("subject", "")),
                            models.Q(
                                models.Q(("scope", "all"), _negated=True), models.Q(("subject", ""), _negated=True)
                            ),
                            _connector="OR",
                        ),
                        name="all_has_no_subject",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("lifted_at", None), ("lifted_by", None)),
                            models.Q(("lifted_at__isnull", False), ("lifted_by__isnull", False)),
                            _connector="OR",
                        ),
                        name="lifted_by_somebody",
                    ),
                ],
            },
        ),
        migrations.RunSQL((SQL / "stops.sql").read_text()),
    ]
