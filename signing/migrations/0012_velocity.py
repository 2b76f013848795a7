"""Caps on fresh money: what went where by the hour, and the rooms that signers lease."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0011_asked_payments"), ("billing", "0015_fresh_part")]
    operations = [
        migrations.RunSQL((SQL / "velocity.sql").read_text()),
        migrations.RunSQL((SQL / "commit_payments.sql").read_text()),
    ]
