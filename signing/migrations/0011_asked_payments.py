"""Payments reach their commit as rows of a type instead of JSON; an opening is found again by its ticket parameters."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0010_recipient_rules")]
    operations = [
        migrations.RunSQL((SQL / "commit_payments.sql").read_text()),
        # Whoever looks for an opening finds it over its payment.
        migrations.RunSQL("DROP INDEX IF EXISTS session_by_opening"),
    ]
