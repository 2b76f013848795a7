"""Makes the debit of many anew: it sums each customer's charges in one pass instead of once a customer."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0020_transfers_by_the_web")]
    operations = [migrations.RunSQL((SQL / "debit.sql").read_text())]
