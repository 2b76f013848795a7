"""Cards that customers keep, wishes to keep one, recharging by one; what a top-up knows of its card."""

import uuid
from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_holds"),
        ("billing", "0015_fresh_part"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="topup",
            name="failure_code",
            field=models.CharField(blank=True, db_default="", default="", max_length=60),
        ),
        migrations.AddField(
            model_name="topup",
            name="saves_card",
            field=models.BooleanField(
                db_default=False, default=False, help_text="The customer agreed that the card is kept."
            ),
        ),
        migrations.CreateModel(
            name="SavedCard",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("payment_method_id", models.CharField(max_length=120, unique=True)),
                ("brand", models.CharField(max_length=20)),
                ("last4", models.CharField(max_length=4)),
                ("exp_month", models.PositiveSmallIntegerField()),
                ("exp_year", models.PositiveSmallIntegerField()),
                ("fingerprint", models.CharField(blank=True, db_index=True, max_length=64)),
                ("country", models.CharField(blank=True, max_length=2)),
                ("funding", models.CharField(blank=True, max_length=10)),
                ("is_default", models.BooleanField(default=False)),
                (
                    "consented_at",
                    models.DateTimeField(help_text="When its holder agreed that it is kept and charged later."),
                ),
                ("charged_at", models.DateTimeField(help_text="The first payment with it here.", null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("removed_at", models.DateTimeField(null=True)),
                ("detached_at", models.DateTimeField(help_text="When the provider forgot it.", null=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="cards", to="accounts.customer"
                    ),
                ),
                (
                    "removed_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "saved_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="CardSetup",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("started", "Started"),
                            ("open", "Waiting for the card"),
                            ("done", "Saved"),
                            ("expired", "Expired"),
                            ("failed", "Failed"),
                        ],
                        default="started",
                        max_length=10,
                    ),
                ),
                ("checkout_session_id", models.CharField(blank=True, max_length=120, null=True, unique=True)),
                ("checkout_url", models.URLField(blank=True, max_length=2000)),
                ("failure", models.CharField(blank=True, max_length=200)),
                ("attempt", models.PositiveSmallIntegerField(default=1)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("checked_at", models.DateTimeField(null=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.customer"
                    ),
                ),
                (
                    "card",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.savedcard"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="AutoRecharge",
            fields=[
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="auto_recharge",
                        serialize=False,
                        to="accounts.customer",
                    ),
                ),
                ("is_on", models.BooleanField(default=False)),
                ("threshold_cents", models.PositiveIntegerField()),
                (
                    "mode",
                    models.CharField(
                        choices=[("amount", "A fixed amount"), ("target", "Up to a balance")],
                        default="amount",
                        max_length=10,
                    ),
                ),
                (
                    "amount_cents",
                    models.PositiveIntegerField(help_text="The amount of one charge, or the balance to reach."),
                ),
                ("cap_cents", models.PositiveIntegerField()),
                ("failures", models.PositiveSmallIntegerField(default=0)),
                ("not_before", models.DateTimeField(help_text="After a decline nothing is tried before.", null=True)),
                ("off_reason", models.CharField(blank=True, max_length=200)),
                (
                    "notice",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "None"),
                            ("declined", "A charge was declined"),
                            ("gave_up", "Three charges were declined"),
                            ("burst", "Too many charges in a short time"),
                            ("capped", "The monthly limit is reached"),
                        ],
                        default="",
                        max_length=10,
                    ),
                ),
                (
                    "capped_month",
                    models.DateField(help_text="The month for which the letter about the limit was sent.", null=True),
                ),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "changed_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "card",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.savedcard"
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="topup",
            name="saved_card",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="billing.savedcard",
            ),
        ),
        migrations.AddConstraint(
            model_name="topup",
            constraint=models.UniqueConstraint(
                condition=models.Q(("method", "auto"), ("status__in", ["started", "open", "processing"])),
                fields=("customer",),
                name="one_automatic_top_up_at_a_time",
            ),
        ),
        migrations.AddIndex(
            model_name="savedcard",
            index=models.Index(
                condition=models.Q(("detached_at", None), ("removed_at__isnull", False)),
                fields=["removed_at"],
                name="cards_to_detach",
            ),
        ),
        migrations.AddConstraint(
            model_name="savedcard",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_default", True), ("removed_at", None)),
                fields=("customer",),
                name="one_default_card",
            ),
        ),
        migrations.AddIndex(
            model_name="cardsetup",
            index=models.Index(
                condition=models.Q(("status__in", ["started", "open"])),
                fields=["created_at"],
                name="card_setups_to_look_at",
            ),
        ),
        migrations.AddIndex(
            model_name="autorecharge",
            index=models.Index(condition=models.Q(("is_on", True)), fields=["customer"], name="recharges_that_are_on"),
        ),
        migrations.RunSQL((SQL / "saved_cards.sql").read_text()),
    ]
