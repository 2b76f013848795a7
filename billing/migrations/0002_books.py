"""Makes the usage table, the append-only triggers and the ledger's functions."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("accounts", "0002_roles")]
    operations = [
        migrations.RunSQL((SQL / "tables.sql").read_text()),
        migrations.RunSQL((SQL / "functions.sql").read_text()),
    ]
