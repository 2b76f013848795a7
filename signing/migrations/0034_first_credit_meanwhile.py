"""A first credit that arrives between a commit's locks and its debit is judged as any other money that is fresh."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0033_fresh_leases_held")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
