"""Makes the table of what the provider is told of tax; debit notes, where a wish came from, mails of pro-formas."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"
# Receipts of before: what they say was collected is told as well.
KNOWN = """
INSERT INTO billing_taxrecord (document_id, top_up_id, reference, kind, currency, net_cents, tax_cents)
SELECT d.id, t.id, d.number || '-' || left(t.id::text, 8), 'sale', d.currency, d.net_cents, d.tax_cents
FROM billing_document d JOIN billing_topup t ON t.id = d.top_up_id JOIN billing_topuptax x ON x.top_up_id = t.id
WHERE d.kind = 'receipt' AND t.method <> 'checkout' AND x.mode = 'at_top_up'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0018_taxes"),
    ]

    operations = [
        migrations.AddField(
            model_name="topup",
            name="ip",
            field=models.GenericIPAddressField(
                blank=True, help_text="Where the wish came from, as evidence for tax.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="document",
            name="kind",
            field=models.CharField(
                choices=[
                    ("receipt", "Receipt"),
                    ("credit_note", "Credit note"),
                    ("debit_note", "Debit note"),
                    ("pro_forma", "Pro-forma"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="documentcounter",
            name="kind",
            field=models.CharField(
                choices=[
                    ("receipt", "Receipt"),
                    ("credit_note", "Credit note"),
                    ("debit_note", "Debit note"),
                    ("pro_forma", "Pro-forma"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="fraudsignal",
            name="code",
            field=models.CharField(
                choices=[
                    ("shared_card", "Card of another account"),
                    ("many_cards", "Many cards"),
                    ("card_country", "Card from another country"),
                    ("location", "Taxed place is not proved"),
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
        migrations.CreateModel(
            name="TaxRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "reference",
                    models.CharField(help_text="Ours; the provider takes it once.", max_length=80, unique=True),
                ),
                ("kind", models.CharField(choices=[("sale", "Collected"), ("reversal", "Given back")], max_length=10)),
                ("currency", models.CharField(max_length=3)),
                ("net_cents", models.PositiveIntegerField()),
                ("tax_cents", models.PositiveIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[("due", "To be told"), ("recorded", "Recorded"), ("refused", "Refused")],
                        db_default="due",
                        max_length=10,
                    ),
                ),
                ("calculation_id", models.CharField(blank=True, db_default="", max_length=120)),
                ("provider_id", models.CharField(blank=True, max_length=120, null=True, unique=True)),
                ("line_id", models.CharField(blank=True, db_default="", max_length=120)),
                ("told_tax_cents", models.IntegerField(null=True)),
                ("attempt", models.PositiveSmallIntegerField(db_default=1)),
                ("tries", models.PositiveIntegerField(db_default=0)),
                ("not_before", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("failure", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("recorded_at", models.DateTimeField(null=True)),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tax_records", to="billing.document"
                    ),
                ),
                (
                    "original",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reversals",
                        to="billing.taxrecord",
                    ),
                ),
                (
                    "top_up",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tax_records", to="billing.topup"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("state", "due")), fields=["not_before"], name="taxes_to_be_told")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind", "sale"), ("original", None)),
                            models.Q(("kind", "reversal"), ("original__isnull", False)),
                            _connector="OR",
                        ),
                        name="tax_reversal_has_its_sale",
                    )
                ],
            },
        ),
        migrations.RunSQL((SQL / "tax_records.sql").read_text()),
        migrations.RunSQL(KNOWN),
    ]
