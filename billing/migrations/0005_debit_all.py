"""Makes the ledger's functions anew: many debits in one statement."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_markups")]
    operations = [migrations.RunSQL((SQL / "functions.sql").read_text())]
