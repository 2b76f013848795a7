"""Makes the signer's writer anew: plain payments are judged and written as one set."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0007_stops"), ("billing", "0005_debit_all")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
